/**
 * Saving and restoring a VF on one GT: the worker's steps and what begins and ends them.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_control.c, xe_gt_sriov_pf_migration.c.
 */
import { Fault, toFault } from '../base/fault.ts';
import {
  MMIO_PAYLOAD_SIZE,
  PACKET_HEADER_SIZE,
  PACKET_TYPE,
  PACKET_VERSION,
  VRAM_CHUNK_MAX_SIZE,
} from '../xe/migration-packet.ts';
import { CONTROL_TIMEOUT_MS } from './control-bits.ts';
import type { StepResult } from './control-commands.ts';
import { refused } from './control-commands.ts';
import type { VfPacket } from './packet-ring.ts';
import type { SaveItem } from './save-marks.ts';
import type { VfControl } from './vf-control.ts';
import {
  gucStateSize,
  pteBytes,
  restoreGgtt,
  restoreGuc,
  restoreMmio,
  saveGgtt,
  saveGuc,
  saveMmio,
} from './vf-state.ts';

/** Why a VF cannot be saved on this GT now, undefined when it can. */
export function saveRefusal(vf: VfControl): Fault | undefined {
  if (vf.has('STOPPED')) return refused(vf, 'EPERM', 'is stopped');
  if (!vf.has('PAUSED')) return refused(vf, 'EPERM', 'is not paused');
  if (vf.has('RESTORE_WIP')) return refused(vf, 'EBUSY', 'is being restored');
  if (vf.has('SAVE_WIP')) return refused(vf, 'EALREADY', 'is being saved');
  return undefined;
}

/** Why a VF cannot be restored on this GT now, undefined when it can. */
export function restoreRefusal(vf: VfControl): Fault | undefined {
  if (vf.has('STOPPED')) return refused(vf, 'EPERM', 'is stopped');
  if (!vf.has('PAUSED')) return refused(vf, 'EPERM', 'is not paused');
  if (vf.has('SAVE_WIP')) return refused(vf, 'EBUSY', 'is being saved');
  if (vf.has('RESTORE_WIP')) return refused(vf, 'EALREADY', 'is being restored');
  return undefined;
}

/**
 * Begins to save.
 * @param exceptVram true when VRAM is saved on another way
 * @throws {Fault} {@link saveRefusal}
 */
export function triggerSave(vf: VfControl, exceptVram: boolean): void {
  const refusal = saveRefusal(vf);
  if (refusal !== undefined) throw refusal;
  vf.beginWork('SAVE_WIP');
  // Linux keeps the mark of an earlier failure, and every later save then fails too.
  vf.state.exit('SAVE_FAILED');
  vf.marks.reset(itemsToSave(vf, exceptVram));
  vf.enterAndQueue('SAVE_PROCESS_DATA');
}

/** Begins to restore. @throws {Fault} {@link restoreRefusal} */
export function triggerRestore(vf: VfControl): void {
  const refusal = restoreRefusal(vf);
  if (refusal !== undefined) throw refusal;
  vf.beginWork('RESTORE_WIP');
  vf.enterAndQueue('RESTORE_PROCESS_DATA');
}

/** Ends saving. @throws {Fault} EIO when not everything was produced yet */
export function finishSave(vf: VfControl): void {
  if (!vf.state.exit('SAVE_DATA_DONE'))
    throw refused(vf, 'EIO', 'has not produced all that is to be saved');
  vf.state.enter('SAVED');
  vf.clearFailures();
  vf.endWork('SAVE_WIP');
  vf.around.report(vf.vfid, 'saved');
}

/** Ends saving before its end; the VF stays paused. */
export function abortSave(vf: VfControl): void {
  vf.state.exit('SAVE_FAILED');
  if (vf.has('SAVE_WIP')) vf.endWork('SAVE_WIP');
}

/**
 * Waits until a GT has restored all that it got.
 * @throws {Fault} ETIMEDOUT after 20 s, EIO
 */
export async function finishRestore(vf: VfControl): Promise<void> {
  const where = `the restore of VF${vf.vfid} on GT${vf.around.gt.id}`;
  const timeoutMs = CONTROL_TIMEOUT_MS.RESTORE_WIP;
  if (!(await vf.waitForWork(timeoutMs)))
    throw new Fault('ETIMEDOUT', `${where} took more than ${timeoutMs} ms`);
  if (vf.has('RESTORE_FAILED')) throw new Fault('EIO', `${where} failed`, { cause: vf.failure });
  if (!vf.has('RESTORED')) {
    vf.mismatch(`${where} ended without being done`);
    throw new Fault('EIO', `${where} did not take place`);
  }
}

/** Tells the worker that there is room for packets again. */
export function resumeSaving(vf: VfControl): void {
  if (vf.state.exit('SAVE_WAIT_DATA')) vf.enterAndQueue('SAVE_PROCESS_DATA');
}

/** Tells the worker that there are packets, or that all have come. */
export function resumeRestoring(vf: VfControl): void {
  if (vf.state.exit('RESTORE_WAIT_DATA')) vf.enterAndQueue('RESTORE_PROCESS_DATA');
}

/** Notes that no more packets will come. */
export function restoreDataDone(vf: VfControl): void {
  vf.state.enter('RESTORE_DATA_DONE');
  resumeRestoring(vf);
}

/** What this GT has to save of the VF. */
function itemsToSave(vf: VfControl, exceptVram: boolean): SaveItem[] {
  const items: SaveItem[] = ['GUC', 'MMIO'];
  const { gt, tile, resources } = vf.around;
  if (gt.type === 'main' && resources.ggtt(vf.vfid, tile.id) !== undefined) items.push('GGTT');
  if (gt.type === 'main' && !exceptVram && resources.vram(vf.vfid, tile.id) !== undefined)
    items.push('VRAM');
  return items;
}

/**
 * Bytes of the packets that saving would make on this GT, headers included.
 * @param exceptVram true when VRAM is saved on another way
 * @throws {Fault} what asking firmware for its size throws
 */
export function saveSize(vf: VfControl, exceptVram: boolean): number {
  const { gt, tile, resources } = vf.around;
  let total = 0;
  for (const item of itemsToSave(vf, exceptVram)) {
    const vram = resources.vram(vf.vfid, tile.id)?.size ?? 0;
    const headers = item === 'VRAM' ? Math.ceil(vram / VRAM_CHUNK_MAX_SIZE) : 1;
    total += headers * PACKET_HEADER_SIZE;
    if (item === 'GUC') total += gucStateSize(gt.guc, vf.vfid);
    else if (item === 'GGTT') total += pteBytes(resources.ggtt(vf.vfid, tile.id)?.size ?? 0);
    else if (item === 'MMIO') total += MMIO_PAYLOAD_SIZE;
    else total += vram;
  }
  return total;
}

/** The worker's step that makes one packet. */
export function saveStep(vf: VfControl): StepResult {
  if (vf.ring.full) {
    vf.state.enter('SAVE_WAIT_DATA');
    return 'more';
  }
  const item = vf.marks.next();
  if (item === undefined) {
    vf.state.enter('SAVE_DATA_DONE');
  } else {
    try {
      vf.ring.push(savePacket(vf, item));
    } catch (error) {
      const cause = toFault(error);
      const what = `GT${vf.around.gt.id} could not save ${item} of VF${vf.vfid}: ${cause.message}`;
      vf.fail('SAVE_FAILED', 'SAVE_WIP', new Fault(cause.code, what, { cause }));
      vf.around.wakeSession(vf.vfid);
      return 'more';
    }
    vf.state.enter('SAVE_PROCESS_DATA');
  }
  vf.around.wakeSession(vf.vfid);
  return 'more';
}

function savePacket(vf: VfControl, item: SaveItem): VfPacket {
  const { gt, tile, resources } = vf.around;
  if (item === 'VRAM') return saveVram(vf);
  vf.marks.complete(item);
  if (item === 'GUC') return packet(vf, item, 0, saveGuc(gt.guc, vf.vfid));
  if (item === 'MMIO') return packet(vf, item, 0, saveMmio(gt, vf.vfid));
  const region = resources.ggtt(vf.vfid, tile.id);
  if (region === undefined) throw new Fault('ENOENT', `VF${vf.vfid} lost its GGTT`);
  return packet(vf, item, 0, saveGgtt(tile.ggtt, vf.vfid, region));
}

function saveVram(vf: VfControl): VfPacket {
  const vram = vf.around.resources.vram(vf.vfid, vf.around.tile.id);
  if (vram === undefined) throw new Fault('ENXIO', `VF${vf.vfid} lost its VRAM`);
  const offset = vf.marks.vramOffset;
  const size = Math.min(vram.size - offset, VRAM_CHUNK_MAX_SIZE);
  vf.marks.vramOffset = offset + size;
  if (vf.marks.vramOffset >= vram.size) vf.marks.complete('VRAM');
  return packet(vf, 'VRAM', offset, vram.view(offset, size));
}

function packet(vf: VfControl, item: SaveItem, offset: number, payload: Uint8Array): VfPacket {
  const { gt, tile } = vf.around;
  return {
    header: {
      version: PACKET_VERSION,
      type: PACKET_TYPE[item],
      tile: tile.id,
      gt: gt.id,
      flags: 0,
      offset,
      size: payload.length,
    },
    payload,
  };
}

/** The worker's step that applies one packet, or notes that there is none. */
export function restoreStep(vf: VfControl): StepResult {
  const next = vf.ring.shift();
  if (next === undefined) {
    if (vf.state.exit('RESTORE_DATA_DONE')) restored(vf);
    else vf.state.enter('RESTORE_WAIT_DATA');
    vf.around.wakeSession(vf.vfid);
    return 'more';
  }
  try {
    applyPacket(vf, next);
    vf.state.enter('RESTORE_PROCESS_DATA');
  } catch (error) {
    vf.fail('RESTORE_FAILED', 'RESTORE_WIP', toFault(error));
  }
  vf.around.wakeSession(vf.vfid);
  return 'more';
}

function restored(vf: VfControl): void {
  vf.state.enter('RESTORED');
  vf.clearFailures();
  vf.endWork('RESTORE_WIP');
  vf.around.report(vf.vfid, 'restored');
}

function applyPacket(vf: VfControl, { header, payload }: VfPacket): void {
  const { gt, tile, resources } = vf.around;
  if (header.type === PACKET_TYPE.GUC) return restoreGuc(gt.guc, vf.vfid, payload);
  if (header.type === PACKET_TYPE.MMIO) return restoreMmio(gt, vf.vfid, payload);
  const region = resources.ggtt(vf.vfid, tile.id);
  if (region === undefined) throw new Fault('ENOENT', `VF${vf.vfid} has no GGTT`);
  restoreGgtt(tile.ggtt, vf.vfid, region, payload);
}
