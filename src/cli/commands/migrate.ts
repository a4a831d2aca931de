import type { Command } from 'commander';
import { migrateVf } from '../../app/move.ts';
import { type CommandContext, examples } from '../command.ts';
import {
  type PrecopyFlags,
  precopyOptions,
  sessionDocument,
  sessionLines,
  showSession,
} from '../session-output.ts';

/** `migrate`. */
export function define(command: Command, context: CommandContext): void {
  command
    .argument('<from>', 'the VF to move: vfio-user:PATH, the path of its socket, or vfio:BDF')
    .argument('<to>', 'the VF that takes its place, in the same words')
    .action(async (from: string, to: string, { precopy, maxDowntime }: PrecopyFlags) => {
      context.doing = `migrate of ${from} to ${to}`;
      const view = showSession(context);
      try {
        const result = await migrateVf(from, to, { ...view, precopy, maxDowntimeMs: maxDowntime });
        context.output.result(sessionDocument(result), () =>
          sessionLines(`${from} is stopped, ${to} runs`, result),
        );
      } finally {
        view.close();
      }
    });
  precopyOptions(command);
  examples(command, [
    'xe-vfio migrate /run/a.sock /run/b.sock',
    'xe-vfio migrate vfio-user:a.sock vfio-user:b.sock --json',
    'xe-vfio migrate /run/a.sock /run/b.sock --max-downtime 300',
    'xe-vfio migrate vfio:0000:03:00.1 /run/b.sock',
  ]);
}
