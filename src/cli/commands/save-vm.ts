import type { Command } from 'commander';
import { saveVm } from '../../app/vm-save.ts';
import { type CommandContext, examples } from '../command.ts';
import { integerOption } from '../options.ts';
import { showVm, vmSaveDocument, vmSaveLines } from '../vm-output.ts';

interface SaveVmFlags {
  readonly from: string;
  readonly fromVf?: string;
  readonly file: string;
  readonly resume?: true;
  readonly maxDowntime?: number;
  readonly keepSource?: true;
}

/** `save-vm`. */
export function define(command: Command, context: CommandContext): void {
  command
    .description(
      'Save a running VM with a VF of ours into a directory: memory, devices and the VF. The QEMU then ' +
        'ends, or goes on with --resume. Whatever fails, the guest runs on and nothing is left behind.',
    )
    .requiredOption('--from <qmp>', 'QMP socket of the QEMU: a path, or tcp:HOST:PORT')
    .requiredOption('--file <directory>', 'what to make; QEMU has to see the same directory')
    .option('--from-vf <socket>', 'socket of the VF (default: the one that QEMU is connected to)')
    .option('--resume', 'let the guest go on afterwards: a snapshot')
    .option(
      '--max-downtime <ms>',
      'how long QEMU may take for the rest of RAM (default: 300)',
      integerOption(1, 60_000),
    )
    .option('--keep-source', 'leave the stopped QEMU instead of ending it')
    .action(async (flags: SaveVmFlags) => {
      context.doing = `save-vm of ${flags.from} to ${flags.file}`;
      const { maxDowntime, ...options } = flags;
      const view = showVm(context);
      try {
        const result = await saveVm({ ...options, ...view, maxDowntimeMs: maxDowntime });
        context.output.result(vmSaveDocument(result), () => vmSaveLines(result));
      } finally {
        view.close();
      }
    });
  examples(command, [
    'xe-vfio save-vm --from /run/a.qmp --file vm.xevm',
    'xe-vfio save-vm --from /run/a.qmp --file before-update.xevm --resume --json',
  ]);
}
