/** One end of a migration, and how it is brought back when the migration fails. */
import type { MigrationEndState } from '../base/fault.ts';
import { MIG_STATE, type MigState } from '../vfio/migration-state.ts';
import type { MigrationData, VfioDevice } from '../vfio/vfio-device.ts';
import type { VfProfile } from './vf-profile.ts';

/** What a session needs of a VF: the migration part of the VFIO contract, and the reset. */
export type MigratableDevice = Pick<
  VfioDevice,
  | 'migrationFlags'
  | 'migrationState'
  | 'setMigrationState'
  | 'migrationDataSize'
  | 'migrationDataSizeIsEstimate'
  | 'precopyInfo'
  | 'enablePrecopyInfoV2'
  | 'reset'
>;

/** A VF that state is taken from or brought to. */
export interface MigrationEnd {
  readonly device: MigratableDevice;
  /** What the VF is, when it can tell. */
  readonly profile?: VfProfile | undefined;
  /**
   * Asks the VF's migration state on a new way after `device` was lost. Undefined as answer: whoever
   * served the VF is gone, so the VF does not run.
   * @throws {Fault} when no answer can be had
   */
  readonly probe?: (() => Promise<MigState | undefined>) | undefined;
}

/** A step back that fails is tried again this often. */
const ATTEMPTS = 3;

/**
 * The state of an end, asked of the device and, when that is lost, on a new way.
 *
 * @returns the state, `gone` when nobody serves the VF any more, `unknown` when there is no answer
 */
export async function askState(end: MigrationEnd): Promise<MigState | 'gone' | 'unknown'> {
  try {
    return await end.device.migrationState();
  } catch {
    // The device is lost; what counts is what the new way says.
  }
  try {
    return end.probe === undefined ? 'unknown' : ((await end.probe()) ?? 'gone');
  } catch {
    return 'unknown';
  }
}

/**
 * Brings the source back to the state that it was found in and verifies that it is there.
 *
 * @param found RUNNING, or STOP when its VMM had stopped it
 * @returns how it is now
 */
export async function restoreSource(
  end: MigrationEnd,
  found: MigState,
  data: MigrationData | undefined,
): Promise<MigrationEndState> {
  for (let n = 0; n < ATTEMPTS; n++) {
    try {
      data?.close();
      await end.device.setMigrationState(found);
    } catch {
      // Its state tells whether that matters: a server that lost its client does the same by itself.
    }
    const state = await askState(end);
    if (state === 'gone') return 'gone';
    if (state === found) return found === MIG_STATE.RUNNING ? 'running' : 'stopped';
  }
  return 'unknown';
}

/**
 * Empties the target by a reset and verifies that it came out of it.
 *
 * @returns how it is now
 */
export async function resetTarget(
  end: MigrationEnd,
  data: MigrationData | undefined,
): Promise<MigrationEndState> {
  for (let n = 0; n < ATTEMPTS; n++) {
    try {
      data?.close();
      await own(end.device);
      await end.device.reset();
      if ((await end.device.migrationState()) === MIG_STATE.RUNNING) return 'reset';
    } catch {
      if ((await askState(end)) === 'gone') return 'gone';
    }
  }
  return 'unknown';
}

/** Makes sure that the device is this session's to reset: a server resets it for nobody else. */
async function own(device: MigratableDevice): Promise<void> {
  if ((await device.migrationState()) !== MIG_STATE.RUNNING) return;
  await device.setMigrationState(MIG_STATE.STOP);
}
