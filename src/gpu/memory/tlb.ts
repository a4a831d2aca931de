/**
 * What an address space remembers of its page tables: 4 KiB pages, and for each 2 MiB either the
 * large page or the table of PTEs. Both are direct mapped. Nothing is allocated after the start.
 */

import { PPGTT_LO, ppgttCompresses } from '../../xe/ppgtt.ts';
import type { GpuAccess } from '../engine/contracts.ts';
import type { Place } from './place.ts';

/** Pages and 2 MiB ranges that are remembered. */
const PAGE_SLOTS = 1024;
const RANGE_SLOTS = 128;

/** What an entry allows and what it is. */
export const TLB_FLAG = {
  WRITE: 1 << 0,
  ATOMIC: 1 << 1,
  /** What the owner of the memory allows. */
  READABLE: 1 << 2,
  WRITABLE: 1 << 3,
  NULL: 1 << 4,
  VRAM: 1 << 5,
  /** Ranges only: a table of PTEs, compact or not, and not one page. */
  TABLE: 1 << 6,
  COMPACT: 1 << 7,
  /** Ranges only: a page whose memory does not lie together. */
  SCATTERED: 1 << 8,
  /** The PAT index enables compression. */
  COMPRESSED: 1 << 9,
} as const;

const { WRITE, ATOMIC, READABLE, WRITABLE, NULL, VRAM, COMPRESSED } = TLB_FLAG;

/** What an entry has to allow for each access. */
export const TLB_NEEDED: Readonly<Record<GpuAccess, number>> = {
  read: READABLE,
  write: WRITE | WRITABLE,
  atomic: WRITE | ATOMIC | READABLE | WRITABLE,
};

/** What a leaf allows and where it leads; `above` has WRITE when all entries above it have. */
export function leafFlags(lo: number, hi: number, above: number, large: boolean): number {
  let flags = (lo & PPGTT_LO.RW) === 0 ? 0 : above & WRITE;
  if ((lo & PPGTT_LO.AE) !== 0) flags |= ATOMIC;
  if ((lo & PPGTT_LO.NULL) !== 0) flags |= NULL;
  if ((lo & PPGTT_LO.DM) !== 0) flags |= VRAM;
  if (ppgttCompresses(lo, hi, large)) flags |= COMPRESSED;
  return flags;
}

/** Entries by the number of a page. */
export class TlbEntries {
  /** Number of the page that each slot holds, and the generation that it is of. */
  readonly tag: Float64Array;
  readonly generation: Float64Array;
  readonly flags: Uint16Array;
  /** Physical address of the page or the table. */
  readonly physical: Float64Array;
  /** The memory itself and where in it the page begins. */
  readonly window: (Uint8Array | undefined)[];
  readonly view: (DataView | undefined)[];
  readonly at: Float64Array;
  readonly #mask: number;
  readonly #bits: number;

  /** @param slots a power of two */
  constructor(slots: number) {
    this.tag = new Float64Array(slots).fill(-1);
    this.generation = new Float64Array(slots);
    this.flags = new Uint16Array(slots);
    this.physical = new Float64Array(slots);
    this.window = new Array<Uint8Array | undefined>(slots).fill(undefined);
    this.view = new Array<DataView | undefined>(slots).fill(undefined);
    this.at = new Float64Array(slots);
    this.#mask = slots - 1;
    this.#bits = Math.log2(slots);
  }

  /** What lies a power of two apart, as the two sides of a copy often do, does not share a slot. */
  #slot(page: number): number {
    return (page ^ (page >>> this.#bits) ^ (page >>> (2 * this.#bits))) & this.#mask;
  }

  /** The slot that holds a page, or -1. */
  find(page: number, generation: number): number {
    const slot = this.#slot(page);
    return this.tag[slot] === page && this.generation[slot] === generation ? slot : -1;
  }

  /** Remembers a page that lies at `place`. @returns its slot */
  put(page: number, generation: number, flags: number, physical: number, place: Place): number {
    const slot = this.#slot(page);
    this.tag[slot] = page;
    this.generation[slot] = generation;
    this.flags[slot] = flags;
    this.physical[slot] = physical;
    this.window[slot] = place.window;
    this.view[slot] = place.view;
    this.at[slot] = place.at;
    return slot;
  }

  /** Lets go of memory. */
  clear(): void {
    this.tag.fill(-1);
    this.window.fill(undefined);
    this.view.fill(undefined);
  }
}

/** Both kinds of entries of one address space. */
export class Tlb {
  readonly pages = new TlbEntries(PAGE_SLOTS);
  readonly ranges = new TlbEntries(RANGE_SLOTS);
  /** Entries of another generation do not count. */
  generation = 1;

  /** Forgets everything at once, keeping references to memory until slots are used again. */
  invalidate(): void {
    this.generation++;
  }

  /** Forgets everything and lets go of memory. */
  clear(): void {
    this.pages.clear();
    this.ranges.clear();
    this.generation++;
  }
}
