/**
 * What the PF driver exports to the variant driver.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_vfio.c; docs/differences-from-linux.md.
 */
import { DeviceFault, Fault, toFault } from '../base/fault.ts';
import type { XeSriovPrecopy, XeSriovVfio } from '../xe-vfio-pci/xe-sriov-vfio.ts';
import { cancelPause, operate, refusal, refused } from './control-commands.ts';
import { restoreRefusal, saveRefusal } from './control-data.ts';
import { foldFaults, type GtResults, type PfControl } from './pf-control.ts';
import type { PfMigration } from './pf-migration.ts';
import type { VfControl } from './vf-control.ts';

/** What the exports are made of. */
export interface SriovVfioOptions {
  readonly control: PfControl;
  readonly migration: PfMigration;
  /** VFs that the device can have; 0 when it is no PF. */
  readonly totalVfs: number;
  /** VFs that are enabled now. */
  readonly numVfs: () => number;
}

/** The PF driver's exports. */
export class SriovVfioExports implements XeSriovVfio {
  readonly precopy: XeSriovPrecopy = {
    supported: (vfid) => {
      this.#guard(vfid);
      return this.#migration.canPrecopy(vfid);
    },
    enter: async (vfid) => {
      throwFirst(this.#guard(vfid).map(precopyRefusal));
      this.#migration.beginPrecopy(vfid);
    },
    exit: async (vfid) => {
      this.#guard(vfid);
      this.#migration.endPrecopy(vfid);
    },
    progress: (vfid, mayReinit) => {
      this.#guard(vfid);
      return this.#migration.precopyProgress(vfid, mayReinit);
    },
  };
  readonly #control: PfControl;
  readonly #migration: PfMigration;
  readonly #totalVfs: number;
  readonly #numVfs: () => number;

  constructor({ control, migration, totalVfs, numVfs }: SriovVfioOptions) {
    this.#control = control;
    this.#migration = migration;
    this.#totalVfs = totalVfs;
    this.#numVfs = numVfs;
  }

  migrationSupported(): boolean {
    return this.migrationUnsupportedReason() === undefined;
  }

  migrationUnsupportedReason(): string | undefined {
    return this.#migration.unsupportedReason;
  }

  async flrPrepare(vfid: number): Promise<void> {
    this.#guard(vfid);
    this.#control.prepareFlr(vfid);
  }

  async waitFlrDone(vfid: number): Promise<void> {
    this.#guard(vfid);
    await this.#control.waitFlr(vfid);
  }

  async suspendDevice(vfid: number): Promise<void> {
    const vfs = this.#guard(vfid);
    throwFolded(vfs.map((vf) => refusal(vf, 'pause')));
    const results = await this.#control.attempt(vfid, 'pause');
    const fault = foldFaults(results);
    if (fault === undefined) return;
    for (const [at, vf] of vfs.entries()) await runOn(vf, results[at], fault);
    throw fault;
  }

  async resumeDevice(vfid: number): Promise<void> {
    const vfs = this.#guard(vfid);
    throwFolded(vfs.map((vf) => resumeRefusal(vf)));
    const fault = foldFaults(await this.#control.attempt(vfid, 'resume'));
    if (fault !== undefined)
      throw new DeviceFault(fault.code, `VF${vfid} does not run again: ${fault.message}`, {
        cause: fault,
        hint: 'reset the VF',
      });
  }

  async stopCopyEnter(vfid: number): Promise<void> {
    throwFirst(this.#guard(vfid).map(saveRefusal));
    if (this.#migration.vf(vfid).precopied === undefined) this.#migration.beginSave(vfid);
    else await this.#migration.finishPrecopy(vfid);
  }

  async stopCopyExit(vfid: number): Promise<void> {
    const vfs = this.#guard(vfid);
    const produced = vfs.every((vf) => vf.has('SAVE_DATA_DONE'));
    const begun = vfs.some((vf) => vf.has('SAVE_WIP') || vf.has('SAVE_FAILED'));
    // What Linux answers with EIO for ever: leaving before the end, or after a failure.
    if (begun && !produced) this.#migration.abortSave(vfid);
    else this.#migration.finishSave(vfid);
  }

  async resumeDataEnter(vfid: number): Promise<void> {
    throwFirst(this.#guard(vfid).map(restoreRefusal));
    this.#migration.beginRestore(vfid);
  }

  async resumeDataExit(vfid: number): Promise<void> {
    this.#guard(vfid);
    await this.#migration.finishRestore(vfid);
  }

  async error(vfid: number): Promise<void> {
    this.#guard(vfid);
    await this.#control.operate(vfid, 'stop');
  }

  async stopCopySize(vfid: number): Promise<number> {
    this.#guard(vfid);
    return this.#migration.size(vfid);
  }

  async dataRead(vfid: number, max: number): Promise<readonly Uint8Array[]> {
    this.#guard(vfid);
    return this.#migration.vf(vfid).read(max);
  }

  async dataWrite(vfid: number, source: Uint8Array): Promise<void> {
    this.#guard(vfid);
    await this.#migration.vf(vfid).write(source);
  }

  dataWindow(vfid: number, max: number): Uint8Array | undefined {
    this.#guard(vfid);
    return this.#migration.vf(vfid).window(max);
  }

  async dataCommit(vfid: number, length: number): Promise<void> {
    this.#guard(vfid);
    await this.#migration.vf(vfid).commit(length);
  }

  /** @throws {Fault} EPERM when the device is no PF, EINVAL when the VF is not enabled */
  #guard(vfid: number): VfControl[] {
    if (this.#totalVfs === 0) throw new Fault('EPERM', 'the device is no PF');
    if (!Number.isInteger(vfid) || vfid < 1 || vfid > this.#numVfs())
      throw new Fault('EINVAL', `VF${vfid} is not enabled`);
    return this.#control.vf(vfid);
  }
}

function throwFolded(results: GtResults): void {
  const fault = foldFaults(results);
  if (fault !== undefined) throw fault;
}

function throwFirst(results: GtResults): void {
  const fault = results.find((result) => result !== undefined);
  if (fault !== undefined) throw fault;
}

/** Why a VF cannot be saved while it runs. */
function precopyRefusal(vf: VfControl): Fault | undefined {
  if (vf.has('STOPPED')) return refused(vf, 'EPERM', 'is stopped');
  if (vf.has('RESTORE_WIP')) return refused(vf, 'EBUSY', 'is being restored');
  if (vf.has('SAVE_WIP')) return refused(vf, 'EALREADY', 'is being saved');
  return undefined;
}

/** Why a VF may not run again; one that was restored in part must be reset first. */
function resumeRefusal(vf: VfControl): Fault | undefined {
  if (vf.has('RESTORE_FAILED')) return refused(vf, 'EIO', 'was not restored');
  return refusal(vf, 'resume');
}

/**
 * Lets a VF run on, on a GT that was to pause it while another GT refused.
 * @throws {DeviceFault} when it does not
 */
async function runOn(vf: VfControl, result: Fault | undefined, fault: Fault): Promise<void> {
  try {
    if (result?.code === 'ETIMEDOUT') cancelPause(vf);
    else if (result === undefined && vf.has('PAUSED')) await operate(vf, 'resume');
  } catch (error) {
    const cause = toFault(error);
    // A reset that came between makes the VF run by itself.
    if (cause.code === 'ECANCELED') return;
    const reason = `${fault.message}; and VF${vf.vfid} does not run on: ${cause.message}`;
    throw new DeviceFault(fault.code, reason, { cause, hint: 'reset the VF' });
  }
}
