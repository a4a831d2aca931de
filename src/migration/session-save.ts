/**
 * The first half of a migration: the state of a VF goes to where it is kept.
 *
 * The rules are those of a whole migration. The state is where it shall be kept, complete and synced,
 * only when the session succeeds; the source is then in STOP (or runs on, if that was asked for). When
 * the session fails, nothing is kept and the source runs again.
 */
import { MIG_STATE } from '../vfio/migration-state.ts';
import type { MigrationResult, SessionOptions } from './migration-phase.ts';
import { copyStream } from './session-copy.ts';
import type { MigrationEnd } from './session-end.ts';
import { precopy } from './session-precopy.ts';
import { rollBack, type Touched } from './session-rollback.ts';
import { SessionRun } from './session-run.ts';
import { finishSource, prepareSource, stopSource } from './session-source.ts';

/** Where a state is kept; a CheckpointWriter is one. */
export interface StateSink<Summary> {
  /** Takes the next bytes of the stream. */
  write(bytes: Uint8Array): Promise<void>;
  /** Makes all of it durable. */
  finish(): Promise<Summary>;
  /** Leaves nothing behind. Idempotent; does nothing after {@link finish}. */
  abort(): Promise<void>;
}

/** What to do beside saving. */
export interface SaveOptions extends SessionOptions {
  /** Lets the source run again once the state is kept: a snapshot, not a move. */
  readonly resume?: boolean | undefined;
}

/** What a finished save knows. */
export interface SaveResult<Summary> extends MigrationResult {
  readonly kept: Summary;
}

/**
 * Saves the state of `source`.
 *
 * @param open makes the sink; called first, so that what is wrong with it is known while the VF runs
 * @throws {MigrationFault} the errno of the step that failed, after the roll-back
 */
export async function save<Summary>(
  source: MigrationEnd,
  open: () => Promise<StateSink<Summary>>,
  options: SaveOptions = {},
): Promise<SaveResult<Summary>> {
  const run = new SessionRun(options);
  const touched: Touched = {};
  let sink: StateSink<Summary> | undefined;
  try {
    await run.enter('prepare');
    const found = await prepareSource(run, source);
    const kept = await run.step('target', open);
    sink = kept;

    const write = async (views: readonly Uint8Array[]) => {
      for (const view of views) await kept.write(view);
    };
    const begun = await precopy(run, source, found, write, options, touched);

    await run.enter('stop');
    const from = await stopSource(run, source, found, touched, begun);

    await run.enter('copy');
    await copyStream(run, from.data, write, from.size, from.estimate);

    await run.enter('load');
    await finishSource(run, source, from.data);
    run.passPointOfNoReturn();
    const summary = await run.step('target', () => kept.finish());

    if (options.resume === true) {
      await run.enter('run');
      await run.step('source', () => source.device.setMigrationState(MIG_STATE.RUNNING));
    }
    run.vfBack();
    await run.enter('done');
    return { ...run.finish(), kept: summary };
  } catch (error) {
    await sink?.abort();
    throw await rollBack(run, error, { source }, touched, options);
  }
}
