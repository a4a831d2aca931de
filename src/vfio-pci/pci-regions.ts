/**
 * The regions of an open device: configuration space and BARs.
 *
 * Source: drivers/vfio/pci/vfio_pci_core.c:vfio_pci_ioctl_get_region_info, vfio_pci_rw,
 * vfio_pci_rdwr.c:vfio_pci_bar_rw.
 */
import { Fault } from '../base/fault.ts';
import { VFIO_PCI_NUM_REGIONS, VFIO_PCI_REGION, VFIO_REGION_INFO_FLAG } from '../vfio/uapi.ts';
import type { RegionInfo } from '../vfio/vfio-device.ts';
import type { ConfigSpace } from './config-space.ts';
import type { PciFunction } from './pci-function.ts';

const READ_WRITE = VFIO_REGION_INFO_FLAG.READ | VFIO_REGION_INFO_FLAG.WRITE;
const { CONFIG, BAR5 } = VFIO_PCI_REGION;

/** The part of a BAR that holds the MSI-X table. */
interface MsixTable {
  readonly bar: number;
  readonly offset: number;
  readonly size: number;
}

/** @throws {Fault} EINVAL unless `[offset, offset+count)` lies inside `size` bytes */
function checkInside(offset: number, count: number, size: number): void {
  if (!(offset >= 0 && count >= 0 && offset + count <= size))
    throw new Fault('EINVAL', `${count} bytes at ${offset} are not inside ${size} bytes`);
}

/** The regions of one open device. */
export class PciRegions {
  readonly config: ConfigSpace;
  readonly #function: PciFunction;
  readonly #msix: MsixTable | undefined;

  constructor(pciFunction: PciFunction, config: ConfigSpace) {
    this.#function = pciFunction;
    this.config = config;
    this.#msix = config.msixTable();
  }

  /**
   * ROM and VGA do not exist and have size 0 (Linux answers EINVAL for VGA, but whoever walks all
   * numRegions regions expects an answer).
   * @throws {Fault} EINVAL when there is no such region
   */
  info(index: number): RegionInfo {
    if (!(Number.isInteger(index) && index >= 0 && index < VFIO_PCI_NUM_REGIONS))
      throw new Fault('EINVAL', `there is no region ${index}`);
    if (index === CONFIG) return { index, flags: READ_WRITE, size: this.config.size, areas: [] };
    const bar = index <= BAR5 ? this.#function.bars[index] : undefined;
    if (bar === undefined || bar.size === 0) return { index, flags: 0, size: 0, areas: [] };
    const mmap = bar.areas.length > 0 ? VFIO_REGION_INFO_FLAG.MMAP : 0;
    return { index, flags: READ_WRITE | mmap, size: bar.size, areas: bar.areas };
  }

  /** @throws {Fault} EINVAL outside the region, EIO while the device does not decode memory */
  read(index: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    if (index === CONFIG) {
      checkInside(offset, count, this.config.size);
      if (count > 0) this.config.read(offset, bytes, at, count);
      return;
    }
    if (!this.#checkBar(index, offset, count)) return;
    this.#function.barRead(index, offset, bytes, at, count);
    const msix = this.#msix;
    if (msix?.bar !== index) return;
    const start = Math.max(offset, msix.offset);
    const end = Math.min(offset + count, msix.offset + msix.size);
    if (start < end) bytes.fill(0xff, at + start - offset, at + end - offset);
  }

  /**
   * @returns a promise when a function-level reset has to be waited for
   * @throws {Fault} EINVAL outside the region, EIO while the device does not decode memory
   */
  write(
    index: number,
    offset: number,
    bytes: Uint8Array,
    at: number,
    count: number,
  ): void | Promise<void> {
    if (index === CONFIG) {
      checkInside(offset, count, this.config.size);
      return this.config.write(offset, bytes, at, count);
    }
    if (!this.#checkBar(index, offset, count)) return;
    const msix = this.#msix;
    if (msix?.bar !== index) {
      this.#function.barWrite(index, offset, bytes, at, count);
      return;
    }
    // The MSI-X table is the host's; what lies before and behind it is not.
    const before = Math.min(count, Math.max(0, msix.offset - offset));
    const behind = Math.max(before, Math.min(count, msix.offset + msix.size - offset));
    if (before > 0) this.#function.barWrite(index, offset, bytes, at, before);
    if (behind < count)
      this.#function.barWrite(index, offset + behind, bytes, at + behind, count - behind);
  }

  /** @returns false when there is nothing to access */
  #checkBar(index: number, offset: number, count: number): boolean {
    const size = index <= BAR5 ? this.#function.bars[index]?.size : undefined;
    if (size === undefined || size === 0)
      throw new Fault('EINVAL', `region ${index} does not exist`);
    checkInside(offset, count, size);
    // Linux: vfio_pci_core_do_io_rw answers EIO when __vfio_pci_memory_enabled says no. A VF's
    // memory is switched by its PF, so for a VF only power state D3hot does that.
    if (!this.config.memoryEnabled) throw new Fault('EIO', 'the device does not decode memory');
    return count > 0;
  }
}
