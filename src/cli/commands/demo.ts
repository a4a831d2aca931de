import type { Command } from 'commander';
import { type DemoEvent, type DemoResult, demo } from '../../app/demo.ts';
import type { LoadCounts } from '../../app/guest-load.ts';
import { formatSize } from '../../base/size.ts';
import { type CommandContext, examples } from '../command.ts';
import { EXIT } from '../exit-codes.ts';
import { sizeOption } from '../options.ts';
import { Progress } from '../progress.ts';
import { roundMs } from '../session-output.ts';
import { formatTable } from '../table.ts';

interface DemoFlags {
  readonly platform: string;
  readonly vram?: number;
}

/** `demo`. */
export function define(command: Command, context: CommandContext): void {
  command
    .description(
      'Migrate an emulated VF between two processes while a guest works on it, and prove that ' +
        'nothing was lost. Needs neither hardware nor root.',
    )
    .option('--platform <name>', 'the emulated GPU: bmg, ptl or wcl', 'bmg')
    .option('--vram <size>', 'VRAM of the VF on bmg (default: 1G)', sizeOption)
    .action(async ({ platform, vram }: DemoFlags) => {
      context.doing = `demo on ${platform}`;
      const { output } = context;
      const timeline = new Timeline(context);
      try {
        const onEvent = (event: DemoEvent) => timeline.show(event);
        const result = await demo({ platform, vramSize: vram, signal: context.signal, onEvent });
        timeline.close();
        output.result(document(result), () => proof(result));
        if (!result.ok) context.exitCode = EXIT.FAILED;
      } finally {
        timeline.close();
      }
    });
  examples(command, ['xe-vfio demo', 'xe-vfio demo --platform ptl --json']);
}

/** The story as it happens, a line an event. */
class Timeline {
  readonly #context: CommandContext;
  readonly #progress: Progress;
  readonly #start = performance.now();

  constructor(context: CommandContext) {
    this.#context = context;
    this.#progress = new Progress(context.output.stderr);
  }

  show(event: DemoEvent): void {
    if (event.type === 'progress') return this.#progress.update(event.bytes, event.totalBytes);
    const text = line(event);
    if (text === undefined) return;
    this.#progress.close();
    const { output } = this.#context;
    const seconds = ((performance.now() - this.#start) / 1000).toFixed(2).padStart(7);
    if (!output.json) output.write(`${seconds} s  ${text}\n`);
    if (event.type === 'phase') this.#progress.phase(event.phase);
  }

  close(): void {
    this.#progress.close();
  }
}

function line(event: Exclude<DemoEvent, { type: 'progress' }>): string | undefined {
  switch (event.type) {
    case 'servers':
      return `two servers run: source (pid ${event.source}) with VF 1, target (pid ${event.target}) with VF 2`;
    case 'booted':
      return 'a guest driver is up on the source, has filled its VRAM and works';
    case 'stopped':
      return `the guest is stopped after ${workText(event.counts)}`;
    case 'digests':
      return 'both VFs are stopped: each server has taken digests of its own GPU';
    case 'resumed':
      return `the guest went on at the target: ${workText(event.counts)}`;
    case 'round': {
      const { round, bytes, dirtyBytes, downtimeMs } = event.round;
      const left = `${formatSize(dirtyBytes)} changed meanwhile`;
      return `round ${round}: ${formatSize(bytes)} moved, ${left}; stopped now it would be down for ${downtimeMs.toFixed(0)} ms`;
    }
    case 'rollback':
      return `rolled back: source ${event.fault.ends.source}, target ${event.fault.ends.target}`;
    case 'phase':
      return event.phase === 'done' ? undefined : `${event.phase}: ${PHASE_TEXT[event.phase]}`;
  }
}

const PHASE_TEXT = {
  prepare: 'the two VFs fit, and the target is ready to take data',
  precopy: 'VRAM goes to the target while the guest works on the source',
  stop: 'the source goes to RUNNING_P2P, then to STOP_COPY',
  copy: 'the stream goes from the source to the target',
  load: 'the target has taken all of it, the source is in STOP',
  run: 'the target is set RUNNING',
} as const;

function workText({
  rounds,
  vramBytes,
  ptes,
  flagWrites,
  gucMessages,
  contexts,
}: LoadCounts): string {
  return (
    `${rounds} rounds, ${formatSize(vramBytes)} of VRAM and ${ptes} page-table entries written, ` +
    `${flagWrites} flags, ${gucMessages} GuC messages, ${contexts} contexts alive`
  );
}

function document(result: DemoResult): object {
  return {
    ...result,
    downtimeMs: roundMs(result.downtimeMs),
    totalMs: roundMs(result.totalMs),
    phases: result.phases.map(({ name, ms, bytes }) => ({ name, ms: roundMs(ms), bytes })),
  };
}

function proof(result: DemoResult): string[] {
  const { source, target, ok } = result;
  const rows = (['vram', 'ggtt', 'mmio', 'guc'] as const).map((resource) => [
    resource,
    source[resource].slice(0, 32),
    target[resource].slice(0, 32),
    source[resource] === target[resource] ? 'equal' : 'DIFFERENT',
  ]);
  const titles = ['SHA-256 of', 'source', 'target', ''];
  const rate = `${formatSize(result.bytesPerSecond)}/s`;
  return [
    '',
    ...formatTable(
      titles.map((title) => ({ title })),
      rows,
    ),
    '',
    `${formatSize(result.streamBytes)} at ${rate}; the VF was down for ${result.downtimeMs.toFixed(0)} ms ` +
      '(the time for the digests not counted)',
    ok ? 'nothing was lost' : 'the two VFs are NOT equal',
  ];
}
