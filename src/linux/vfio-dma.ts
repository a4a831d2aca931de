/** Guest memory of a VMM in a kernel device's IOMMU. */
import type { DmaMapping } from '../vfio/vfio-device.ts';
import type { VfioIommu } from './vfio-iommu.ts';

/** What a device cannot reach, and why. */
export interface Unreachable {
  readonly mapping: DmaMapping;
  readonly reason: string;
}

/** The mappings of one device. */
export class VfioDma {
  readonly #iommu: VfioIommu;
  /** Those that the IOMMU has. */
  readonly #mapped = new Set<DmaMapping>();
  readonly #unreachable: (what: Unreachable) => void;

  /** @param unreachable is told of memory that is accepted but that the device cannot reach */
  constructor(iommu: VfioIommu, unreachable: (what: Unreachable) => void) {
    this.#iommu = iommu;
    this.#unreachable = unreachable;
  }

  /**
   * Lets the device reach a range.
   *
   * Memory that is not mapped here (the VMM sent no descriptor) is accepted and reported: VMMs offer
   * ROMs and the frame buffer of an emulated display that way, which no device needs, and take a
   * refusal as a reason to end.
   *
   * @throws {Fault} see {@link VfioIommu.map}
   */
  map(mapping: DmaMapping): void {
    const vaddr = mapping.memory.nativeAddress?.();
    if (vaddr === undefined) {
      this.#unreachable({ mapping, reason: 'the VMM sent no descriptor that may be mapped' });
      return;
    }
    this.#iommu.map(mapping.iova, vaddr, mapping.size, mapping.flags);
    this.#mapped.add(mapping);
  }

  /** Takes a range away; does nothing for one that the device never reached. @throws {Fault} ENOENT */
  unmap(mapping: DmaMapping): void {
    if (this.#mapped.delete(mapping)) this.#iommu.unmap(mapping.iova, mapping.size);
  }

  /** Takes everything away. */
  unmapAll(): void {
    if (this.#mapped.size > 0) this.#iommu.unmapAll();
    this.#mapped.clear();
  }
}
