/**
 * A PCI function that the kernel's vfio-pci offers, as the function under our own VFIO PCI.
 *
 * How the two compose: vfio-pci virtualises configuration space, and so does src/vfio-pci above this.
 * Both do so by the same rules, and the rules are idempotent: what the kernel keeps virtual (ids of a
 * VF, BARs, INTX_DISABLE, hidden capabilities) reads here as a function's own register, is shown on as
 * such, and a write that the kernel drops is one that we would drop. Four things are the kernel's
 * alone, because it does not let go of them, so here they become requests to it instead of register
 * accesses: reset, interrupts (`allocateVectors`), the IOMMU, and the error and request notices.
 * INTx is not offered: VFs have none.
 *
 * Accesses of a guest to BARs that it has mapped, interrupts and DMA never come by here.
 *
 * Source: drivers/vfio/pci/vfio_pci_core.c, vfio_pci_config.c, vfio_pci_intrs.c.
 */
import { EventChannel } from '../base/event-channel.ts';
import { Fault, toFault } from '../base/fault.ts';
import { VFIO_IRQ_SET, VFIO_PCI_IRQ, VFIO_PCI_REGION } from '../vfio/uapi.ts';
import type { DmaMapping } from '../vfio/vfio-device.ts';
import type { Bar, PciFunction } from '../vfio-pci/pci-function.ts';
import type { KernelRegion } from './vfio-device-file.ts';
import { type Unreachable, VfioDma } from './vfio-dma.ts';
import type { IommuLimits } from './vfio-iommu.ts';
import { type VfioNotice, VfioNotices } from './vfio-notices.ts';
import {
  type OpenedVfio,
  type OpenVfioOptions,
  openVfio,
  type VfioInterface,
} from './vfio-open.ts';

/** PCI configuration space: what is read to describe the function. */
const PCI = { VENDOR_ID: 0x00, DEVICE_ID: 0x02, REVISION_ID: 0x08, BASE_ADDRESS_0: 0x10 } as const;
/** Low bits of a base address register. */
const BASE_ADDRESS = { IO: 1, TYPE_MASK: 6, TYPE_64: 4, PREFETCH: 8 } as const;
const BAR_COUNT = 6;

const { MSI, MSIX, ERR, REQ } = VFIO_PCI_IRQ;
const { DATA_NONE, DATA_EVENTFD, ACTION_TRIGGER } = VFIO_IRQ_SET;
const NO_BAR: Bar = { size: 0, is64Bit: false, prefetchable: false, areas: [] };

/** What happens at a function without anybody asking. */
export type VfioFunctionEvent =
  | { readonly type: VfioNotice }
  | ({ readonly type: 'unreachable' } & Unreachable);

/** A function behind /dev/vfio. */
export class VfioPciFunction implements PciFunction {
  /** Errors on the bus and requests to give the device back, while no VMM asks for them itself. */
  readonly events = new EventChannel<VfioFunctionEvent>();
  readonly configSize: number;
  readonly isVirtfn: boolean;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revisionId: number;
  readonly bars: readonly Bar[];
  readonly vectors: { readonly intx: number; readonly msi: number; readonly msix: number };
  /** The interface of the kernel that is used. */
  readonly via: VfioInterface;
  readonly #opened: OpenedVfio;
  readonly #config: KernelRegion;
  readonly #regions: readonly KernelRegion[];
  readonly #dma: VfioDma;
  readonly #notices: VfioNotices;
  readonly #dword = new Uint8Array(4);

  /**
   * Opens a function, which resets it.
   *
   * @param address `0000:03:00.1`
   * @throws {Fault} see {@link openVfio}; ENODEV when it is no PCI device
   */
  static open(address: string, options: OpenVfioOptions = {}): VfioPciFunction {
    const opened = openVfio(address, options);
    try {
      return new VfioPciFunction(opened);
    } catch (error) {
      opened.close();
      throw error;
    }
  }

  private constructor(opened: OpenedVfio) {
    const { file, iommu, sysfs, via } = opened;
    this.#opened = opened;
    this.via = via;
    this.#config = file.region(VFIO_PCI_REGION.CONFIG);
    this.configSize = this.#config.size;
    this.isVirtfn = sysfs.isVirtfn;
    this.vendorId = this.#register(PCI.VENDOR_ID) & 0xffff;
    this.deviceId = this.#register(PCI.VENDOR_ID) >>> 16;
    this.revisionId = this.#register(PCI.REVISION_ID) & 0xff;
    this.#regions = Array.from({ length: BAR_COUNT }, (_, bar) => file.region(bar));
    this.bars = this.#regions.map((region) => this.#bar(region));
    this.vectors = { intx: 0, msi: file.irq(MSI).count, msix: file.irq(MSIX).count };
    this.#dma = new VfioDma(iommu, (what) => this.events.emit({ type: 'unreachable', ...what }));
    this.#notices = new VfioNotices(file, (type) => this.events.emit({ type }));
  }

  /** What the IOMMU can map for this function now. */
  get dmaLimits(): IommuLimits {
    return this.#opened.iommu.limits;
  }

  configRead(offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.#opened.file.read(this.#config.fileOffset + offset, bytes, at, count);
  }

  configWrite(offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.#opened.file.write(this.#config.fileOffset + offset, bytes, at, count);
  }

  barRead(bar: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.#opened.file.read(this.#place(bar) + offset, bytes, at, count);
  }

  barWrite(bar: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.#opened.file.write(this.#place(bar) + offset, bytes, at, count);
  }

  /** Source: vfio_msi_enable, which takes all vectors at once, and vfio_msi_disable */
  allocateVectors(index: number, vectors: number): void {
    if (index !== MSI && index !== MSIX) return;
    if (vectors === 0) this.#setIrqs(DATA_NONE, index, 0, 0);
    else this.#setIrqs(DATA_EVENTFD, index, 0, vectors, new Array<number>(vectors).fill(-1));
  }

  setIrqTrigger(index: number, vector: number, eventfd: number | null): void {
    if (index === ERR || index === REQ) this.#notices.redirect(index, eventfd);
    else this.#setIrqs(DATA_EVENTFD, index, vector, 1, [eventfd ?? -1]);
  }

  raiseIrq(index: number, vector: number): void {
    this.#setIrqs(DATA_NONE, index, vector, 1);
  }

  dmaMap(mapping: DmaMapping): void {
    this.#dma.map(mapping);
  }

  dmaUnmap(mapping: DmaMapping): void {
    this.#dma.unmap(mapping);
  }

  async functionLevelReset(): Promise<void> {
    try {
      await this.#opened.file.reset();
    } catch (error) {
      const { code, message } = toFault(error);
      throw new Fault(code === 'ENOTTY' ? 'EIO' : code, message, { cause: error });
    }
  }

  close(): void {
    // The device goes before its mappings do: the kernel quiets it while they are still there.
    this.#opened.close();
    this.#notices.close();
  }

  #setIrqs(type: number, index: number, start: number, count: number, fds?: number[]): void {
    const flags = type | ACTION_TRIGGER;
    const set = { flags, index, start, count };
    this.#opened.file.setIrqs(fds === undefined ? set : { ...set, fds });
  }

  #place(bar: number): number {
    return (this.#regions[bar] as KernelRegion).fileOffset;
  }

  #register(offset: number): number {
    this.configRead(offset, this.#dword, 0, 4);
    return new DataView(this.#dword.buffer).getUint32(0, true);
  }

  /** An I/O BAR is not shown: no VF has one. */
  #bar({ index, size, areas }: KernelRegion): Bar {
    const low = this.#register(PCI.BASE_ADDRESS_0 + 4 * index);
    if (size === 0 || (low & BASE_ADDRESS.IO) !== 0) return NO_BAR;
    return {
      size,
      is64Bit: (low & BASE_ADDRESS.TYPE_MASK) === BASE_ADDRESS.TYPE_64,
      prefetchable: (low & BASE_ADDRESS.PREFETCH) !== 0,
      areas,
    };
  }
}
