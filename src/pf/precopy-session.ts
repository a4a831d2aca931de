/**
 * The part of saving a VF that happens while it runs: VRAM, again and again, until what is left is
 * little. Linux's producer has no such part; its consumer takes VRAM packets in any order and any
 * number, the later ones win.
 *
 * Source: include/uapi/linux/vfio.h (the PRE_COPY states, VFIO_MIG_GET_PRECOPY_INFO),
 * drivers/gpu/drm/xe/xe_gt_sriov_pf_migration.c (pf_restore_vf_vram_mig_data).
 */
import { PACKET_HEADER_SIZE, PACKET_TYPE, PACKET_VERSION } from '../xe/migration-packet.ts';
import type { PrecopyProgress } from '../xe-vfio-pci/xe-sriov-vfio.ts';
import type { VfPacket } from './packet-ring.ts';
import type { VramLastPass, VramTracking } from './ports.ts';

/** The VRAM of a VF on one tile, and which GT its packets name. */
export interface TrackedVram {
  readonly tile: number;
  readonly gt: number;
  readonly tracking: VramTracking;
}

/** A part of VRAM this much of which changed anew is a new beginning. */
const REINIT_SHARE = 0.5;

/** The VRAM of one VF while it is saved. */
export class PrecopySession {
  readonly #vrams: readonly TrackedVram[];
  readonly #totalBytes: number;
  #stopped = false;
  #initialDone = false;

  /** @param totalBytes of VRAM that the VF has */
  constructor(vrams: readonly TrackedVram[], totalBytes: number) {
    this.#vrams = vrams;
    this.#totalBytes = totalBytes;
    for (const { tracking } of vrams) tracking.begin();
  }

  /** True once the VF stands still and {@link next} gives the rest. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Bytes that are known to be left, and whether they are a new beginning. */
  progress(mayReinit: boolean): PrecopyProgress {
    let initialBytes = 0;
    let dirtyBytes = 0;
    let stopMs: number | undefined = 0;
    let staleMs: number | undefined = 0;
    let passes = Number.POSITIVE_INFINITY;
    for (const { tracking } of this.#vrams) {
      const changes = tracking.changes();
      initialBytes += changes.initialBytes;
      dirtyBytes += changes.dirtyBytes;
      stopMs = plus(stopMs, changes.stopMs);
      staleMs = plus(staleMs, changes.staleMs);
      passes = Math.min(passes, changes.passes);
    }
    this.#initialDone ||= initialBytes === 0;
    const reinit = mayReinit && this.#initialDone && dirtyBytes > this.#totalBytes * REINIT_SHARE;
    if (!reinit) return { initialBytes, dirtyBytes, reinit, stopMs, staleMs, passes };
    for (const { tracking } of this.#vrams) tracking.reinit();
    this.#initialDone = false;
    return { initialBytes: dirtyBytes, dirtyBytes: 0, reinit, stopMs, staleMs, passes };
  }

  /** All packets that were given are used: their memory may be taken again. */
  rewind(): void {
    for (const { tracking } of this.#vrams) tracking.rewind();
  }

  /** The next packet of at most `max` bytes of VRAM, undefined when there is none now. */
  next(max: number): VfPacket | undefined {
    for (const { tile, gt, tracking } of this.#vrams) {
      const piece = tracking.next(max);
      if (piece === undefined) continue;
      const { offset, bytes } = piece;
      const header = {
        version: PACKET_VERSION,
        type: PACKET_TYPE.VRAM,
        tile,
        gt,
        flags: 0,
        offset,
        size: bytes.length,
      };
      return { header, payload: bytes };
    }
    return undefined;
  }

  /**
   * The VF stands still: finds what is left.
   * @returns how, of each VRAM that needed a pass
   * @throws {Fault} EIO; the VF may then run on
   */
  async stop(): Promise<readonly VramLastPass[]> {
    const passes: VramLastPass[] = [];
    try {
      for (const { tracking } of this.#vrams) {
        const pass = await tracking.stop();
        if (pass !== undefined) passes.push(pass);
      }
      this.#stopped = true;
      return passes;
    } catch (error) {
      for (const { tracking } of this.#vrams) tracking.resume();
      throw error;
    }
  }

  /** Bytes of the packets that are left: exactly once the VF stands still, else as far as known. */
  get leftBytes(): number {
    let total = 0;
    for (const { tracking } of this.#vrams) {
      const { bytes, pieces } = tracking.left();
      total += bytes + pieces * PACKET_HEADER_SIZE;
    }
    return total;
  }

  /** Idempotent. */
  close(): void {
    for (const { tracking } of this.#vrams) tracking.close();
  }
}

function plus(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a + b;
}
