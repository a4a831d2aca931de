/** Guest memory that a VF may reach, by I/O virtual address. */
import { dataView } from '../base/int.ts';
import { VFIO_DMA_MAP_FLAG } from '../vfio/uapi.ts';
import type { PciFunction } from '../vfio-pci/pci-function.ts';

type DmaMapping = Parameters<PciFunction['dmaMap']>[0];

/** A mapping as the device looks it up. */
export interface DmaRange {
  /** First I/O virtual address, and the first one past the end. */
  readonly start: number;
  readonly end: number;
  readonly readable: boolean;
  readonly writable: boolean;
  /** The memory in windows, with a DataView over each; empty when messages reach it. */
  readonly windows: readonly Uint8Array[];
  readonly views: readonly DataView[];
  readonly memory: DmaMapping['memory'];
}

/** The DMA mappings of one VF, sorted by address; they never overlap. */
export class DmaTable {
  #ranges: DmaRange[] = [];
  #last: DmaRange | undefined;
  #version = 0;

  /** Changes whenever a mapping that was there is gone. */
  get version(): number {
    return this.#version;
  }

  /** Adds a mapping; the caller has made sure that it overlaps none. */
  add({ iova, size, flags, memory }: DmaMapping): void {
    const windows = memory.windows ?? [];
    this.#ranges.splice(this.#after(iova), 0, {
      start: iova,
      end: iova + size,
      readable: (flags & VFIO_DMA_MAP_FLAG.READ) !== 0,
      writable: (flags & VFIO_DMA_MAP_FLAG.WRITE) !== 0,
      windows,
      views: windows.map(dataView),
      memory,
    });
  }

  /** Forgets the mapping. */
  remove({ iova }: DmaMapping): void {
    const at = this.#after(iova) - 1;
    if (this.#ranges[at]?.start !== iova) return;
    this.#ranges.splice(at, 1);
    this.#forget();
  }

  /** Forgets all of them. */
  clear(): void {
    this.#ranges = [];
    this.#forget();
  }

  /** The mapping that `iova` is in, if any. */
  find(iova: number): DmaRange | undefined {
    const last = this.#last;
    if (last !== undefined && iova >= last.start && iova < last.end) return last;
    const range = this.#ranges[this.#after(iova) - 1];
    if (range === undefined || iova >= range.end) return undefined;
    this.#last = range;
    return range;
  }

  #forget(): void {
    this.#last = undefined;
    this.#version++;
  }

  /** Position of the first mapping that begins above `iova`; a guest may have tens of thousands. */
  #after(iova: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ranges[middle] as DmaRange).start <= iova) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
