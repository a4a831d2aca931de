/** How long a migration would take, and for how long the VF would be down. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../base/fault.ts';
import { MIG_STATE } from '../vfio/migration-state.ts';
import { VFIO_MIGRATION } from '../vfio/uapi.ts';
import type { MigrationData } from '../vfio/vfio-device.ts';
import type { MigratableDevice } from './session-end.ts';

/** What stopping, loading and starting take beside the bytes; a first guess. */
const FIXED_MS = 10;
/** Rounds after which one more does not help. */
const ROUNDS_MAX = 30;
const PIECE = 4 * 2 ** 20;
/** Between two looks at a source that has nothing to give. */
const POLL_MS = 5;

/** What was measured. */
export interface ForecastInput {
  /** Bytes of the stream of a VF that stands still. */
  readonly streamBytes: number;
  /** Bytes of the stream that the way carries a second. */
  readonly bytesPerSecond: number;
  /** Bytes that change a second; undefined when the source can only be saved standing still. */
  readonly dirtyBytesPerSecond: number | undefined;
  /** Bytes of the stream that go only once the source stands still, however little changes. */
  readonly lastBytes?: number | undefined;
  /** Milliseconds that the source needs to find the last changes, where it tells. */
  readonly stopMs?: number | undefined;
  /** Milliseconds for which a change may go unnoticed, where it tells. */
  readonly staleMs?: number | undefined;
  /** Milliseconds that are allowed; undefined for as little as can be had. */
  readonly maxDowntimeMs?: number | undefined;
}

/** What is to be expected. */
export interface Forecast extends ForecastInput {
  readonly method: 'pre-copy' | 'stop-copy';
  readonly downtimeMs: number;
  readonly totalMs: number;
  /** Passes over what changed, beside the last one with the VF stopped. */
  readonly rounds: number;
  /** True when the downtime is within what is allowed, or nothing was said. */
  readonly fits: boolean;
}

/**
 * What follows from the measurements.
 *
 * Each round of a pre-copy moves what changed during the one before; the VF is stopped when the rest
 * fits into the downtime that is allowed, or one more round would not make it smaller.
 */
export function forecast(input: ForecastInput): Forecast {
  const { streamBytes, bytesPerSecond, dirtyBytesPerSecond, maxDowntimeMs } = input;
  const { lastBytes = 0, stopMs = 0, staleMs = 0 } = input;
  const msOf = (bytes: number) => (bytes * 1000) / bytesPerSecond;
  const unnoticed = ((dirtyBytesPerSecond ?? 0) * staleMs) / 1000;
  const leastMs = FIXED_MS + stopMs + msOf(lastBytes + unnoticed);
  const told = (rounds: number, movedMs: number, rest: number): Forecast => {
    const downtimeMs = leastMs + msOf(rest);
    return {
      ...input,
      method: dirtyBytesPerSecond === undefined ? 'stop-copy' : 'pre-copy',
      downtimeMs,
      totalMs: movedMs + downtimeMs,
      rounds,
      fits: maxDowntimeMs === undefined || downtimeMs <= maxDowntimeMs,
    };
  };
  if (dirtyBytesPerSecond === undefined) return told(0, 0, streamBytes);
  let movedMs = 0;
  let rest = streamBytes;
  let round = 0;
  while (round < ROUNDS_MAX) {
    round++;
    const ms = msOf(rest);
    movedMs += ms;
    const next = Math.min((dirtyBytesPerSecond * ms) / 1000, streamBytes);
    const smaller = next < rest * 0.9;
    rest = next;
    if (!smaller) break;
    if (rest === 0 || leastMs + msOf(rest) <= (maxDowntimeMs ?? 0)) break;
  }
  return told(round, movedMs, rest);
}

/** What a running source tells in a pre-copy that goes nowhere. */
export type MeasuredChanges = Required<
  Pick<ForecastInput, 'dirtyBytesPerSecond' | 'lastBytes' | 'stopMs' | 'staleMs'>
>;

/**
 * How much a running source changes, as its pre-copy tells: all of its state is read once and thrown
 * away, then what changed is, for `ms` milliseconds. The VF runs all the time.
 *
 * @returns undefined for a source without pre-copy, or one that does not run
 * @throws {Fault} EBUSY when a session owns the VF; ECANCELED when `signal` ended it
 */
export async function measureChanges(
  device: MigratableDevice,
  ms: number,
  signal?: AbortSignal,
): Promise<MeasuredChanges | undefined> {
  if ((device.migrationFlags & VFIO_MIGRATION.PRE_COPY) === 0) return undefined;
  if ((await device.migrationState()) !== MIG_STATE.RUNNING) return undefined;
  const data = await device.setMigrationState(MIG_STATE.PRE_COPY);
  if (data === undefined) throw new Fault('EIO', 'PRE_COPY opened no data file');
  try {
    const { initialBytes: first } = await device.precopyInfo();
    await readAway(data, Number.POSITIVE_INFINITY, signal, first);
    const startedAt = performance.now();
    let bytes = 0;
    let elapsed = 0;
    for (; elapsed < ms; elapsed = performance.now() - startedAt) {
      bytes += await readAway(data, startedAt + ms, signal);
      await sleep(POLL_MS);
    }
    const { initialBytes, dirtyBytes, stopMs, staleMs } = await device.precopyInfo();
    const left = initialBytes + dirtyBytes;
    return {
      dirtyBytesPerSecond: Math.round(((bytes + left) * 1000) / elapsed),
      lastBytes: Math.max(0, (await device.migrationDataSize()) - left),
      stopMs,
      staleMs,
    };
  } finally {
    data.close();
    await device.setMigrationState(MIG_STATE.RUNNING);
  }
}

/**
 * Reads until the momentary end, the time, or so many bytes: what changes as fast as it is read has
 * no end.
 * @returns how many bytes there were
 */
async function readAway(
  data: MigrationData,
  until: number,
  signal?: AbortSignal,
  most = Number.POSITIVE_INFINITY,
): Promise<number> {
  let bytes = 0;
  while (performance.now() < until && bytes < most) {
    if (signal?.aborted === true) throw new Fault('ECANCELED', 'the forecast was called off');
    try {
      const views = await data.read(PIECE);
      const before = bytes;
      for (const view of views) bytes += view.length;
      if (bytes === before) break;
    } catch (error) {
      if (error instanceof Fault && error.code === 'ENOMSG') break;
      throw error;
    }
  }
  return bytes;
}
