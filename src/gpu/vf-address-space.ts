/**
 * Memory as firmware and engines reach it for a VF by GGTT address: through the VF's own PTEs, to
 * its VRAM or to guest memory.
 */
import { GGTT_PAGE_SIZE, GGTT_PTE_LO, pteAddress } from '../xe/pte.ts';
import type { GpuAccess } from './engine/contracts.ts';
import type { GgttWindow } from './ggtt.ts';
import { PagedMemory } from './memory/paged-memory.ts';
import type { PhysicalMemory } from './memory/physical-memory.ts';

/** Where the address space of a VF finds its PTEs; they come and go with provisioning. */
export interface VfMemorySources {
  ggtt(): GgttWindow | undefined;
  readonly physical: PhysicalMemory;
}

/**
 * GGTT-addressed memory of one VF. An access that the VF's PTEs do not allow, or that leaves its
 * window, does nothing and fails: it never reaches another VF. PTEs are read on every access, so
 * there is nothing to invalidate.
 */
export class VfAddressSpace extends PagedMemory {
  readonly #ggtt: () => GgttWindow | undefined;

  constructor(sources: VfMemorySources) {
    super(sources.physical);
    this.#ggtt = sources.ggtt;
  }

  /** True when `[address, address+length)` is in the VF's part of the GGTT. */
  contains(address: number, length: number): boolean {
    const window = this.#ggtt();
    return (
      window !== undefined &&
      address >= window.start &&
      address + length <= window.start + window.size
    );
  }

  invalidate(): void {}

  protected override following(): number {
    return Number.POSITIVE_INFINITY;
  }

  protected override translate(address: number, access: GpuAccess): boolean {
    const window = this.#ggtt();
    const words = window?.has(address) === true ? window.writtenWords : undefined;
    if (window === undefined || words === undefined)
      return this.failed(address, access, 0, 'not-present');
    const index = Math.floor((address - window.start) / GGTT_PAGE_SIZE) * 2;
    const lo = words[index] as number;
    if ((lo & GGTT_PTE_LO.PRESENT) === 0) return this.failed(address, access, 0, 'not-present');
    const offset = address % GGTT_PAGE_SIZE;
    const target = pteAddress(lo, words[index + 1] as number) + offset;
    const { place, physical } = this;
    place.extent = GGTT_PAGE_SIZE - offset;
    const found =
      (lo & GGTT_PTE_LO.DM) === 0 ? physical.system(place, target) : physical.vram(place, target);
    const allowed = found && (access === 'read' || place.writable);
    if (allowed && (access === 'write' || place.readable)) return true;
    return this.failed(address, access, 0, 'bus-error');
  }
}
