/**
 * Reads and writes the pieces of a VF's state: GuC, GGTT and flag registers.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_migration.c, xe_ggtt.c (xe_ggtt_node_save, _load).
 */
import { Fault } from '../base/fault.ts';
import { dataView, TWO_32 } from '../base/int.ts';
import { hxgRequest } from '../xe/guc/hxg.ts';
import { PF2GUC_ACTION, SAVE_RESTORE_OPCODE } from '../xe/guc/pf-actions.ts';
import { MMIO_PAYLOAD_SIZE } from '../xe/migration-packet.ts';
import { GGTT_PAGE_SIZE, GGTT_PTE_SIZE, pteVfid } from '../xe/pte.ts';
import { copyPtes, findForeignPte, PTE_PIECE } from '../xe/pte-run.ts';
import type { GgttPort, GtPort, GucPort } from './ports.ts';

/** A part of a GGTT, bytes. */
interface GgttRegion {
  readonly start: number;
  readonly size: number;
}

/** Bytes of PTEs that map `size` bytes of GGTT. */
export function pteBytes(size: number): number {
  return (size / GGTT_PAGE_SIZE) * GGTT_PTE_SIZE;
}

function saveRestore(
  guc: GucPort,
  opcode: number,
  vfid: number,
  address: number,
  dwords: number,
): number {
  return guc.send([
    hxgRequest(PF2GUC_ACTION.SAVE_RESTORE_VF.action, opcode),
    vfid,
    address % TWO_32,
    Math.floor(address / TWO_32),
    dwords,
  ]);
}

/**
 * Bytes of a VF's GuC state now.
 * @throws {Fault} ENODATA when firmware has none, what {@link GucPort.send} throws
 */
export function gucStateSize(guc: GucPort, vfid: number): number {
  const dwords = saveRestore(guc, SAVE_RESTORE_OPCODE.SAVE, vfid, 0, 0);
  if (dwords === 0) throw new Fault('ENODATA', `firmware has no state of VF${vfid}`);
  return dwords * 4;
}

/**
 * Saves a VF's GuC state.
 * @throws {Fault} ENODATA, ENOBUFS, EPROTO when firmware claims more than it was given room for
 */
export function saveGuc(guc: GucPort, vfid: number): Uint8Array {
  const size = gucStateSize(guc, vfid);
  const buffer = guc.buffer(size);
  try {
    buffer.bytes.fill(0);
    const used = 4 * saveRestore(guc, SAVE_RESTORE_OPCODE.SAVE, vfid, buffer.ggttAddress, size / 4);
    if (used === 0) throw new Fault('ENODATA', `firmware saved nothing of VF${vfid}`);
    if (used > size)
      throw new Fault('EPROTO', `firmware saved ${used} bytes of VF${vfid} into ${size}`);
    return buffer.bytes.slice(0, used);
  } finally {
    buffer.release();
  }
}

/**
 * Restores a VF's GuC state; a size that is not whole dwords is cut.
 * @throws {Fault} ENOBUFS, ENODATA, EPROTO, EIO when firmware refuses
 */
export function restoreGuc(guc: GucPort, vfid: number, state: Uint8Array): void {
  const dwords = Math.floor(state.length / 4);
  const buffer = guc.buffer(state.length);
  try {
    buffer.bytes.set(state);
    const { RESTORE } = SAVE_RESTORE_OPCODE;
    const used = saveRestore(guc, RESTORE, vfid, buffer.ggttAddress, dwords);
    if (used === 0) throw new Fault('ENODATA', `firmware restored nothing of VF${vfid}`);
    if (used > dwords)
      throw new Fault('EPROTO', `firmware restored ${used} dwords of VF${vfid} out of ${dwords}`);
  } finally {
    buffer.release();
  }
}

/** The PTEs of a region in pieces, each with room for them; the room is the same for all whole ones. */
function* piecesOf({ start, size }: GgttRegion): Generator<{
  readonly ptes: Uint32Array;
  /** Index of the first of them. */
  readonly first: number;
  /** GGTT address of the first of them. */
  readonly address: number;
}> {
  const count = size / GGTT_PAGE_SIZE;
  let ptes = new Uint32Array(2 * Math.min(PTE_PIECE, count));
  for (let first = 0; first < count; first += PTE_PIECE) {
    if (count - first < PTE_PIECE) ptes = new Uint32Array(2 * (count - first));
    yield { ptes, first, address: start + first * GGTT_PAGE_SIZE };
  }
}

/**
 * Saves the PTEs of a VF's GGTT with their VFID fields zeroed.
 * @throws {Fault} EPERM when a PTE belongs to another function
 */
export function saveGgtt(ggtt: GgttPort, vfid: number, region: GgttRegion): Uint8Array {
  const saved = new Uint32Array(pteBytes(region.size) / 4);
  for (const { ptes, first, address } of piecesOf(region)) {
    ggtt.readPtes(address, ptes);
    const foreign = findForeignPte(ptes, vfid);
    if (foreign >= 0) {
      const owner = pteVfid(ptes[2 * foreign] as number);
      throw new Fault('EPERM', `PTE ${first + foreign} of VF${vfid} belongs to function ${owner}`);
    }
    copyPtes(ptes, saved.subarray(2 * first, 2 * first + ptes.length), 0);
  }
  return new Uint8Array(saved.buffer);
}

/**
 * Restores the PTEs of a VF's GGTT as its own, whatever VFID they carry.
 * @throws {Fault} EINVAL when there are not as many as the region has pages
 */
export function restoreGgtt(
  ggtt: GgttPort,
  vfid: number,
  region: GgttRegion,
  payload: Uint8Array,
): void {
  if (payload.length !== pteBytes(region.size))
    throw new Fault('EINVAL', `${payload.length} bytes of PTEs for ${region.size} bytes of GGTT`);
  for (const { ptes, first, address } of piecesOf(region)) {
    const from = first * GGTT_PTE_SIZE;
    new Uint8Array(ptes.buffer).set(payload.subarray(from, from + 4 * ptes.length));
    copyPtes(ptes, ptes, vfid);
    ggtt.writePtes(address, ptes);
  }
}

/** Saves the flag registers of a VF on one GT. */
export function saveMmio(gt: GtPort, vfid: number): Uint8Array {
  const payload = new Uint8Array(MMIO_PAYLOAD_SIZE);
  const view = dataView(payload);
  for (let n = 0; n < MMIO_PAYLOAD_SIZE / 4; n++)
    view.setUint32(4 * n, gt.readVfFlag(vfid, n), true);
  return payload;
}

/** Restores the flag registers of a VF on one GT from {@link MMIO_PAYLOAD_SIZE} bytes. */
export function restoreMmio(gt: GtPort, vfid: number, payload: Uint8Array): void {
  const view = dataView(payload);
  for (let n = 0; n < MMIO_PAYLOAD_SIZE / 4; n++)
    gt.writeVfFlag(vfid, n, view.getUint32(4 * n, true));
}

/** Zeroes the flag registers of a VF on one GT, after a function-level reset. */
export function clearMmio(gt: GtPort, vfid: number): void {
  restoreMmio(gt, vfid, new Uint8Array(MMIO_PAYLOAD_SIZE));
}
