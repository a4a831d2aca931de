/** What a session does with the VF that it takes the state from. */
import { MIG_STATE, type MigState, migStateName } from '../vfio/migration-state.ts';
import { VFIO_MIGRATION } from '../vfio/uapi.ts';
import type { MigrationData } from '../vfio/vfio-device.ts';
import type { MigrationEnd } from './session-end.ts';
import type { SessionRun } from './session-run.ts';

/** What a session has done to a source. */
export interface TouchedSource {
  /** The state to go back to: RUNNING, or STOP when its VMM had stopped it. */
  readonly found: MigState;
  /** The data file, once there is one. */
  readonly data?: MigrationData;
}

/** Where the session notes what it touched, before it touches it. */
export interface SourceNote {
  source?: TouchedSource;
}

/**
 * Finds out which state the source is in and ends a session that died on it.
 *
 * @throws {StepFailure} ENOTTY when it cannot be migrated, EIO when it is in ERROR, EBUSY when
 * another session owns it
 */
export async function prepareSource(run: SessionRun, { device }: MigrationEnd): Promise<MigState> {
  if ((device.migrationFlags & VFIO_MIGRATION.STOP_COPY) === 0)
    run.fail('source', 'ENOTTY', 'the source VF cannot be migrated');
  const found = await run.step('source', () => device.migrationState());
  if (found === MIG_STATE.ERROR)
    run.fail('source', 'EIO', 'the source VF is in ERROR', { hint: 'only a reset recovers it' });
  if (found === MIG_STATE.RUNNING || found === MIG_STATE.STOP) return found;
  if (found === MIG_STATE.RESUMING)
    run.fail('source', 'EBUSY', 'the source VF is being restored', {
      hint: 'wait for that migration, or reset the VF when it is dead',
    });
  // Left by a session that died, or owned by one that lives: then this SET is refused with EBUSY.
  await run.step('source', () => device.setMigrationState(MIG_STATE.RUNNING));
  return MIG_STATE.RUNNING;
}

/**
 * Stops the source and opens its stream.
 *
 * STOP is passed through, not stayed in, before the stream is read: so a source that is found in STOP
 * had its stream read to the end (or was stopped by its VMM), and one that lost its tool in any
 * other state can safely run again.
 *
 * @param precopied the data file of a source that is in PRE_COPY: it goes on
 * @returns the data file and the bytes that it will deliver, exactly unless they are an estimate
 */
export async function stopSource(
  run: SessionRun,
  { device }: MigrationEnd,
  found: MigState,
  note: SourceNote,
  precopied?: MigrationData,
): Promise<{ readonly data: MigrationData; readonly size: number; readonly estimate: boolean }> {
  run.sourceStops();
  if (precopied !== undefined) {
    await run.step('source', () => device.setMigrationState(MIG_STATE.STOP_COPY));
    const size = await run.step('source', () => device.migrationDataSize());
    return { data: precopied, size, estimate: device.migrationDataSizeIsEstimate === true };
  }
  const claimed = () => {
    note.source = { found };
  };
  // One arc first: refused with EBUSY, the source is another session's and stays untouched.
  if (found === MIG_STATE.RUNNING && (device.migrationFlags & VFIO_MIGRATION.P2P) !== 0)
    await run.claim('source', () => device.setMigrationState(MIG_STATE.RUNNING_P2P), claimed);
  else claimed();
  const data = await run.step('source', () => device.setMigrationState(MIG_STATE.STOP_COPY));
  if (data === undefined) run.fail('source', 'EIO', 'STOP_COPY opened no data file');
  note.source = { found, data };
  const size = await run.step('source', () => device.migrationDataSize());
  return { data, size, estimate: device.migrationDataSizeIsEstimate === true };
}

/** Ends the saving; the source is then in STOP and keeps its state. */
export async function finishSource(
  run: SessionRun,
  { device }: MigrationEnd,
  data: MigrationData,
): Promise<void> {
  data.close();
  await run.step('source', () => device.setMigrationState(MIG_STATE.STOP));
  const state = await run.step('source', () => device.migrationState());
  if (state !== MIG_STATE.STOP)
    run.fail('source', 'EIO', `the source VF is in ${migStateName(state)}, not in STOP`);
}
