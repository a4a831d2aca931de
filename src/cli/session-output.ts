/** How a session is shown while it runs and when it is over. */

import { type Command, Option } from 'commander';
import type { MigrationEvent, MigrationPhase, MigrationResult } from '../app/move.ts';
import { Fault } from '../base/fault.ts';
import { formatSize } from '../base/size.ts';
import type { CommandContext } from './command.ts';
import { integerOption } from './options.ts';
import type { Output } from './output.ts';
import { formatDuration, Progress } from './progress.ts';
import { type Column, formatTable } from './table.ts';

/** Names a phase before which the tool waits until SIGUSR2; for tests that kill it there. */
const PAUSE_VARIABLE = 'XE_VFIO_TEST_PAUSE_AT';

/** What a session is given to be shown. */
export interface SessionView {
  readonly signal: AbortSignal;
  readonly onEvent: (event: MigrationEvent) => void;
  readonly beforePhase?: (phase: MigrationPhase) => Promise<void>;
  /** Wipes the progress line. */
  close(): void;
}

/** Adds the options of a session that may begin while its source runs. */
export function precopyOptions(command: Command): void {
  command
    .addOption(
      new Option('--precopy <when>', 'move VRAM while the VF still runs, where its server can')
        .choices(['auto', 'off'])
        .default('auto'),
    )
    .option(
      '--max-downtime <ms>',
      'stop the VF only once it will be down for less than that; else give up',
      integerOption(1),
    );
}

/** The values of {@link precopyOptions}. */
export interface PrecopyFlags {
  readonly precopy: 'auto' | 'off';
  readonly maxDowntime?: number;
}

/** Shows a session: a line of progress on a terminal, with `--json` an object a line on stdout. */
export function showSession(context: CommandContext): SessionView {
  const { output, signal } = context;
  const progress = new Progress(output.stderr);
  const onEvent = (event: MigrationEvent) => {
    if (output.json) output.result(eventDocument(event), () => []);
    else if (event.type === 'phase' && event.phase !== 'done') progress.phase(event.phase);
    else if (event.type === 'progress') progress.update(event.bytes, event.totalBytes);
  };
  const view = { signal, onEvent, close: () => progress.close() };
  const beforePhase = pauseAt(context);
  return beforePhase === undefined ? view : { ...view, beforePhase };
}

/**
 * What waits before the phase that a test names in the environment, undefined without one. A test can
 * then end a party there.
 */
export function pauseAt({
  output,
  signal,
}: CommandContext): ((phase: string) => Promise<void>) | undefined {
  const wanted = process.env[PAUSE_VARIABLE];
  if (wanted === undefined) return undefined;
  return async (phase) => {
    if (phase === wanted) await pause(phase, output, signal);
  };
}

/** The lines that tell of a session that succeeded. */
export function sessionLines(what: string, result: MigrationResult): string[] {
  const columns: Column[] = [
    { title: 'phase' },
    { title: 'time', align: 'right' },
    { title: 'bytes', align: 'right' },
  ];
  const rows = result.phases
    .filter(({ name }) => name !== 'done')
    .map(({ name, ms, bytes }) => [
      name,
      `${ms.toFixed(1)} ms`,
      bytes > 0 ? formatSize(bytes) : '',
    ]);
  const rate = `${formatSize(result.bytesPerSecond)}/s`;
  return [
    ...formatTable(columns, rows),
    '',
    `${what}: ${formatSize(result.streamBytes)} at ${rate}, down for ` +
      `${result.downtimeMs.toFixed(1)} ms, ${formatDuration(result.totalMs)} in all`,
  ];
}

/** A session's result as JSON. */
export function sessionDocument(result: MigrationResult): object {
  const { streamBytes, bytesPerSecond } = result;
  return {
    event: 'done',
    ok: true,
    streamBytes,
    downtimeMs: roundMs(result.downtimeMs),
    totalMs: roundMs(result.totalMs),
    bytesPerSecond,
    phases: result.phases.map(({ name, ms, bytes }) => ({ name, ms: roundMs(ms), bytes })),
  };
}

/** Milliseconds with at most three decimals. */
export function roundMs(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

function eventDocument(event: MigrationEvent): object {
  switch (event.type) {
    case 'phase':
      return { event: 'phase', phase: event.phase, atMs: roundMs(event.atMs) };
    case 'progress': {
      const { phase, bytes, totalBytes, bytesPerSecond, remainingMs } = event;
      return {
        event: 'progress',
        phase,
        bytes,
        totalBytes,
        bytesPerSecond,
        remainingMs: Number.isFinite(remainingMs) ? roundMs(remainingMs) : null,
      };
    }
    case 'round': {
      const { ms, downtimeMs, ...counts } = event.round;
      return {
        event: 'round',
        ...counts,
        ms: roundMs(ms),
        downtimeMs: Number.isFinite(downtimeMs) ? roundMs(downtimeMs) : null,
      };
    }
    case 'rollback':
      return { event: 'rollback', phase: event.fault.phase, ...event.fault.ends };
  }
}

/** Waits for SIGUSR2, or for the session to be called off. */
async function pause(phase: string, output: Output, signal: AbortSignal): Promise<void> {
  const idle = setInterval(() => {}, 60_000);
  try {
    await new Promise<void>((resolve, reject) => {
      process.once('SIGUSR2', resolve);
      const abort = () => reject(new Fault('ECANCELED', 'called off while paused'));
      if (signal.aborted) abort();
      signal.addEventListener('abort', abort, { once: true });
      // Said last: whoever reads it may send the signal at once.
      output.note(`paused before ${phase}`);
    });
  } finally {
    clearInterval(idle);
  }
}
