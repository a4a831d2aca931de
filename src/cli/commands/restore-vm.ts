import type { Command } from 'commander';
import { restoreVm } from '../../app/vm-restore.ts';
import { type CommandContext, examples } from '../command.ts';
import { showVm, vmRestoreDocument, vmRestoreLines } from '../vm-output.ts';

interface RestoreVmFlags {
  readonly to: string;
  readonly toVf?: string;
  readonly file: string;
  readonly transparent?: true;
  readonly paused?: true;
}

/** `restore-vm`. */
export function define(command: Command, context: CommandContext): void {
  command
    .description(
      'Restore a VM that save-vm has saved into a stock QEMU that waits for it with -incoming defer and ' +
        'has the same machine, memory and devices. What was saved is never changed.',
    )
    .requiredOption('--to <qmp>', 'QMP socket of the QEMU: a path, or tcp:HOST:PORT')
    .requiredOption('--file <directory>', 'what save-vm has made')
    .option('--to-vf <socket>', 'socket of the VF (default: the one that QEMU is connected to)')
    .option('--transparent', 'tell the guest nothing; needs a VF with an equal GGTT range')
    .option('--paused', 'leave the guest stopped')
    .action(async (flags: RestoreVmFlags) => {
      context.doing = `restore-vm of ${flags.file} to ${flags.to}`;
      const view = showVm(context);
      try {
        const result = await restoreVm({ ...flags, ...view });
        context.output.result(vmRestoreDocument(result), () => vmRestoreLines(result));
      } finally {
        view.close();
      }
    });
  examples(command, ['xe-vfio restore-vm --to /run/b.qmp --file vm.xevm']);
}
