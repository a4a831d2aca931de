/** The second half of a migration: a state that was kept goes into a VF, which then runs. */
import type { MigrationResult, SessionOptions } from './migration-phase.ts';
import { copyStream } from './session-copy.ts';
import type { MigrationEnd } from './session-end.ts';
import { checkFits } from './session-fit.ts';
import { rollBack, type Touched } from './session-rollback.ts';
import { SessionRun } from './session-run.ts';
import { loadTarget, openTarget, startTarget, writerTo } from './session-target.ts';
import type { VfProfile } from './vf-profile.ts';

/** A state that was kept; what a checkpoint's reader gives. */
export interface StateSource {
  /** The VF that the state is of, when that was kept too. */
  readonly profile?: VfProfile | undefined;
  /** Bytes of the stream. */
  readonly size: number;
  /**
   * The next bytes of the stream, at most `max`; none at the end.
   * @throws {Fault} EBADMSG when they were altered, EIO ...
   */
  read(max: number): Promise<readonly Uint8Array[]>;
}

/**
 * Brings a kept state into `target` and lets it run.
 *
 * @throws {MigrationFault} the errno of the step that failed, after the target was reset; the kept
 * state is never changed
 */
export async function restore(
  source: StateSource,
  target: MigrationEnd,
  options: SessionOptions = {},
): Promise<MigrationResult> {
  const run = new SessionRun(options);
  const touched: Touched = {};
  try {
    await run.enter('prepare');
    checkFits(run, source.profile, target.profile);
    const into = await openTarget(run, target, touched);

    await run.enter('copy');
    await copyStream(run, source, writerTo(into), source.size);

    await run.enter('load');
    await loadTarget(run, target, into);

    await run.enter('run');
    await startTarget(run, target, touched);
    await run.enter('done');
    return run.finish();
  } catch (error) {
    throw await rollBack(run, error, { target }, touched, options);
  }
}
