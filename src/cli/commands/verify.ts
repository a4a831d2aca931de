/** `xe-vfio verify FILE`: would a VF take this stream, and would anything be lost? */
import type { Command } from 'commander';
import { type VerifyAccepted, type VerifyRefused, verifyFile } from '../../app/verify.ts';
import { formatSize } from '../../base/size.ts';
import { type CommandContext, examples } from '../command.ts';
import { EXIT } from '../exit-codes.ts';
import { deviceOption, integerOption, sizeListOption, sizeOption } from '../options.ts';
import type { Output } from '../output.ts';
import { Progress } from '../progress.ts';
import { formatFields, formatTable } from '../table.ts';

interface Options {
  readonly device?: number;
  readonly revision?: number;
  readonly ggtt?: number;
  readonly vram?: number;
  readonly gucState?: readonly number[];
}

/** Gives `verify` its arguments, options and action. */
export function define(command: Command, context: CommandContext): void {
  command
    .argument('<file>', 'checkpoint, or plain stream')
    .option('--device <VVVV:DDDD>', 'PCI id of the target, such as 8086:e20b', deviceOption)
    .option('--revision <R>', 'PCI revision of the target', integerOption(0, 255))
    .option('--ggtt <SIZE>', 'GGTT quota of the target', sizeOption)
    .option('--vram <SIZE>', 'VRAM quota of the target', sizeOption)
    .option(
      '--guc-state <SIZE,...>',
      "GuC state that the target's firmware takes, for GT 0, GT 1",
      sizeListOption,
    )
    .action((file: string, options: Options) => run(file, options, context));
  examples(command, [
    'xe-vfio verify vm.xevf',
    'xe-vfio verify stream.bin --device 8086:e20b --revision 0 --ggtt 512M --vram 4G',
  ]);
  command.addHelpText(
    'after',
    '\nA file that is refused exits with 6; `offset` is where in the stream the offending packet\n' +
      'begins. What Linux takes although state is lost by it is a warning.',
  );
}

async function run(file: string, options: Options, context: CommandContext): Promise<void> {
  const { output } = context;
  context.doing = `verify of ${file}`;
  const { signal } = context;
  const progress = new Progress(output.stderr);
  progress.phase('verify');
  const claim = {
    deviceId: options.device,
    revisionId: options.revision,
    ggttSize: options.ggtt,
    vramSize: options.vram,
    gucStateSizes: options.gucState,
  };
  try {
    const onProgress = (bytes: number, total: number) => progress.update(bytes, total);
    const outcome = await verifyFile(file, claim, { signal, onProgress });
    progress.close();
    if (outcome.ok) output.result(outcome, () => accepted(file, outcome));
    else {
      context.exitCode = EXIT.INCOMPATIBLE;
      refuse(file, outcome, output);
    }
  } finally {
    progress.close();
  }
}

function accepted(file: string, report: VerifyAccepted): string[] {
  const { device } = report;
  const lines: string[] = formatFields([
    ['file', file],
    ['verdict', report.warnings.length === 0 ? 'accepted' : 'accepted, with losses'],
    ['format', report.format],
    ['stream', `${formatSize(report.bytes)} in ${report.packets} packets`],
    ['device', deviceText(device)],
    ...(report.precopied
      ? [['saved', 'while the VF ran: VRAM that did not come is zero'] as const]
      : []),
  ]);
  const rows = report.resources.map(({ resource, tile, gt, packets, bytes }) => [
    resource,
    String(tile),
    String(gt),
    String(packets),
    formatSize(bytes),
  ]);
  lines.push('', ...formatTable(COLUMNS, rows));
  if (report.warnings.length + report.unchecked.length > 0) lines.push('');
  for (const { text } of report.warnings) lines.push(`warning: ${text}`);
  for (const text of report.unchecked) lines.push(`unchecked: ${text}`);
  return lines;
}

const COLUMNS = [
  { title: 'resource' },
  { title: 'tile', align: 'right' },
  { title: 'GT', align: 'right' },
  { title: 'packets', align: 'right' },
  { title: 'payload', align: 'right' },
] as const;

function deviceText({ deviceId, revisionId, platform, from }: VerifyAccepted['device']): string {
  if (deviceId === undefined) return 'not known';
  const revision = revisionId === undefined ? '' : ` revision ${revisionId}`;
  const id = `8086:${deviceId.toString(16).padStart(4, '0')}`;
  return `${id}${revision}, ${platform ?? 'no known platform'} (from the ${from})`;
}

/** A refusal is the result of this command: a document of its own, or the three lines of an error. */
function refuse(file: string, refused: VerifyRefused, output: Output): void {
  const hint = `xe-vfio inspect ${file}`;
  if (output.json) {
    output.result({ ...refused, hint }, () => []);
    return;
  }
  const { packet, offset, fileOffset, format, errno, reason } = refused;
  const inFile = format === 'checkpoint' ? ` (byte ${fileOffset} of the file)` : '';
  output.refusal(`${file} is refused at packet ${packet}, byte ${offset}${inFile}`, {
    errno,
    reason,
    hint,
  });
}
