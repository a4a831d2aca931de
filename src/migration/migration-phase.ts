/** The phases of a migration, and what a session tells about its way through them. */
import type { MigrationFault } from '../base/fault.ts';
import type { PrecopyPolicy, PrecopyRound } from './precopy-policy.ts';

/**
 * The phases in their order.
 *
 * - `prepare`: profiles and states are checked and the target is made ready to take data; the source
 *   runs.
 * - `stop`: the source is paused towards its peers (RUNNING_P2P) and then stopped (STOP_COPY).
 * - `copy`: the stream goes from the source to the target.
 * - `load`: the target has applied all of it (STOP), the source has ended its part (STOP).
 * - `run`: the target is set RUNNING. The point of no return is the request that does so.
 * - `done`: the target runs; the source stays in STOP with its state.
 */
export const MIGRATION_PHASES = ['prepare', 'stop', 'copy', 'load', 'run', 'done'] as const;
/**
 * The name of a phase. `precopy` is between `prepare` and `stop`, when the source can be saved while
 * it runs: what changed goes over again and again.
 */
export type MigrationPhase = (typeof MIGRATION_PHASES)[number] | 'precopy';

/** How long a phase took and what went through it. */
export interface PhaseRecord {
  readonly name: MigrationPhase;
  readonly ms: number;
  /** Bytes of the stream that moved in this phase. */
  readonly bytes: number;
}

/** What a session tells while it works. */
export type MigrationEvent =
  | { readonly type: 'phase'; readonly phase: MigrationPhase; readonly atMs: number }
  | {
      readonly type: 'progress';
      readonly phase: MigrationPhase;
      /** Bytes moved so far and in all. */
      readonly bytes: number;
      readonly totalBytes: number;
      readonly bytesPerSecond: number;
      /** Milliseconds until the copy is through at this rate; Infinity before the first byte. */
      readonly remainingMs: number;
    }
  | { readonly type: 'round'; readonly round: PrecopyRound }
  | { readonly type: 'rollback'; readonly fault: MigrationFault };

/** What a finished session knows. */
export interface MigrationResult {
  readonly streamBytes: number;
  /** From the request that paused the source to the answer that the target runs. */
  readonly downtimeMs: number;
  readonly totalMs: number;
  /** Rate of the phases in which bytes moved. */
  readonly bytesPerSecond: number;
  readonly phases: readonly PhaseRecord[];
  /** The rounds of the pre-copy, none when the source was saved standing still. */
  readonly rounds: readonly PrecopyRound[];
}

/** What every kind of session takes. */
export interface SessionOptions extends PrecopyPolicy {
  /** Ends the session with ECANCELED and rolls it back, until the point of no return. */
  readonly signal?: AbortSignal | undefined;
  /** Hears of every event, in order. */
  readonly onEvent?: ((event: MigrationEvent) => void) | undefined;
  /**
   * Runs before a phase begins, with the ends as the phase before left them. Its time is not
   * counted: it is the caller's, not the migration's.
   */
  readonly beforePhase?: ((phase: MigrationPhase) => Promise<void>) | undefined;
  /** Milliseconds, monotonic. */
  readonly now?: (() => number) | undefined;
}
