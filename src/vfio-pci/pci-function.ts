/**
 * The contract of one PCI function as generic VFIO PCI uses it: the VF itself, emulated or real.
 *
 * Below config-space virtualisation: what is read and written here is the function's own
 * configuration space, its own BARs and its own interrupts.
 */
import type { DmaMapping, MmapArea } from '../vfio/vfio-device.ts';

/** One base address register of a function. */
export interface Bar {
  /** Bytes, a power of two; 0 when not implemented (or the upper half of a 64-bit one). */
  readonly size: number;
  readonly is64Bit: boolean;
  readonly prefetchable: boolean;
  /** Parts that may be mapped. */
  readonly areas: readonly MmapArea[];
}

/** One PCI function. */
export interface PciFunction {
  /** Size of the configuration space in bytes: 256 or 4096. */
  readonly configSize: number;
  /** True for an SR-IOV virtual function: ids and COMMAND.MEMORY are then virtualised. */
  readonly isVirtfn: boolean;
  /** Vendor and device id to show for a VF, whose own registers read as ones (PCI SR-IOV 3.4.1). */
  readonly vendorId: number;
  readonly deviceId: number;
  /** BARs 0 to 5. */
  readonly bars: readonly Bar[];
  /** Vectors of each VFIO interrupt index (INTx 0 or 1, MSI, MSI-X). */
  readonly vectors: { readonly intx: number; readonly msi: number; readonly msix: number };

  /** Reads `count` bytes of the function's configuration space into `bytes` from `at`. */
  configRead(offset: number, bytes: Uint8Array, at: number, count: number): void;
  /** Writes the function's configuration space; access sizes 1, 2 or 4, naturally aligned. */
  configWrite(offset: number, bytes: Uint8Array, at: number, count: number): void;

  /** Reads `count` bytes of BAR `bar` at `offset`; inside the BAR, any size and alignment. */
  barRead(bar: number, offset: number, bytes: Uint8Array, at: number, count: number): void;
  /** Writes `count` bytes of BAR `bar` at `offset`. */
  barWrite(bar: number, offset: number, bytes: Uint8Array, at: number, count: number): void;

  /**
   * Makes room for `vectors` vectors of MSI or MSI-X (`VFIO_PCI_IRQ`) and switches them on, before
   * the first is connected; with 0 gives all back, after the last was disconnected. Absent on a
   * function whose vectors are always there, and which is switched on through its registers.
   * @throws {Fault} ENOSPC when there are not so many to be had; nothing is switched on then
   */
  allocateVectors?(index: number, vectors: number): void;

  /**
   * Connects vector `vector` of interrupt `index` (`VFIO_PCI_IRQ`; all but INTx) to an eventfd, or
   * to nothing with null. The descriptor stays the caller's.
   */
  setIrqTrigger(index: number, vector: number, eventfd: number | null): void;
  /** Raises a vector as if the device had, for VFIO_IRQ_SET_ACTION_TRIGGER loop-back. */
  raiseIrq(index: number, vector: number): void;

  /**
   * Connects a listener to the level of the INTx line (true when asserted), or nothing with null;
   * absent on a function without INTx, which every VF is. A line that is asserted already is told
   * at once.
   */
  connectIntx?(listener: ((asserted: boolean) => void) | null): void;

  /** Tells the function that it may reach a range of guest memory. */
  dmaMap(mapping: DmaMapping): void;
  /** Tells it that the range is gone; it keeps no reference past this call. */
  dmaUnmap(mapping: DmaMapping): void;

  /**
   * Is told of every write of the function to guest memory while it is set; absent on a function
   * that cannot tell.
   */
  onDmaWrite?: ((iova: number, size: number) => void) | undefined;

  /** Function-level reset; resolves when the function answers again. @throws {Fault} EIO */
  functionLevelReset(): Promise<void>;

  /** Lets go of what the function holds. Idempotent. */
  close(): void;
}
