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
    .argument('<from>', 'the VF to move: vfio-user:PATH, or the path of its socket')
    .argument('<to>', 'the VF that takes its place: vfio-user:PATH, or the path of its socket')
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
  ]);
}
