/**
 * Which guest memory the device may reach.
 *
 * Source: QEMU docs/interop/vfio-user.rst (VFIO_USER_DMA_MAP: EEXIST),
 * drivers/vfio/vfio_iommu_type1.c:vfio_dma_do_map (EINVAL, EEXIST, ENOSPC).
 */
import { Fault } from '../base/fault.ts';
import type { DmaMapping } from '../vfio/vfio-device.ts';

/** Mappings that a device has room for (dma_entry_limit of the type 1 IOMMU). */
export const DMA_MAPPINGS_MAX = 65535;
/** Smallest page that can be mapped, bytes. */
const PAGE_SIZE = 4096;

/** The mappings of one device, in the order of their addresses. */
export class DmaMap {
  readonly #mappings: DmaMapping[] = [];

  /** How many there are. */
  get size(): number {
    return this.#mappings.length;
  }

  /**
   * Takes a mapping in.
   * @throws {Fault} EINVAL when empty, not whole pages or above 2^53-1; EEXIST when any part is
   * mapped; ENOSPC when there are {@link DMA_MAPPINGS_MAX}
   */
  add(mapping: DmaMapping): void {
    const { iova, size } = mapping;
    if (!(iova >= 0 && Number.isSafeInteger(iova) && Number.isSafeInteger(iova + size)))
      throw new Fault('EINVAL', 'the range ends above 2^53-1');
    if (size <= 0 || size % PAGE_SIZE !== 0 || iova % PAGE_SIZE !== 0)
      throw new Fault('EINVAL', `${size} bytes at ${iova} are empty or not whole pages`);
    const index = this.#lowerBound(iova);
    const before = this.#mappings[index - 1];
    const after = this.#mappings[index];
    const overlap =
      (before !== undefined && before.iova + before.size > iova) ||
      (after !== undefined && after.iova < iova + size);
    if (overlap) throw new Fault('EEXIST', `a part of ${size} bytes at ${iova} is mapped`);
    if (this.#mappings.length >= DMA_MAPPINGS_MAX)
      throw new Fault('ENOSPC', `${DMA_MAPPINGS_MAX} ranges are mapped`);
    this.#mappings.splice(index, 0, mapping);
  }

  /**
   * Takes out the mapping of exactly this range.
   * @throws {Fault} ENOENT when there is none
   */
  remove(iova: number, size: number): DmaMapping {
    const index = this.#lowerBound(iova);
    const mapping = this.#mappings[index];
    if (mapping === undefined || mapping.iova !== iova || mapping.size !== size)
      throw new Fault('ENOENT', `${size} bytes at ${iova} are not one mapping`);
    this.#mappings.splice(index, 1);
    return mapping;
  }

  /** All of them, in the order of their addresses. */
  get mappings(): readonly DmaMapping[] {
    return this.#mappings;
  }

  /** Takes every mapping out. */
  removeAll(): readonly DmaMapping[] {
    return this.#mappings.splice(0);
  }

  /** Index of the first mapping that begins at `iova` or behind it. */
  #lowerBound(iova: number): number {
    let low = 0;
    let high = this.#mappings.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#mappings[middle]!.iova < iova) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
