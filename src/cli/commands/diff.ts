/** `xe-vfio diff A B`: what differs between the states in two files? */
import type { Command } from 'commander';
import { diffFiles, type FileDifferences } from '../../app/diff.ts';
import { formatSize } from '../../base/size.ts';
import { type CommandContext, examples } from '../command.ts';
import { EXIT } from '../exit-codes.ts';
import { integerOption } from '../options.ts';
import { Progress } from '../progress.ts';
import { formatTable } from '../table.ts';

/** Gives `diff` its arguments, options and action. */
export function define(command: Command, context: CommandContext): void {
  command
    .argument('<a>', 'checkpoint, or plain stream')
    .argument('<b>', 'another one')
    .option('--rows <N>', 'differences that are listed', integerOption(1), 1000)
    .action((a: string, b: string, { rows }: { rows: number }) => run(a, b, rows, context));
  examples(command, ['xe-vfio diff before.xevf after.xevf', 'xe-vfio diff a.bin b.xevf --json']);
  command.addHelpText(
    'after',
    '\nCompares what the two would leave in a VF: the order of the packets, how VRAM is cut into\n' +
      "chunks and the VFIDs of the GGTT's entries are no difference. Exits with 0 when they are\n" +
      'equal and with 1 when they differ. GGTT ranges are addresses from the start of the VF.',
  );
}

async function run(a: string, b: string, rows: number, context: CommandContext): Promise<void> {
  const { output, signal } = context;
  context.doing = `diff of ${a} and ${b}`;
  const progress = new Progress(output.stderr);
  progress.phase('diff');
  let report: FileDifferences;
  try {
    const onProgress = (bytes: number, total: number) => progress.update(bytes, total);
    report = await diffFiles(a, b, rows, { signal, onProgress });
  } finally {
    progress.close();
  }
  output.result({ ok: true, ...report }, () => describe(report));
  if (!report.equal) context.exitCode = EXIT.FAILED;
}

function describe({ equal, profile, differences, omitted, resources }: FileDifferences): string[] {
  if (equal) return ['equal'];
  const lines: string[] = [];
  for (const { field, a, b } of profile) lines.push(`profile ${field}: ${said(a)}, ${said(b)}`);
  for (const difference of differences) lines.push(line(difference));
  if (omitted > 0) lines.push(`and ${omitted} more differences (--rows N lists more)`);
  const rows = resources.map(({ resource, gt, aBytes, bBytes, differing }) => [
    resource,
    String(gt),
    formatSize(aBytes),
    formatSize(bBytes),
    formatSize(differing),
  ]);
  if (rows.length > 0) lines.push('', ...formatTable(COLUMNS, rows));
  return lines;
}

const COLUMNS = [
  { title: 'resource' },
  { title: 'GT', align: 'right' },
  { title: 'in A', align: 'right' },
  { title: 'in B', align: 'right' },
  { title: 'differs', align: 'right' },
] as const;

function line(difference: FileDifferences['differences'][number]): string {
  switch (difference.kind) {
    case 'field':
      return `DESCRIPTOR ${difference.name}: ${said(difference.a)}, ${said(difference.b)}`;
    case 'register':
      return `MMIO GT ${difference.gt} ${difference.name}: ${difference.a}, ${difference.b}`;
    case 'range':
      return `${place(difference)}: ${difference.differing} bytes differ`;
    case 'only':
      return `${place(difference)}: only in ${difference.in.toUpperCase()}`;
  }
}

function place({
  resource,
  gt,
  start,
  end,
}: {
  readonly resource: string;
  readonly gt: number;
  readonly start: number;
  readonly end: number;
}): string {
  return `${resource} GT ${gt} 0x${start.toString(16)}-0x${(end - 1).toString(16)}`;
}

function said(value: string | undefined): string {
  return value ?? 'none';
}
