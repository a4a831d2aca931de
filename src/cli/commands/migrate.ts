import type { Command } from 'commander';
import { migrateVf } from '../../app/move.ts';
import { migrateVia } from '../../app/network-move.ts';
import { type CommandContext, examples } from '../command.ts';
import { UsageFault } from '../exit-codes.ts';
import { addViaOptions, type ViaFlags, viaOptions } from '../network-options.ts';
import { trafficDocument, trafficLines } from '../network-output.ts';
import {
  type PrecopyFlags,
  precopyOptions,
  sessionDocument,
  sessionLines,
  showSession,
} from '../session-output.ts';

/** `migrate`. */
export function define(command: Command, context: CommandContext): void {
  addViaOptions(command)
    .argument('<from>', 'the VF to move: vfio-user:PATH, the path of its socket, or vfio:BDF')
    .argument('[to]', 'the VF that takes its place; with --via the one that the receiver offers')
    .action(async (from: string, to: string | undefined, flags: ViaFlags & PrecopyFlags) => {
      const via = viaOptions(flags);
      const { precopy, maxDowntime } = flags;
      context.doing = `migrate of ${from} to ${to ?? flags.via}`;
      if (via !== undefined) return await overNetwork(from, to, { ...via, precopy }, context);
      if (to === undefined) throw new UsageFault('neither a target nor --via was given');
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
    'xe-vfio migrate /run/a.sock --via tls:host-b:4444 --streams 4 \\',
    '    --tls-cert a.pem --tls-key a.key --tls-ca ca.pem --max-downtime 300',
  ]);
}

async function overNetwork(
  from: string,
  to: string | undefined,
  via: NonNullable<ReturnType<typeof viaOptions>> & Pick<PrecopyFlags, 'precopy'>,
  context: CommandContext,
): Promise<void> {
  const view = showSession(context);
  try {
    const result = await migrateVia(from, to, { ...via, ...view });
    const { network } = result;
    context.output.result({ ...sessionDocument(result), ...trafficDocument(network) }, () => [
      ...sessionLines(`${from} is stopped, the VF at ${via.via} runs`, result),
      ...trafficLines(network),
    ]);
  } finally {
    view.close();
  }
}
