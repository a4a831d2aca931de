/** Guest memory that a VF may reach, by I/O virtual address. */
import type { PciFunction } from '../vfio-pci/pci-function.ts';

type DmaMapping = Parameters<PciFunction['dmaMap']>[0];

/** The DMA mappings of one VF, sorted by address; they never overlap. */
export class DmaTable {
  #mappings: DmaMapping[] = [];

  /** Adds a mapping; the caller has made sure that it overlaps none. */
  add(mapping: DmaMapping): void {
    this.#mappings.splice(this.#after(mapping.iova), 0, mapping);
  }

  /** Forgets the mapping. */
  remove(mapping: DmaMapping): void {
    const at = this.#after(mapping.iova) - 1;
    if (this.#mappings[at]?.iova === mapping.iova) this.#mappings.splice(at, 1);
  }

  /** Forgets all of them. */
  clear(): void {
    this.#mappings = [];
  }

  /** Reads inside one 4 KiB page. @returns false when nothing is mapped there or it failed */
  read(iova: number, target: Uint8Array): boolean {
    const mapping = this.#find(iova, target.length);
    if (mapping === undefined) return false;
    const window = windowOf(mapping, iova - mapping.iova, target.length);
    if (window === undefined)
      return attempt(() => mapping.memory.read(iova - mapping.iova, target));
    target.set(window);
    return true;
  }

  /** Writes inside one 4 KiB page. @returns false when nothing is mapped there or it failed */
  write(iova: number, source: Uint8Array): boolean {
    const mapping = this.#find(iova, source.length);
    if (mapping === undefined) return false;
    // By message even when mapped here: it is the mapping that knows whether it may be written.
    return attempt(() => mapping.memory.write(iova - mapping.iova, source));
  }

  /** Position of the first mapping that begins above `iova`; a guest may have tens of thousands. */
  #after(iova: number): number {
    let low = 0;
    let high = this.#mappings.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#mappings[middle] as DmaMapping).iova <= iova) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #find(iova: number, length: number): DmaMapping | undefined {
    const mapping = this.#mappings[this.#after(iova) - 1];
    if (mapping === undefined || iova + length > mapping.iova + mapping.size) return undefined;
    return mapping;
  }
}

function windowOf(mapping: DmaMapping, offset: number, length: number): Uint8Array | undefined {
  const { windows } = mapping.memory;
  if (windows === undefined) return undefined;
  let start = offset;
  for (const window of windows) {
    if (start + length <= window.length) return window.subarray(start, start + length);
    start -= window.length;
    if (start < 0) return undefined;
  }
  return undefined;
}

function attempt(access: () => void): boolean {
  try {
    access();
    return true;
  } catch {
    // A device's access that the host refuses is dropped, as an IOMMU would.
    return false;
  }
}
