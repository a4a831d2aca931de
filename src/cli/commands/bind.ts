import type { Command } from 'commander';
import { type BindOptions, bindVf } from '../../app/bind.ts';
import { changeDocument, changeLines } from '../change-output.ts';
import { type CommandContext, examples } from '../command.ts';
import { rootOption } from '../options.ts';

/** `bind`. */
export function define(command: Command, context: CommandContext): void {
  rootOption(command)
    .argument('<vf>', 'address of the VF, such as 0000:03:00.1')
    .option('--dry-run', 'print the writes and make none')
    .action(async (vf: string, options: BindOptions) => {
      context.doing = `bind of ${vf}`;
      const result = await bindVf(vf, options);
      const { bdf, before, iommuGroup } = result;
      const now = `${bdf} is bound to vfio-pci: /dev/vfio/${iommuGroup}`;
      context.output.result(
        { ok: true, bdf, before: before ?? null, iommuGroup, ...changeDocument(result) },
        () => changeLines(result, now),
      );
    });
  examples(command, ['xe-vfio bind 0000:03:00.1 --dry-run', 'xe-vfio bind 0000:03:00.1']);
}
