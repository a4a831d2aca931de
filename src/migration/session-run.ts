/** The bookkeeping of one session: which phase it is in, since when, and what went wrong where. */
import type { ErrnoName } from '../base/errno.ts';
import { Fault, type FaultOptions, type MigrationRole, toFault } from '../base/fault.ts';
import type {
  MigrationPhase,
  MigrationResult,
  PhaseRecord,
  SessionOptions,
} from './migration-phase.ts';
import type { PrecopyRound } from './precopy-policy.ts';

/** Progress is told at most this often. */
const PROGRESS_INTERVAL_MS = 100;

/** A step that failed: the cause, and at which end. */
export class StepFailure extends Error {
  readonly role: MigrationRole;
  readonly fault: Fault;

  constructor(role: MigrationRole, fault: Fault) {
    super(fault.message, { cause: fault });
    this.role = role;
    this.fault = fault;
  }
}

/** One session on its way through the phases. */
export class SessionRun {
  readonly #options: SessionOptions;
  readonly #now: () => number;
  readonly #start: number;
  readonly #phases: PhaseRecord[] = [];
  readonly #rounds: PrecopyRound[] = [];
  #phase: MigrationPhase = 'prepare';
  #phaseStart = Number.NaN;
  #phaseBytes = 0;
  /** Time that hooks took, which is not the migration's. */
  #hookMs = 0;
  #pausedAt: number | undefined;
  #downtimeMs = 0;
  #nextProgress = 0;
  #pointOfNoReturn = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#start = this.#now();
  }

  /** The phase that the session is in. */
  get phase(): MigrationPhase {
    return this.#phase;
  }

  /** Milliseconds, monotonic, without what hooks took. */
  now(): number {
    return this.#clock();
  }

  /** A round of the pre-copy is over. */
  precopyRound(round: PrecopyRound): void {
    this.#rounds.push(round);
    this.#options.onEvent?.({ type: 'round', round });
  }

  /** Begins a phase. @throws {StepFailure} ECANCELED when the session was called off */
  async enter(phase: MigrationPhase): Promise<void> {
    const { beforePhase, onEvent } = this.#options;
    this.#leave();
    this.#phase = phase;
    if (beforePhase !== undefined) {
      const before = this.#now();
      await this.step('tool', () => beforePhase(phase));
      this.#hookMs += this.#now() - before;
    }
    this.#phaseStart = this.#clock();
    this.#phaseBytes = 0;
    this.checkCancelled();
    onEvent?.({ type: 'phase', phase, atMs: this.#clock() - this.#start });
  }

  /** From here on the session is not called off any more. */
  passPointOfNoReturn(): void {
    this.checkCancelled();
    this.#pointOfNoReturn = true;
  }

  /** @throws {StepFailure} ECANCELED when the session was called off */
  checkCancelled(): void {
    if (this.#pointOfNoReturn || !this.#options.signal?.aborted) return;
    const { reason } = this.#options.signal;
    if (reason instanceof Fault) throw new StepFailure('tool', reason);
    this.fail('tool', 'ECANCELED', 'the migration was called off');
  }

  /** Does one thing with one end, so that its failure is known by that end. */
  async step<T>(role: MigrationRole, action: () => T | Promise<T>): Promise<T> {
    this.checkCancelled();
    try {
      return await action();
    } catch (error) {
      if (error instanceof StepFailure) throw error;
      throw new StepFailure(role, toFault(error));
    }
  }

  /**
   * Takes an end out of RUNNING. From then on it is this session's to bring back, also when the
   * answer is a failure; but not when the answer is EBUSY: then it is another session's.
   */
  async claim(
    role: MigrationRole,
    arc: () => Promise<unknown>,
    claimed: () => void,
  ): Promise<void> {
    this.checkCancelled();
    try {
      await this.step(role, arc);
    } catch (error) {
      if (!(error instanceof StepFailure && error.fault.code === 'EBUSY')) claimed();
      throw error;
    }
    claimed();
  }

  /** Ends the session with a fault of its own finding. @throws {StepFailure} always */
  fail(role: MigrationRole, code: ErrnoName, reason: string, options?: FaultOptions): never {
    throw new StepFailure(role, new Fault(code, reason, options));
  }

  /** The source stops now. */
  sourceStops(): void {
    this.#pausedAt = this.#clock();
  }

  /** The VF is back: it runs at the other end, or its state is kept. */
  vfBack(): void {
    if (this.#pausedAt !== undefined) this.#downtimeMs = this.#clock() - this.#pausedAt;
  }

  /** `bytes` of `totalBytes` of the stream are through. */
  moved(bytes: number, totalBytes: number): void {
    this.#phaseBytes = bytes;
    const { onEvent } = this.#options;
    if (onEvent === undefined) return;
    const now = this.#clock();
    if (now < this.#nextProgress && bytes < totalBytes) return;
    this.#nextProgress = now + PROGRESS_INTERVAL_MS;
    const ms = now - this.#phaseStart;
    const bytesPerSecond = rate(bytes, ms);
    const remainingMs =
      bytes === 0 ? Number.POSITIVE_INFINITY : ((totalBytes - bytes) * ms) / bytes;
    onEvent({
      type: 'progress',
      phase: this.#phase,
      bytes,
      totalBytes,
      bytesPerSecond,
      remainingMs,
    });
  }

  /** What there is to tell once the last phase is over. */
  finish(): MigrationResult {
    this.#leave();
    const moving = this.#phases.filter(({ bytes }) => bytes > 0);
    const streamBytes = moving.reduce((total, { bytes }) => total + bytes, 0);
    const ms = moving.reduce((total, phase) => total + phase.ms, 0);
    return {
      streamBytes,
      downtimeMs: this.#downtimeMs,
      totalMs: this.#clock() - this.#start,
      bytesPerSecond: rate(streamBytes, ms),
      phases: this.#phases,
      rounds: this.#rounds,
    };
  }

  /** The time, without what hooks took. */
  #clock(): number {
    return this.#now() - this.#hookMs;
  }

  /** Records the phase that was entered last, if any. */
  #leave(): void {
    if (Number.isNaN(this.#phaseStart)) return;
    const ms = this.#clock() - this.#phaseStart;
    this.#phases.push({ name: this.#phase, ms, bytes: this.#phaseBytes });
  }
}

/** Bytes a second, whole; 0 when no time went by. */
function rate(bytes: number, ms: number): number {
  return ms > 0 ? Math.round((bytes * 1000) / ms) : 0;
}
