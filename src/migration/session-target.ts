/** What a session does with the VF that it brings the state to. */
import { MIG_STATE } from '../vfio/migration-state.ts';
import { VFIO_MIGRATION } from '../vfio/uapi.ts';
import type { MigrationData } from '../vfio/vfio-device.ts';
import { askState, type MigratableDevice, type MigrationEnd } from './session-end.ts';
import { type SessionRun, StepFailure } from './session-run.ts';

/** What a session has done to a target. */
export interface TouchedTarget {
  /** The data file, once there is one. */
  readonly data?: MigrationData;
  /** True once the target was asked to run. */
  readonly started?: boolean;
}

/** Where the session notes what it touched, before it touches it. */
export interface TargetNote {
  target?: TouchedTarget;
}

/**
 * Makes the target ready to take a stream.
 *
 * @returns its data file
 * @throws {StepFailure} ENOTTY when it cannot be migrated, EBUSY when another session owns it
 */
export async function openTarget(
  run: SessionRun,
  { device }: MigrationEnd,
  note: TargetNote,
): Promise<MigrationData> {
  if ((device.migrationFlags & VFIO_MIGRATION.STOP_COPY) === 0)
    run.fail('target', 'ENOTTY', 'the target VF cannot be migrated');
  const state = await run.step('target', () => device.migrationState());
  if (state !== MIG_STATE.RUNNING) await clearTarget(run, device);
  // One arc first: refused with EBUSY, the target is another session's and stays untouched.
  const { STOP, RUNNING_P2P, RESUMING } = MIG_STATE;
  const first = (device.migrationFlags & VFIO_MIGRATION.P2P) === 0 ? STOP : RUNNING_P2P;
  await run.claim(
    'target',
    () => device.setMigrationState(first),
    () => {
      note.target = {};
    },
  );
  const data = await run.step('target', () => device.setMigrationState(RESUMING));
  if (data === undefined) run.fail('target', 'EIO', 'RESUMING opened no data file');
  note.target = { data };
  return data;
}

/**
 * Takes a target that a session left half-way back to its beginning.
 * @throws {StepFailure} EBUSY when that session lives
 */
async function clearTarget(run: SessionRun, device: MigratableDevice): Promise<void> {
  try {
    await run.step('target', () => device.setMigrationState(MIG_STATE.STOP));
  } catch (error) {
    // Any other refusal tells that half a state is there, which is what the reset is for.
    if (!(error instanceof StepFailure) || error.fault.code === 'EBUSY') throw error;
  }
  await run.step('target', () => device.reset());
}

/** Ends the restoring; the target is then in STOP with all of the state, or it refused the stream. */
export async function loadTarget(
  run: SessionRun,
  { device }: MigrationEnd,
  data: MigrationData,
): Promise<void> {
  data.close();
  await run.step('target', () => device.setMigrationState(MIG_STATE.STOP));
}

/**
 * Lets the target run. This is the point of no return: whether it ran is then the target's to say.
 *
 * @throws {StepFailure} when it does not run, or nobody can say whether it does
 */
export async function startTarget(
  run: SessionRun,
  target: MigrationEnd,
  note: TargetNote,
): Promise<void> {
  run.passPointOfNoReturn();
  note.target = { ...note.target, started: true };
  try {
    await run.step('target', () => target.device.setMigrationState(MIG_STATE.RUNNING));
  } catch (error) {
    // The answer may be lost and the VF run all the same.
    if ((await askState(target)) !== MIG_STATE.RUNNING) throw error;
  }
  run.vfBack();
}

/** A sink that writes views to a data file one by one. */
export function writerTo(data: MigrationData): (views: readonly Uint8Array[]) => Promise<void> {
  return async (views) => {
    for (const view of views) await data.write(view);
  };
}
