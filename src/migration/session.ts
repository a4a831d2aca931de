/**
 * Moves the state of a running VF into another VF, over the VFIO contract alone.
 *
 * Both ends may be anything that is a VfioDevice. The rules:
 *
 * - Never do both run. The source is in STOP before the target is asked to run.
 * - Until that request the session can fail or be called off at any point: the source then runs
 *   again, verified, and the target is reset.
 * - When that request fails, the target is asked for its state, over a new connection if need be.
 *   Only when it certainly does not run does the source run again; when there is no answer the source
 *   stays in STOP with all its state, and a person decides.
 * - On success the source stays in STOP with its state, as a VMM's does after a migration, until it
 *   is reset or closed.
 *
 * Source: the migration section of include/uapi/linux/vfio.h.
 */
import type { MigrationResult, SessionOptions } from './migration-phase.ts';
import { copyStream } from './session-copy.ts';
import type { MigrationEnd } from './session-end.ts';
import { checkFits } from './session-fit.ts';
import { precopy } from './session-precopy.ts';
import { rollBack, type Touched } from './session-rollback.ts';
import { SessionRun } from './session-run.ts';
import { finishSource, prepareSource, stopSource } from './session-source.ts';
import { loadTarget, openTarget, startTarget, writerTo } from './session-target.ts';

/**
 * Moves the state of `source` to `target`.
 *
 * @throws {MigrationFault} the errno of the step that failed, after the roll-back; ECANCELED when
 * `signal` ended it; EREMCHG when the profiles do not fit (nothing was stopped)
 */
export async function migrate(
  source: MigrationEnd,
  target: MigrationEnd,
  options: SessionOptions = {},
): Promise<MigrationResult> {
  const run = new SessionRun(options);
  const touched: Touched = {};
  try {
    await run.enter('prepare');
    checkFits(run, source.profile, target.profile);
    const found = await prepareSource(run, source);
    const into = await openTarget(run, target, touched);

    const write = writerTo(into);
    const begun = await precopy(run, source, found, write, options, touched);

    await run.enter('stop');
    const from = await stopSource(run, source, found, touched, begun);

    await run.enter('copy');
    await copyStream(run, from.data, write, from.size, from.estimate);

    await run.enter('load');
    await loadTarget(run, target, into);
    await finishSource(run, source, from.data);

    await run.enter('run');
    await startTarget(run, target, touched);

    await run.enter('done');
    return run.finish();
  } catch (error) {
    throw await rollBack(run, error, { source, target }, touched, options);
  }
}
