import type { Command } from 'commander';
import { type BindOptions, unbindVf } from '../../app/bind.ts';
import { changeDocument, changeLines } from '../change-output.ts';
import { type CommandContext, examples } from '../command.ts';
import { rootOption } from '../options.ts';

/** `unbind`. */
export function define(command: Command, context: CommandContext): void {
  rootOption(command)
    .argument('<vf>', 'address of the VF, such as 0000:03:00.1')
    .option('--probe', 'let a driver of this host have it; unless given it stays without one')
    .option('--dry-run', 'print the writes and make none')
    .action(async (vf: string, options: BindOptions & { readonly probe?: boolean }) => {
      context.doing = `unbind of ${vf}`;
      const result = await unbindVf(vf, options);
      const { bdf, before } = result;
      context.output.result(
        { ok: true, bdf, before: before ?? null, ...changeDocument(result) },
        () => changeLines(result, `${bdf} is no longer bound to vfio-pci`),
      );
    });
  examples(command, ['xe-vfio unbind 0000:03:00.1', 'xe-vfio unbind 0000:03:00.1 --probe']);
}
