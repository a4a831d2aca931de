/**
 * A function-level reset of a VF as the PF sees it: firmware cleans up, the GTs of the VF meet at a
 * checkpoint, the PF cleans up, firmware is told.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_control.c ("The VF FLR state machine").
 */
import { Fault, toFault } from '../base/fault.ts';
import { CONTROL_TIMEOUT_MS } from './control-bits.ts';
import type { StepResult } from './control-commands.ts';
import { refused } from './control-commands.ts';
import type { VfControl } from './vf-control.ts';
import { clearMmio } from './vf-state.ts';

/**
 * Notes that a reset is coming, before firmware tells.
 * @throws {Fault} EALREADY when one is in progress
 */
export function prepareFlr(vf: VfControl): void {
  if (!vf.beginWork('FLR_WIP')) throw refused(vf, 'EALREADY', 'is being reset');
  vf.state.enter('FLR_PREPARE');
  sessionReset(vf);
}

/**
 * Begins a reset, or goes on with one that is prepared.
 * @throws {Fault} EALREADY when one is in progress
 */
export function beginFlr(vf: VfControl): void {
  if (!vf.beginWork('FLR_WIP') && !vf.state.exit('FLR_PREPARE'))
    throw refused(vf, 'EALREADY', 'is being reset');
  sessionReset(vf);
  vf.around.report(vf.vfid, 'flr-begun');
  vf.enterAndQueue('FLR_SEND_START');
}

function sessionReset(vf: VfControl): void {
  vf.around.endSession(vf.vfid, new Fault('ENODEV', `VF${vf.vfid} was reset`));
}

/** The worker's step after firmware's FLR_DONE: wait for the other GTs. */
export function reachCheckpoint(vf: VfControl): StepResult {
  vf.enterNew('FLR_SYNC');
  vf.around.syncFlr(vf.vfid);
  return 'more';
}

/** Where a GT is on its way to the checkpoint. */
function atCheckpoint(vf: VfControl): boolean {
  if (vf.has('FLR_SYNC')) return true;
  // A GT that is not being reset holds nobody up; one that failed does, until it is reset again.
  return !vf.has('FLR_WIP') && !vf.has('FLR_FAILED');
}

/** Lets all GTs of a VF past the checkpoint once each has reached it. */
export function passCheckpoint(gts: readonly VfControl[]): void {
  if (!gts.every(atCheckpoint)) return;
  for (const vf of gts) if (vf.state.exit('FLR_SYNC')) vf.enterAndQueue('FLR_RESET_CONFIG');
}

/** The worker's step that clears the VF's PTEs and VRAM. */
export function resetConfig(vf: VfControl): StepResult {
  const { gt, tile, resources } = vf.around;
  try {
    if (gt.type === 'main') resources.sanitize(vf.vfid, tile.id);
  } catch (error) {
    vf.fail('FLR_FAILED', 'FLR_WIP', toFault(error));
    return 'more';
  }
  vf.enterAndQueue('FLR_RESET_DATA');
  return 'more';
}

/** The worker's step that forgets what the VF's driver agreed on with the PF. */
export function resetData(vf: VfControl): StepResult {
  const { gt, tile } = vf.around;
  if (tile.id === 0 && gt.type === 'main') vf.around.resetService(vf.vfid);
  vf.enterAndQueue('FLR_RESET_MMIO');
  return 'more';
}

/** The worker's step that clears the VF's flag registers. */
export function resetMmio(vf: VfControl): StepResult {
  clearMmio(vf.around.gt, vf.vfid);
  vf.enterAndQueue('FLR_SEND_FINISH');
  return 'more';
}

/**
 * Waits for the end of a reset on one GT; at once when there is none.
 * @throws {Fault} EIO when it failed, ETIMEDOUT after 5 s
 */
export async function waitFlr(vf: VfControl): Promise<void> {
  const where = `the reset of VF${vf.vfid} on GT${vf.around.gt.id}`;
  if (vf.has('FLR_WIP') && !vf.has('FLR_FAILED')) {
    const timeoutMs = CONTROL_TIMEOUT_MS.FLR_WIP;
    if (!(await vf.waitForWork(timeoutMs)))
      throw new Fault('ETIMEDOUT', `${where} took more than ${timeoutMs} ms`);
  }
  if (vf.has('FLR_FAILED')) throw new Fault('EIO', `${where} failed`, { cause: vf.failure });
}
