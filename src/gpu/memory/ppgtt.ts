/**
 * Memory by the addresses of a PPGTT: a walk of five levels with what it found remembered.
 *
 * What is remembered goes on `invalidate` (TLB_INVALIDATION, MI_FLUSH_DW and PIPE_CONTROL with their
 * TLB bit, the loading of a context) and when memory of the VF goes away. An access fails only
 * after a walk from the root: drivers rely on it for mappings that they add.
 *
 * Source: drivers/gpu/drm/xe/xe_pt.c, xe_vm.c; xe_pagefault_types.h for the faults.
 */
import { alignDown } from '../../base/int.ts';
import {
  PPGTT_ADDRESS_END,
  PPGTT_COMPACT_SPAN,
  PPGTT_ENTRY_SIZE,
  PPGTT_LEVEL_SPAN,
  PPGTT_LO,
  PPGTT_ROOT_LEVEL,
  PPGTT_TABLE_ENTRIES,
  ppgttAddress,
} from '../../xe/ppgtt.ts';
import type { GpuAccess, GpuMemoryFault } from '../engine/contracts.ts';
import { PagedMemory } from './paged-memory.ts';
import type { PhysicalMemory } from './physical-memory.ts';
import { Place } from './place.ts';
import { TableReader } from './table-reader.ts';
import { leafFlags, TLB_FLAG, TLB_NEEDED, Tlb, type TlbEntries } from './tlb.ts';

const PAGE_SIZE = PPGTT_LEVEL_SPAN[0];
const RANGE_SIZE = PPGTT_LEVEL_SPAN[1];
const RANGE_PAGES = RANGE_SIZE / PAGE_SIZE;
const COMPACT_PAGES = PPGTT_COMPACT_SPAN / PAGE_SIZE;

const { WRITE, ATOMIC, READABLE, WRITABLE, NULL, VRAM, TABLE, COMPACT, SCATTERED, COMPRESSED } =
  TLB_FLAG;

/** One PPGTT of a VF. */
export class Ppgtt extends PagedMemory {
  /** Physical address of the root table. */
  readonly pdp0: number;
  readonly #tables: TableReader;
  readonly #tlb = new Tlb();
  #epoch: number;
  readonly #tablePlace = new Place();
  /** The page that {@link place} is in: where it begins, its size (0 for none), what it allows. */
  #start = 0;
  #size = 0;
  #allowed = 0;
  #firstPhysical = 0;
  #firstAt = 0;
  /** Why a walk ended without a page. */
  #level = 0;
  #type: GpuMemoryFault['type'] = 'not-present';

  /** @param tablesInVram true on a discrete device: entries that name a table have no DM bit */
  constructor(physical: PhysicalMemory, pdp0: number, tablesInVram: boolean) {
    super(physical);
    this.pdp0 = pdp0;
    this.#tables = new TableReader(physical, tablesInVram);
    this.#epoch = physical.epoch;
  }

  invalidate(): void {
    this.#tlb.invalidate();
    this.#size = 0;
  }

  protected override translate(address: number, access: GpuAccess): boolean {
    if (this.physical.epoch !== this.#epoch) {
      this.#tlb.clear();
      this.#size = 0;
      this.#epoch = this.physical.epoch;
    }
    const inside = address < PPGTT_ADDRESS_END ? address : address % PPGTT_ADDRESS_END;
    const needed = TLB_NEEDED[access];
    const offset = inside - this.#start;
    if (offset >= 0 && offset < this.#size && (this.#allowed & needed) === needed) {
      const { place } = this;
      place.physical = this.#firstPhysical + offset;
      place.extent = this.#size - offset;
      place.at = this.#firstAt + offset;
      return true;
    }
    return this.#lookUp(address, inside, access, needed);
  }

  /** Reads PTEs as long as each is the one before it, one page on, to the end of their table. */
  protected override following(address: number, length: number): number {
    const inside = address < PPGTT_ADDRESS_END ? address : address % PPGTT_ADDRESS_END;
    const inRange = inside % RANGE_SIZE;
    if (RANGE_SIZE - inRange <= PAGE_SIZE) return Number.POSITIVE_INFINITY;
    const { ranges, generation } = this.#tlb;
    const slot = ranges.find(Math.floor(inside / RANGE_SIZE), generation);
    const view = slot < 0 ? undefined : ranges.view[slot];
    const flags = slot < 0 ? 0 : (ranges.flags[slot] as number);
    if (view === undefined || (flags & TABLE) === 0) return Number.POSITIVE_INFINITY;
    const span = (flags & COMPACT) === 0 ? PAGE_SIZE : PPGTT_COMPACT_SPAN;
    const first = Math.floor(inRange / span);
    const most = Math.min(RANGE_SIZE / span - first - 1, Math.ceil(length / span));
    let at = (ranges.at[slot] as number) + first * PPGTT_ENTRY_SIZE;
    const lo = view.getUint32(at, true);
    const hi = view.getUint32(at + 4, true);
    // One of 16 PTEs that map 64 KiB has to be the one that its place asks for.
    const shares = span === PAGE_SIZE && (lo & PPGTT_LO.PTE_PS64) !== 0;
    if (shares && (lo >>> 12) % COMPACT_PAGES !== first % COMPACT_PAGES)
      return Number.POSITIVE_INFINITY;
    let pages = 0;
    while (pages < most) {
      at += PPGTT_ENTRY_SIZE;
      const expected = lo + (pages + 1) * span;
      if (view.getUint32(at, true) !== expected || view.getUint32(at + 4, true) !== hi) break;
      pages++;
    }
    // Of a compact page the rest of it follows first.
    return alignDown(span - 1 - (inRange % span), PAGE_SIZE) + pages * span;
  }

  #lookUp(address: number, inside: number, access: GpuAccess, needed: number): boolean {
    this.#size = 0;
    const page = Math.floor(inside / PAGE_SIZE);
    const { pages, ranges, generation } = this.#tlb;
    const slot = pages.find(page, generation);
    if (slot >= 0 && ((pages.flags[slot] as number) & needed) === needed)
      return this.#hit(pages, slot, inside, PAGE_SIZE);
    const range = Math.floor(page / RANGE_PAGES);
    const known = ranges.find(range, generation);
    if (known >= 0) {
      const flags = ranges.flags[known] as number;
      if ((flags & (TABLE | SCATTERED)) === 0) {
        if ((flags & needed) === needed) return this.#hit(ranges, known, inside, RANGE_SIZE);
      } else if (this.#page(known, page, inside, access)) return true;
    }
    if (this.#walk(range) && this.#resolve(range, page, inside, access)) return true;
    return this.failed(address, access, this.#level, this.#type);
  }

  /** Takes a remembered page as the place of an access. */
  #hit(entries: TlbEntries, slot: number, inside: number, size: number): true {
    const { place } = this;
    const offset = inside % size;
    const flags = entries.flags[slot] as number;
    place.where = (flags & NULL) !== 0 ? 'null' : (flags & VRAM) !== 0 ? 'vram' : 'system';
    place.compressed = (flags & COMPRESSED) !== 0;
    this.#start = inside - offset;
    this.#size = size;
    this.#allowed = flags;
    this.#firstPhysical = entries.physical[slot] as number;
    this.#firstAt = entries.at[slot] as number;
    place.physical = this.#firstPhysical + offset;
    place.extent = size - offset;
    place.window = entries.window[slot];
    place.view = entries.view[slot];
    place.at = this.#firstAt + offset;
    return true;
  }

  /** After a walk: the page itself. */
  #resolve(range: number, page: number, inside: number, access: GpuAccess): boolean {
    const { ranges, generation } = this.#tlb;
    const slot = ranges.find(range, generation);
    const flags = ranges.flags[slot] as number;
    if ((flags & (TABLE | SCATTERED)) !== 0) return this.#page(slot, page, inside, access);
    if (!this.#allows(flags, access)) return false;
    return this.#hit(ranges, slot, inside, RANGE_SIZE);
  }

  /** A page of 4 KiB of a range that is a table, or a large page whose memory is scattered. */
  #page(slot: number, page: number, inside: number, access: GpuAccess): boolean {
    const { pages, ranges } = this.#tlb;
    const inRange = page % RANGE_PAGES;
    let flags = ranges.flags[slot] as number;
    let physical = ranges.physical[slot] as number;
    if ((flags & TABLE) === 0) {
      this.#level = 1;
      physical += inRange * PAGE_SIZE;
    } else {
      this.#level = 0;
      const compact = (flags & COMPACT) !== 0;
      const index = compact ? Math.floor(inRange / COMPACT_PAGES) : inRange;
      if (!this.#pte(slot, index)) return false;
      const { lo, hi } = this.#tables;
      physical = ppgttAddress(lo, hi);
      if (compact || (lo & PPGTT_LO.PTE_PS64) !== 0)
        physical += PAGE_SIZE * (inRange % COMPACT_PAGES) - (physical % PPGTT_COMPACT_SPAN);
      flags = leafFlags(lo, hi, flags, false);
    }
    const found = this.#locate(physical, flags, PAGE_SIZE);
    if (found < 0 || !this.#allows(found, access)) return false;
    const at = pages.put(page, this.#tlb.generation, found, physical, this.place);
    return this.#hit(pages, at, inside, PAGE_SIZE);
  }

  /** Reads a PTE of a table that is known. */
  #pte(slot: number, index: number): boolean {
    const { ranges } = this.#tlb;
    const tables = this.#tables;
    const view = ranges.view[slot];
    if (view !== undefined) {
      tables.readAt(view, (ranges.at[slot] as number) + index * PPGTT_ENTRY_SIZE);
    } else if (!tables.read(ranges.physical[slot] as number, index)) {
      return this.#noPage('bus-error');
    }
    return (tables.lo & PPGTT_LO.PRESENT) !== 0 || this.#noPage('not-present');
  }

  /** Notes why there is no page. @returns false, for the caller to return */
  #noPage(type: GpuMemoryFault['type']): false {
    this.#type = type;
    return false;
  }

  /** From the root to the entry of level 1 (or 2) for 2 MiB, which is then remembered. */
  #walk(range: number): boolean {
    let table = this.pdp0;
    let allowed: number = WRITE;
    for (let level = PPGTT_ROOT_LEVEL; ; level--) {
      this.#level = level;
      const index =
        Math.floor((range * RANGE_SIZE) / (PPGTT_LEVEL_SPAN[level] as number)) %
        PPGTT_TABLE_ENTRIES;
      if (!this.#tables.read(table, index)) return this.#noPage('bus-error');
      const { lo, hi } = this.#tables;
      if ((lo & PPGTT_LO.PRESENT) === 0) return this.#noPage('not-present');
      if ((lo & PPGTT_LO.RW) === 0) allowed = 0;
      if (level <= 2 && (lo & PPGTT_LO.PS) !== 0) return this.#largePage(range, level, allowed);
      table = ppgttAddress(lo, hi);
      if (level === 1) return this.#table(range, table, allowed);
    }
  }

  #table(range: number, table: number, allowed: number): boolean {
    const place = this.#tablePlace;
    place.extent = PAGE_SIZE;
    if (!this.#tables.find(place, table)) return this.#noPage('bus-error');
    const compact = (this.#tables.lo & PPGTT_LO.PDE_64K) !== 0 ? COMPACT : 0;
    const { ranges, generation } = this.#tlb;
    ranges.put(range, generation, TABLE | compact | allowed, table, place);
    return true;
  }

  #largePage(range: number, level: number, allowed: number): boolean {
    const size = PPGTT_LEVEL_SPAN[level] as number;
    const { lo, hi } = this.#tables;
    const address = ppgttAddress(lo, hi);
    const physical = address - (address % size) + ((range * RANGE_SIZE) % size);
    const flags = leafFlags(lo, hi, allowed, true);
    const { ranges, generation } = this.#tlb;
    const found = this.#locate(physical, flags, RANGE_SIZE);
    if (found >= 0 && this.place.extent === RANGE_SIZE) {
      ranges.put(range, generation, found, physical, this.place);
    } else {
      ranges.put(range, generation, flags | SCATTERED, physical, this.place);
    }
    return true;
  }

  /** Finds `size` bytes of a page in `place`. @returns its flags with the owner's, or -1 */
  #locate(physical: number, flags: number, size: number): number {
    const { place } = this;
    place.extent = size;
    if ((flags & NULL) !== 0) {
      place.window = undefined;
      place.view = undefined;
      return flags | READABLE | WRITABLE | ATOMIC;
    }
    const found =
      (flags & VRAM) !== 0
        ? this.physical.vram(place, physical)
        : this.physical.system(place, physical);
    if (!found) {
      this.#noPage('bus-error');
      return -1;
    }
    return flags | (place.readable ? READABLE : 0) | (place.writable ? WRITABLE : 0);
  }

  #allows(flags: number, access: GpuAccess): boolean {
    const missing = TLB_NEEDED[access] & ~flags;
    if (missing === 0) return true;
    if ((missing & WRITE) !== 0) return this.#noPage('write-access-violation');
    return this.#noPage((missing & ATOMIC) !== 0 ? 'atomic-access-violation' : 'bus-error');
  }
}
