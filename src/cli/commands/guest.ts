/** `xe-vfio guest`: a stock Linux guest with VFs of an emulated GPU. */
import type { Command } from 'commander';
import { type GuestEvent, type GuestResult, runGuest } from '../../app/guest.ts';
import { logLineText } from '../../app/guest-log.ts';
import { formatSize } from '../../base/size.ts';
import { type CommandContext, examples } from '../command.ts';
import { counterLines } from '../counter-output.ts';
import { EXIT, UsageFault } from '../exit-codes.ts';
import { integerOption, sizeOption } from '../options.ts';
import { roundMs } from '../session-output.ts';

interface GuestFlags {
  readonly platform: string;
  readonly vfs: number;
  readonly smp?: number;
  readonly memory?: number;
  readonly vram?: number;
  readonly exercise?: string | true;
  readonly drmDebug?: number;
  readonly shell?: true;
  readonly stats?: true;
}

/** Gives `guest` its options and action. */
export function define(command: Command, context: CommandContext): void {
  command
    .description(
      'Boot a stock Linux guest under stock QEMU with VFs of an emulated GPU, load its xe driver, and ' +
        'report times and results. The guest rig is built first where it is missing (root, once).',
    )
    .option('--platform <name>', 'the emulated GPU: ptl, bmg or wcl', 'ptl')
    .option('--vfs <count>', 'VFs of one PF, all in this guest', integerOption(1, 28), 1)
    .option('--smp <count>', "the guest's CPUs (default: 1)", integerOption(1, 64))
    .option('--memory <size>', "the guest's memory (default: 2G)", sizeOption)
    .option('--vram <size>', 'VRAM of each VF on bmg (default: 3G, or a fair share)', sizeOption)
    .option('--exercise [list]', 'run the GPU exerciser: these cases, parted by commas, or all')
    .option('--shell', 'give this terminal to a shell in the guest at the end')
    .option('--stats', 'show what each VF was made to do')
    .option('--drm-debug <mask>', 'drm.debug in the guest, such as 0x2', integerOption(0))
    .action(async (flags: GuestFlags) => await run(flags, context));
  examples(command, [
    'xe-vfio guest --platform bmg --exercise',
    'xe-vfio guest --vfs 2 --exercise query,store --json',
    'xe-vfio guest --shell',
  ]);
}

async function run(flags: GuestFlags, context: CommandContext): Promise<void> {
  const { output, signal } = context;
  const { platform, vfs, smp, memory, vram, exercise, drmDebug, shell } = flags;
  if (shell === true && output.json)
    throw new UsageFault('--shell needs the terminal that --json writes to');
  context.doing = `guest with ${platform}`;
  const start = performance.now();
  const terminal = {
    input: process.stdin,
    output: process.stdout,
    columns: process.stdout.columns,
    rows: process.stdout.rows,
  };
  try {
    const result = await runGuest({
      platform,
      vfs,
      smp,
      memory,
      vramSize: vram,
      exercise: exercise === true ? '' : exercise,
      drmDebug,
      shell: shell === true ? terminal : undefined,
      signal,
      onEvent: (event) => {
        if (event.type === 'shell' && process.stdin.isTTY) process.stdin.setRawMode(true);
        const seconds = ((performance.now() - start) / 1000).toFixed(2).padStart(7);
        for (const line of eventLines(event)) output.note(`${seconds} s  ${line}`);
      },
    });
    output.result(document(result), () => report(result, flags.stats === true));
    if (!result.ok) context.exitCode = EXIT.FAILED;
  } finally {
    if (process.stdin.isTTY) process.stdin.setRawMode(false);
  }
}

function eventLines(event: GuestEvent): string[] {
  switch (event.type) {
    case 'rig':
      return [event.line];
    case 'starting': {
      const { rig, directory } = event;
      return [`starting QEMU ${rig.qemuVersion} with Linux ${rig.kernelRelease} in ${directory}`];
    }
    case 'booted':
      return [`booted in ${(event.ms / 1000).toFixed(1)} s`];
    case 'probed':
      return [
        `xe loaded in ${(event.ms / 1000).toFixed(2)} s`,
        ...event.devices.map(
          ({ address, driver, renderNode }) =>
            `${address}: ${driver ?? 'no driver'}, ${renderNode ?? 'no render node'}`,
        ),
      ];
    case 'exercise':
      return [event.line];
    case 'shell':
      return ['a shell in the guest; exit ends it'];
    case 'server': {
      const { level, vfid, message, details } = event.event;
      if (level !== 'warn' && level !== 'error') return [];
      return [`server, VF ${vfid}, ${level}: ${message} ${JSON.stringify(details)}`];
    }
  }
}

function document(result: GuestResult): object {
  const { times, kernelLog, ...rest } = result;
  return {
    ...rest,
    times: {
      prepareMs: roundMs(times.prepareMs),
      bootMs: roundMs(times.bootMs),
      probeMs: roundMs(times.probeMs),
      exerciseMs: times.exerciseMs === undefined ? null : roundMs(times.exerciseMs),
    },
    kernelLog: {
      path: kernelLog.path,
      unexpected: kernelLog.unexpected.map(logLineText),
      allowed: kernelLog.allowed.map(({ line, reason }) => ({ line: logLineText(line), reason })),
    },
  };
}

function report(result: GuestResult, stats: boolean): string[] {
  const { times, devices, exercises, kernelLog, counters } = result;
  const lines = [
    `${result.platform}, ${result.smp} CPUs, ${formatSize(result.memory)}: boot ${seconds(times.bootMs)}, ` +
      `probe ${seconds(times.probeMs)}${times.exerciseMs === undefined ? '' : `, exercise ${seconds(times.exerciseMs)}`}`,
  ];
  for (const { address, driver, renderNode } of devices)
    lines.push(`${address}: driver ${driver ?? 'none'}, render node ${renderNode ?? 'none'}`);
  for (const { address, passed, failed, skipped, cases } of exercises) {
    lines.push(`${address}: ${passed} cases passed, ${failed} failed, ${skipped} skipped`);
    for (const { outcome, name, detail } of cases)
      if (outcome === 'FAIL') lines.push(`  FAIL ${name}: ${detail}`);
  }
  if (stats)
    for (const { vfid, ...snapshot } of counters)
      lines.push('', `VF ${vfid}`, ...counterLines(snapshot));
  lines.push(`kernel log: ${kernelLog.path}`);
  const { unexpected, allowed } = kernelLog;
  if (allowed.length > 0)
    lines.push(`${allowed.length} lines of it are errors or warnings that are known`);
  if (unexpected.length > 0) lines.push('must not be there:', ...unexpected.map(logLineText));
  lines.push(result.ok ? 'all is well' : 'NOT all is well');
  return lines;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(2)} s`;
}
