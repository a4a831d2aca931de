import type { Command } from 'commander';
import { saveVf } from '../../app/move.ts';
import { formatSize } from '../../base/size.ts';
import { type CommandContext, examples } from '../command.ts';
import {
  type PrecopyFlags,
  precopyOptions,
  sessionDocument,
  sessionLines,
  showSession,
} from '../session-output.ts';

interface SaveFlags extends PrecopyFlags {
  readonly raw?: boolean;
  readonly resume?: boolean;
}

/** `save`. */
export function define(command: Command, context: CommandContext): void {
  command
    .argument('<from>', 'the VF to save: vfio-user:PATH, the path of its socket, or vfio:BDF')
    .argument('<file>', 'where its state goes; appears under this name only when it is complete')
    .option('--raw', 'write the plain Linux stream, without header, checksums and index')
    .option('--resume', 'let the VF run on afterwards (unless given it stays stopped)')
    .action(async (from: string, file: string, flags: SaveFlags) => {
      const { raw, resume, precopy, maxDowntime: maxDowntimeMs } = flags;
      context.doing = `save of ${from} to ${file}`;
      const view = showSession(context);
      try {
        const result = await saveVf(from, file, {
          ...view,
          raw,
          resume,
          precopy,
          maxDowntimeMs,
        });
        const { path, fileBytes, packets, sha256 } = result.kept;
        const kept = { path, fileBytes, packets, sha256 };
        context.output.result({ ...sessionDocument(result), ...kept }, () => [
          ...sessionLines(`${from} ${resume === true ? 'runs on' : 'is stopped'}`, result),
          `${path}: ${formatSize(fileBytes)}, ${packets} packets, SHA-256 ${sha256}`,
        ]);
      } finally {
        view.close();
      }
    });
  precopyOptions(command);
  examples(command, [
    'xe-vfio save /run/a.sock vf.xevf',
    'xe-vfio save /run/a.sock vf.stream --raw --resume',
  ]);
}
