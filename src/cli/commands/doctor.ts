import type { Command } from 'commander';
import { type Check, examine, type RecordResult, record } from '../../app/doctor.ts';
import { type CommandContext, examples } from '../command.ts';
import { EXIT, UsageFault } from '../exit-codes.ts';
import { integerOption, rootOption } from '../options.ts';
import { formatTable } from '../table.ts';

interface DoctorFlags {
  readonly root?: string;
  readonly record?: string;
  readonly vf?: number;
}

/** `doctor`. */
export function define(command: Command, context: CommandContext): void {
  rootOption(command)
    .argument('[pf]', 'look at this PF only, such as 0000:03:00.0')
    .option(
      '--record <dir>',
      'write DIR/record.json: what the files of the PF say, for a bug report',
    )
    .option(
      '--vf <number>',
      'with --record: pause, save and resume this VF, and note how long that takes',
      integerOption(1),
    )
    .action(async (pf: string | undefined, flags: DoctorFlags) => {
      if (flags.record !== undefined) return await runRecord(pf, flags, flags.record, context);
      if (flags.vf !== undefined)
        throw new UsageFault('--vf goes with --record', 'xe-vfio doctor --record DIR --vf 1');
      await runExamine(pf, flags, context);
    });
  examples(command, [
    'xe-vfio doctor',
    'xe-vfio doctor 0000:03:00.0 --json',
    'xe-vfio doctor --record report',
    'xe-vfio doctor 0000:03:00.0 --record report --vf 1',
  ]);
}

async function runExamine(
  pf: string | undefined,
  { root }: DoctorFlags,
  context: CommandContext,
): Promise<void> {
  context.doing = 'doctor';
  const checks = await examine(pf, root);
  const failed = checks.filter(({ status }) => status === 'fail');
  context.output.result({ ok: failed.length === 0, checks }, () => checkLines(checks));
  if (failed.length > 0) context.exitCode = EXIT.PRECONDITION;
}

function checkLines(checks: readonly Check[]): string[] {
  const rows = checks.map(({ status, name, found, wanted }) => [status, name, found, wanted]);
  const fixes = checks.flatMap(({ status, name, fix }) =>
    fix === undefined ? [] : [`${status} ${name}: ${fix}`],
  );
  const titles = ['', 'what', 'found', 'wanted'].map((title) => ({ title }));
  return [...formatTable(titles, rows), ...(fixes.length === 0 ? [] : ['', ...fixes])];
}

async function runRecord(
  pf: string | undefined,
  { root, vf }: DoctorFlags,
  directory: string,
  context: CommandContext,
): Promise<void> {
  context.doing = `record of ${pf ?? 'the PF'}`;
  const result = await record(directory, { pf, vf, root });
  context.output.result({ ok: true, ...result }, () => recordLines(result));
}

function recordLines({ path, pf, files, cycle }: RecordResult): string[] {
  const lines = [`${path}: ${files} files of ${pf}, no names, addresses or keys of this machine`];
  if (cycle === undefined) return lines;
  const { vfid, supported, size, steps, packets } = cycle;
  const rows = steps.map(({ step, ms, bytes, errno, reason }) => [
    step,
    `${ms.toFixed(1)} ms`,
    bytes === undefined ? '' : `${bytes} B`,
    errno === undefined ? '' : `${errno} ${reason}`,
  ]);
  const titles = [
    { title: 'step' },
    { title: 'time', align: 'right' },
    { title: 'data', align: 'right' },
    { title: 'error' },
  ] as const;
  return [
    ...lines,
    `VF ${vfid}: migration supported: ${supported}, announced ${size ?? '?'} B, ${packets.length} packets`,
    ...formatTable(titles, rows),
  ];
}
