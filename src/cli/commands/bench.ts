/** `xe-vfio bench`: every benchmark beside its yardstick, as ratios. */
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { Fault } from '../../base/fault.ts';
import { formatSize } from '../../base/size.ts';
import { type CommandContext, examples } from '../command.ts';
import { UsageFault } from '../exit-codes.ts';
import { formatTable } from '../table.ts';

/** One line of what `bench/index.mjs` measured. */
interface BenchRow {
  readonly benchmark: string;
  readonly name: string;
  readonly unit: 'ns' | 'ms' | 'B/s' | 'B' | 'count';
  readonly ours: number;
  readonly yardstick: number | undefined;
  readonly yardstickName: string;
  /** Ours to the yardstick. */
  readonly ratio: number | undefined;
  /** The ratio to reach; undefined for a row that only shows. */
  readonly reach?: number | undefined;
  readonly better: 'lower' | 'higher';
}

/** What `bench/index.mjs` exports. */
interface BenchModule {
  readonly BENCHMARKS: Readonly<Record<string, unknown>>;
  runBenchmarks(options: {
    readonly names: readonly string[];
    readonly quick: boolean;
    readonly onStart: (name: string) => void;
  }): Promise<{ readonly rows: readonly BenchRow[]; readonly note?: string }>;
}

/** Gives `bench` its arguments, options and action. */
export function define(command: Command, context: CommandContext): void {
  command
    .argument('[name...]', 'benchmarks to run; all of them unless named')
    .option('--quick', 'small sizes, one pass: shows that it runs, not how fast')
    .action((names: string[], { quick }: { quick?: boolean }) =>
      run(names, quick === true, context),
    );
  examples(command, ['xe-vfio bench', 'xe-vfio bench region-access --json']);
  command.addHelpText(
    'after',
    '\nBenchmarks: region-access, driver-data, socket-stream, network, server-memory, idle-vfs,\n' +
      'precopy, guest-engine, guest-probe (needs the guest rig). The yardsticks are C programs, compiled where\n' +
      'there is a compiler; without one only our figures are printed.',
  );
}

async function run(names: readonly string[], quick: boolean, context: CommandContext) {
  const { output } = context;
  context.doing = 'bench';
  const place = new URL('../../../bench/index.mjs', import.meta.url);
  if (!existsSync(place))
    throw new Fault('ENOENT', 'the benchmarks are not part of this installation', {
      hint: 'run it from a checkout of the source',
    });
  const bench = (await import(place.href)) as BenchModule;
  const unknown = names.find((name) => !Object.hasOwn(bench.BENCHMARKS, name));
  if (unknown !== undefined)
    throw new UsageFault(`there is no benchmark ${unknown}`, 'xe-vfio bench --help');
  const onStart = (name: string) => output.note(`running ${name} ...`);
  const { rows, note } = await bench.runBenchmarks({ names, quick, onStart });
  if (note !== undefined) output.note(`no yardsticks: ${note}`);
  output.result({ ok: true, quick, ...(note === undefined ? {} : { note }), rows }, () =>
    formatTable(COLUMNS, rows.map(cells)),
  );
}

const COLUMNS = [
  { title: 'what' },
  { title: 'ours', align: 'right' },
  { title: 'yardstick', align: 'right' },
  { title: 'ratio', align: 'right' },
  { title: 'to reach', align: 'right' },
  { title: '' },
  { title: 'beside' },
] as const;

function cells(row: BenchRow): string[] {
  const { ratio, reach, better } = row;
  const reached =
    ratio === undefined || reach === undefined
      ? ''
      : verdict(better === 'lower' ? ratio <= reach : ratio >= reach);
  return [
    row.name,
    quantity(row.ours, row.unit),
    row.yardstick === undefined ? '-' : quantity(row.yardstick, row.unit),
    ratio === undefined ? '-' : ratio.toFixed(2),
    reach === undefined ? '' : `${better === 'lower' ? '<=' : '>='} ${reach}`,
    reached,
    row.yardstickName,
  ];
}

function verdict(reached: boolean): string {
  return reached ? 'reached' : 'missed';
}

function quantity(value: number, unit: BenchRow['unit']): string {
  if (unit === 'count') return String(value);
  if (unit === 'ms') return `${value.toFixed(1)} ms`;
  if (unit === 'ns') return `${(value / 1000).toFixed(2)} us`;
  return unit === 'B' ? formatSize(Math.round(value)) : `${formatSize(Math.round(value))}/s`;
}
