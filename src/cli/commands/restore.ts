import type { Command } from 'commander';
import { restoreVf } from '../../app/move.ts';
import { type CommandContext, examples } from '../command.ts';
import { sessionDocument, sessionLines, showSession } from '../session-output.ts';

/** `restore`. */
export function define(command: Command, context: CommandContext): void {
  command
    .argument('<file>', 'a checkpoint, or with --raw a plain Linux stream')
    .argument(
      '<to>',
      'the VF that takes the state: vfio-user:PATH, the path of its socket, or vfio:BDF',
    )
    .option('--raw', 'the file is a plain Linux stream')
    .action(async (file: string, to: string, { raw }: { readonly raw?: boolean }) => {
      context.doing = `restore of ${file} to ${to}`;
      const view = showSession(context);
      try {
        const result = await restoreVf(file, to, { ...view, raw });
        context.output.result(sessionDocument(result), () => sessionLines(`${to} runs`, result));
      } finally {
        view.close();
      }
    });
  examples(command, ['xe-vfio restore vf.xevf /run/b.sock']);
}
