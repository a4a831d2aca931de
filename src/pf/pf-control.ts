/**
 * The control of VFs over all GTs of the device.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_pf_control.c.
 */
import { Fault, toFault } from '../base/fault.ts';
import type { ControlBit } from './control-bits.ts';
import { type OperationName, operate } from './control-commands.ts';
import { finishRestore, finishSave, triggerRestore, triggerSave } from './control-data.ts';
import { beginFlr, passCheckpoint, prepareFlr, waitFlr } from './control-flr.ts';
import type { GtControl } from './gt-control.ts';
import type { VfControl } from './vf-control.ts';

/** What the GTs of a VF made of one request: a fault for each that failed. */
export type GtResults = ReadonlyArray<Fault | undefined>;

/**
 * The one fault of several GTs: that of the last GT when only it failed, else EUCLEAN.
 * Source: xe_sriov_pf_control.c (`result = result ? -EUCLEAN : err`).
 */
export function foldFaults(results: GtResults): Fault | undefined {
  const faults = results.filter((fault) => fault !== undefined);
  const [first] = faults;
  if (first === undefined || results.indexOf(first) === results.length - 1) return first;
  const reasons = faults.map(({ message }) => message).join('; ');
  return new Fault('EUCLEAN', reasons, { cause: first });
}

function throwFolded(results: GtResults): void {
  const fault = foldFaults(results);
  if (fault !== undefined) throw fault;
}

/** The control of VFs over all GTs. */
export class PfControl {
  readonly #gts: readonly GtControl[];

  /** @param gts in the order of their ids */
  constructor(gts: readonly GtControl[]) {
    this.#gts = gts;
  }

  /** A VF on every GT, in the order of their ids. */
  vf(vfid: number): VfControl[] {
    return this.#gts.map((gt) => gt.vf(vfid));
  }

  /** The states of a VF on every GT. */
  states(vfid: number): ControlBit[][] {
    return this.vf(vfid).map(({ state }) => state.names());
  }

  /** Pauses, resumes or stops a VF on each GT in turn, whatever the others make of it. */
  async attempt(vfid: number, name: OperationName): Promise<GtResults> {
    return eachAwaited(this.vf(vfid), (vf) => operate(vf, name));
  }

  /** Pauses, resumes or stops a VF. @throws {Fault} what the GTs come to, folded */
  async operate(vfid: number, name: OperationName): Promise<void> {
    throwFolded(await this.attempt(vfid, name));
  }

  /** Resets a VF without its device being reset. @throws {Fault} what the GTs come to, folded */
  async resetVf(vfid: number): Promise<void> {
    const triggered = each(this.vf(vfid), beginFlr);
    const waited = await eachAwaited(this.vf(vfid), waitFlr);
    throwFolded([...triggered, ...waited]);
  }

  /** Notes that the device of a VF is about to be reset. @throws {Fault} EALREADY, EUCLEAN */
  prepareFlr(vfid: number): void {
    throwFolded(each(this.vf(vfid), prepareFlr));
  }

  /** Waits for the end of a reset. @throws {Fault} ETIMEDOUT, EIO, EUCLEAN */
  async waitFlr(vfid: number): Promise<void> {
    throwFolded(await eachAwaited(this.vf(vfid), waitFlr));
  }

  /** Lets all GTs past the checkpoint of a reset when each has reached it. */
  syncFlr(vfid: number): void {
    passCheckpoint(this.vf(vfid));
  }

  /** Begins to save; GTs before the one that refuses have begun. @throws {Fault} the refusal */
  triggerSave(vfid: number, exceptVram: boolean): void {
    for (const vf of this.vf(vfid)) triggerSave(vf, exceptVram);
  }

  /** Ends saving, up to the first GT that is not done. @throws {Fault} EIO */
  finishSave(vfid: number): void {
    for (const vf of this.vf(vfid)) finishSave(vf);
  }

  /** Begins to restore; GTs before the one that refuses have begun. @throws {Fault} the refusal */
  triggerRestore(vfid: number): void {
    for (const vf of this.vf(vfid)) triggerRestore(vf);
  }

  /** Waits for the end of restoring, up to the first GT that failed. @throws {Fault} */
  async finishRestore(vfid: number): Promise<void> {
    for (const vf of this.vf(vfid)) await finishRestore(vf);
  }
}

function each(vfs: readonly VfControl[], action: (vf: VfControl) => void): GtResults {
  return vfs.map((vf) => {
    try {
      action(vf);
      return undefined;
    } catch (error) {
      return toFault(error);
    }
  });
}

async function eachAwaited(
  vfs: readonly VfControl[],
  action: (vf: VfControl) => Promise<void>,
): Promise<GtResults> {
  const results: Array<Fault | undefined> = [];
  for (const vf of vfs) results.push(await action(vf).then(() => undefined, toFault));
  return results;
}
