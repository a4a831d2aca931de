/**
 * The pre-copy phase: VRAM goes over while the source still runs, until what is left fits into the
 * downtime that is allowed.
 */
import { Fault } from '../base/fault.ts';
import { MIG_STATE, type MigState } from '../vfio/migration-state.ts';
import { VFIO_MIGRATION } from '../vfio/uapi.ts';
import type { MigrationData, PrecopyInfo } from '../vfio/vfio-device.ts';
import type { PrecopyPolicy, PrecopyRound } from './precopy-policy.ts';
import type { MigrationEnd } from './session-end.ts';
import { type SessionRun, StepFailure } from './session-run.ts';
import type { SourceNote } from './session-source.ts';

/** Bytes asked for at once. */
const PIECE = 4 * 2 ** 20;
/** Milliseconds between two looks at a source that has nothing to give. */
const POLL_MS = 5;
/** Rounds that may go by without a smaller estimate before the source is stopped, or let be. */
const PATIENCE = 5;
/** Milliseconds of a round at least: shorter ones say nothing about the rate of change. */
const ROUND_MS = 200;
/** What stopping, the state beside VRAM, loading and starting take at least; a first guess. */
const FIXED_MS = 10;

/**
 * Begins to save a source that can be saved while it runs, and moves what it gives until it may be
 * stopped.
 *
 * @returns the data file, which goes on in STOP_COPY; undefined when there is to be no pre-copy
 * @throws {StepFailure} ETIME when the allowed downtime is not reached; the source runs on
 */
export async function precopy(
  run: SessionRun,
  source: MigrationEnd,
  found: MigState,
  write: (views: readonly Uint8Array[]) => Promise<void>,
  policy: PrecopyPolicy,
  note: SourceNote,
): Promise<MigrationData | undefined> {
  const { device } = source;
  const has = (device.migrationFlags & VFIO_MIGRATION.PRE_COPY) !== 0;
  if (policy.precopy === 'off' || !has || found !== MIG_STATE.RUNNING) return undefined;
  await run.enter('precopy');
  let data: MigrationData | undefined;
  await run.claim(
    'source',
    async () => {
      data = await device.setMigrationState(MIG_STATE.PRE_COPY);
    },
    () => {
      note.source = { found: MIG_STATE.RUNNING, ...(data === undefined ? {} : { data }) };
    },
  );
  if (data === undefined) run.fail('source', 'EIO', 'PRE_COPY opened no data file');
  await new PrecopyRounds(run, source, data, write, policy).untilReady();
  return data;
}

/** The rounds of one pre-copy. */
class PrecopyRounds {
  readonly #run: SessionRun;
  readonly #source: MigrationEnd;
  readonly #data: MigrationData;
  readonly #write: (views: readonly Uint8Array[]) => Promise<void>;
  readonly #policy: PrecopyPolicy;
  #rounds = 0;
  #bytes = 0;
  /** Time in which bytes moved, and how many did. */
  #busyMs = 0;

  constructor(
    run: SessionRun,
    source: MigrationEnd,
    data: MigrationData,
    write: (views: readonly Uint8Array[]) => Promise<void>,
    policy: PrecopyPolicy,
  ) {
    this.#run = run;
    this.#source = source;
    this.#data = data;
    this.#write = write;
    this.#policy = policy;
  }

  /** @throws {StepFailure} ETIME when the allowed downtime is not reached */
  async untilReady(): Promise<void> {
    let best = Number.POSITIVE_INFINITY;
    let since = 0;
    for (;;) {
      const round = await this.#round();
      this.#run.precopyRound(round);
      const { maxDowntimeMs } = this.#policy;
      if (maxDowntimeMs !== undefined && round.downtimeMs <= maxDowntimeMs) break;
      // A tenth less is progress; less is noise.
      since = round.downtimeMs < best * 0.9 ? 0 : since + 1;
      best = Math.min(best, round.downtimeMs);
      const known = Number.isFinite(round.downtimeMs);
      if (maxDowntimeMs === undefined && known && (since > 0 || round.dirtyBytes === 0)) break;
      if (maxDowntimeMs !== undefined && known && since >= PATIENCE)
        this.#refuse(maxDowntimeMs, best);
    }
  }

  #refuse(allowedMs: number, bestMs: number): never {
    this.#run.fail(
      'source',
      'ETIME',
      `the VF would be down for ${bestMs.toFixed(0)} ms, ${allowedMs} ms are allowed`,
      { hint: 'allow more with --max-downtime, or give the VF less to do' },
    );
  }

  /** Moves what there is until the source has nothing more to give, and looks at what is new. */
  async #round(): Promise<PrecopyRound> {
    const startedAt = this.#run.now();
    const before = this.#bytes;
    const first = this.#rounds === 0;
    let info = await this.#drain(first);
    for (;;) {
      const ms = this.#run.now() - startedAt;
      if (ms >= ROUND_MS && stopMsOf(info) !== undefined) break;
      const moved = this.#bytes;
      if (info.dirtyBytes + info.initialBytes > 0) info = await this.#drain(false);
      if (this.#bytes > moved) continue;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      info = await this.#info();
    }
    const ms = this.#run.now() - startedAt;
    const bytes = this.#bytes - before;
    const dirtyBytes = info.dirtyBytes + info.initialBytes;
    // What came again after the first pass, and what is left, is what became dirty.
    const dirtied = (first ? 0 : bytes) + dirtyBytes;
    const dirtyRate = ms > 0 ? Math.round((dirtied * 1000) / ms) : 0;
    return {
      round: ++this.#rounds,
      ms,
      bytes,
      bytesPerSecond: this.#rate(),
      dirtyBytes,
      dirtyBytesPerSecond: dirtyRate,
      downtimeMs: await this.#downtimeMs(info, dirtyRate),
    };
  }

  #rate(): number {
    return this.#busyMs > 0 ? Math.round((this.#bytes * 1000) / this.#busyMs) : 0;
  }

  /** What stopping now would cost: finding the last changes, and moving all that is left. */
  async #downtimeMs(info: PrecopyInfo, dirtyRate: number): Promise<number> {
    const { device } = this.#source;
    const size = await this.#run.step('source', () => device.migrationDataSize());
    const rate = this.#rate();
    const stopMs = stopMsOf(info) ?? Number.POSITIVE_INFINITY;
    const unnoticed = (dirtyRate * (info.staleMs ?? 0)) / 1000;
    return FIXED_MS + stopMs + (rate > 0 ? ((size + unnoticed) * 1000) / rate : 0);
  }

  #info(): Promise<PrecopyInfo> {
    return this.#run.step('source', () => this.#source.device.precopyInfo());
  }

  /**
   * Moves bytes until the momentary end, or, as a source that changes as fast as it is read has none,
   * until as many moved as were announced at the beginning. So a round that leaves less than it found
   * is progress, however slow the way is.
   */
  async #drain(first: boolean): Promise<PrecopyInfo> {
    const announced = await this.#info();
    const total = this.#bytes + announced.initialBytes + announced.dirtyBytes;
    for (;;) {
      const startedAt = this.#run.now();
      const views = await this.#read();
      if (views === undefined) return await this.#info();
      let bytes = 0;
      for (const view of views) bytes += view.length;
      if (bytes === 0) return await this.#info();
      await this.#run.step('target', () => this.#write(views));
      this.#bytes += bytes;
      this.#busyMs += this.#run.now() - startedAt;
      this.#run.moved(this.#bytes, Math.max(total, this.#bytes));
      if (this.#bytes < total) continue;
      const info = await this.#info();
      if (!first || info.initialBytes === 0) return info;
    }
  }

  /** The next bytes, undefined at a momentary end. */
  async #read(): Promise<readonly Uint8Array[] | undefined> {
    this.#run.checkCancelled();
    try {
      return await this.#data.read(PIECE);
    } catch (error) {
      if (error instanceof Fault && error.code === 'ENOMSG') return undefined;
      throw error instanceof Fault ? new StepFailure('source', error) : error;
    }
  }
}

/** What the device says of the way into STOP_COPY: 0 when it says nothing, undefined when not yet. */
function stopMsOf(info: PrecopyInfo): number | undefined {
  return 'stopMs' in info ? info.stopMs : 0;
}
