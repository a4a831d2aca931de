import type { Command } from 'commander';
import { moveVm } from '../../app/vm-move.ts';
import { type CommandContext, examples } from '../command.ts';
import { integerOption } from '../options.ts';
import { showVm, vmMoveDocument, vmMoveLines } from '../vm-output.ts';

interface MigrateVmFlags {
  readonly from: string;
  readonly to: string;
  readonly fromVf?: string;
  readonly toVf?: string;
  readonly via?: string;
  readonly transparent?: true;
  readonly maxDowntime?: number;
  readonly keepSource?: true;
}

/** `migrate-vm`. */
export function define(command: Command, context: CommandContext): void {
  command
    .description(
      'Move a running VM with a VF of ours from one stock QEMU to another, which waits for it with ' +
        '-incoming defer and has the same machine, memory and devices. Whatever fails, the guest runs ' +
        'on in exactly one of them.',
    )
    .requiredOption('--from <qmp>', 'QMP socket of the source QEMU: a path, or tcp:HOST:PORT')
    .requiredOption('--to <qmp>', 'QMP socket of the target QEMU')
    .option('--from-vf <socket>', 'socket of the VF (default: the one that QEMU is connected to)')
    .option('--to-vf <socket>', 'socket of the target VF')
    .option(
      '--via <address>',
      'where RAM goes: tcp:HOST:PORT or unix:PATH, on which the target listens',
    )
    .option('--transparent', 'tell the guest nothing; needs VFs with equal GGTT ranges')
    .option(
      '--max-downtime <ms>',
      'how long QEMU may take for the rest of RAM (default: 300)',
      integerOption(1, 60_000),
    )
    .option('--keep-source', 'leave the stopped source QEMU instead of ending it')
    .action(async (flags: MigrateVmFlags) => {
      context.doing = `migrate-vm from ${flags.from} to ${flags.to}`;
      const { maxDowntime, ...options } = flags;
      const view = showVm(context);
      try {
        const result = await moveVm({ ...options, ...view, maxDowntimeMs: maxDowntime });
        context.output.result(vmMoveDocument(result), () => vmMoveLines(result));
      } finally {
        view.close();
      }
    });
  examples(command, [
    'xe-vfio migrate-vm --from /run/a.qmp --to /run/b.qmp',
    'xe-vfio migrate-vm --from /run/a.qmp --to tcp:host2:4444 --to-vf /run/b.sock --via tcp:host2:4445',
  ]);
}
