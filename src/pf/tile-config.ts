/**
 * What each VF has of one tile: a part of the GGTT and, on discrete parts, of the VRAM.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_config.c (pf_provision_vf_ggtt, pf_provision_vf_lmem).
 */
import { Fault } from '../base/fault.ts';
import { alignDown, alignUp } from '../base/int.ts';
import { GGTT_PAGE_SIZE } from '../xe/pte.ts';
import { VRAM_ALIGNMENT } from './fair-share.ts';
import { GtConfig } from './gt-config.ts';
import type { TilePort, VramObject } from './ports.ts';
import { RangeAllocator } from './range-allocator.ts';

/** GGTT that a 4 KiB page of PTEs maps; regions aligned to it can have their PTEs mapped. */
const PTE_PAGE_SPAN = 512 * GGTT_PAGE_SIZE;

/** The alignment of a GGTT region of `size` bytes. */
function ggttAlignment(size: number): number {
  return size % PTE_PAGE_SPAN === 0 ? PTE_PAGE_SPAN : GGTT_PAGE_SIZE;
}

/** The configuration of one tile's VFs. */
export class TileConfig {
  readonly tile: TilePort;
  readonly gts: readonly GtConfig[];
  readonly #ggtt: RangeAllocator;
  readonly #regions = new Map<number, { readonly start: number; readonly size: number }>();
  readonly #vram = new Map<number, VramObject>();

  constructor(tile: TilePort) {
    this.tile = tile;
    this.gts = tile.gts.map((gt) => new GtConfig(gt, this));
    this.#ggtt = new RangeAllocator(tile.ggtt.start, tile.ggtt.end);
  }

  /** A VF's part of the GGTT. */
  ggtt(vfid: number): { readonly start: number; readonly size: number } | undefined {
    return this.#regions.get(vfid);
  }

  /** A VF's VRAM. */
  vram(vfid: number): VramObject | undefined {
    return this.#vram.get(vfid);
  }

  /**
   * The most GGTT that each of `vfs` VFs can have from the largest hole, when `spare` bytes stay
   * free in all. Source: pf_estimate_fair_ggtt, xe_ggtt.c:xe_ggtt_largest_hole.
   */
  ggttShare(vfs: number, spare: number): number {
    let largest = 0;
    let needed = spare;
    for (const hole of this.#ggtt.holes(GGTT_PAGE_SIZE)) {
      needed -= Math.min(needed, hole, largest);
      largest = Math.max(largest, hole);
    }
    const share = Math.floor(Math.max(0, largest - needed) / vfs);
    return alignDown(share, share >= PTE_PAGE_SPAN ? PTE_PAGE_SPAN : GGTT_PAGE_SIZE);
  }

  /** The most VRAM that each of `vfs` VFs can have when `spare` bytes stay free. */
  vramShare(vfs: number, spare: number): number {
    const used = [...this.#vram.values()].reduce((sum, { size }) => sum + size, 0);
    const free = Math.max(0, (this.tile.vram?.usable ?? 0) - used - spare);
    return alignDown(Math.floor(alignDown(free, VRAM_ALIGNMENT) / vfs), VRAM_ALIGNMENT);
  }

  /** True when any VF has VRAM. */
  get hasVram(): boolean {
    return this.#vram.size > 0;
  }

  /**
   * Gives a VF `size` bytes of GGTT, rounded up to pages, instead of what it has.
   * @throws {Fault} ENOSPC, what firmware says; the VF then has none
   */
  setGgtt(vfid: number, size: number): void {
    const wanted = alignUp(size, GGTT_PAGE_SIZE);
    if (this.#regions.has(vfid)) {
      this.#distribute(vfid, 0, 0);
      this.#releaseGgtt(vfid);
      this.#main.refresh(vfid);
    }
    if (wanted === 0) return;
    const start = this.#ggtt.allocate(wanted, ggttAlignment(wanted), 'top');
    this.#regions.set(vfid, { start, size: wanted });
    this.tile.ggtt.assign(vfid, start, wanted);
    try {
      this.#distribute(vfid, start, wanted);
    } catch (error) {
      this.#releaseGgtt(vfid);
      throw error;
    }
  }

  /**
   * Gives a VF `size` bytes of VRAM, rounded up to 2 MiB, instead of what it has.
   * @throws {Fault} EPERM on a tile without VRAM, ENOSPC, what firmware says; the VF then has none
   */
  setVram(vfid: number, size: number): void {
    const { vram } = this.tile;
    if (vram === undefined) throw new Fault('EPERM', `tile ${this.tile.id} has no VRAM to give`);
    const wanted = alignUp(size, VRAM_ALIGNMENT);
    if (this.#vram.has(vfid)) {
      this.#main.pushVram(vfid, 0);
      this.#releaseVram(vfid);
    }
    if (wanted === 0) return;
    this.#vram.set(vfid, vram.assign(vfid, wanted));
    try {
      this.#main.pushVram(vfid, wanted);
    } catch (error) {
      this.#releaseVram(vfid);
      throw error;
    }
  }

  /** Clears a VF's PTEs and VRAM after a reset. @throws {Fault} */
  sanitize(vfid: number): void {
    if (this.#regions.has(vfid)) this.tile.ggtt.clear(vfid);
    this.#vram.get(vfid)?.clear();
  }

  /** Takes back all that a VF has of this tile, without telling firmware. */
  release(vfid: number): void {
    this.#releaseGgtt(vfid);
    this.#releaseVram(vfid);
    for (const gt of this.gts) gt.release(vfid);
  }

  get #main(): GtConfig {
    const main = this.gts.find(({ gt }) => gt.type === 'main');
    if (main === undefined) throw new TypeError(`tile ${this.tile.id} has no main GT`);
    return main;
  }

  #distribute(vfid: number, start: number, size: number): void {
    for (const gt of this.gts) gt.pushGgtt(vfid, start, size);
  }

  #releaseGgtt(vfid: number): void {
    const region = this.#regions.get(vfid);
    if (region === undefined) return;
    this.#ggtt.release(region.start);
    this.#regions.delete(vfid);
    this.tile.ggtt.release(vfid);
  }

  #releaseVram(vfid: number): void {
    if (this.#vram.delete(vfid)) this.tile.vram?.release(vfid);
  }
}
