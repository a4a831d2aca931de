/**
 * A VFIO PCI device over one PCI function: what Linux's vfio-pci-core does for a device that a VMM
 * opened. Without a variant driver it cannot be migrated.
 *
 * Source: drivers/vfio/pci/vfio_pci_core.c, vfio_pci_rdwr.c.
 */
import { EventChannel } from '../base/event-channel.ts';
import { Fault, toFault } from '../base/fault.ts';
import type { MigState } from '../vfio/migration-state.ts';
import {
  VFIO_DEVICE_FLAGS,
  VFIO_PCI_IRQ,
  VFIO_PCI_NUM_IRQS,
  VFIO_PCI_NUM_REGIONS,
} from '../vfio/uapi.ts';
import type {
  DeviceInfo,
  DmaLogRange,
  DmaMapping,
  IrqInfo,
  IrqSet,
  MigrationData,
  PrecopyInfo,
  RegionInfo,
  VfioDevice,
} from '../vfio/vfio-device.ts';
import type { Attachment } from './attachment.ts';
import { ConfigSpace } from './config-space.ts';
import type { DmaLogger } from './dma-logger.ts';
import { DmaMap } from './dma-map.ts';
import type { EventFds } from './event-fd.ts';
import { clearBusMaster, resetFunction } from './function-reset.ts';
import { PciIrqs } from './irqs.ts';
import type { PciFunction } from './pci-function.ts';
import { PciRegions } from './pci-regions.ts';
import { PCI_CAP_ID } from './pci-regs.ts';

/** What a device is made of. */
export interface VfioPciCoreOptions {
  /** The function; stays the caller's, who closes it when no device uses it any more. */
  readonly pciFunction: PciFunction;
  /** Where writes are logged; without one, and without the function's reports, there is no log. */
  readonly dmaLogger?: DmaLogger | undefined;
  /** How eventfds are signalled and closed. */
  readonly eventFds: EventFds;
}

/** What went wrong without anybody to tell it to. */
export interface VfioPciEvent {
  /** What was tried. */
  readonly during:
    | 'function reset'
    | 'reset on close'
    | 'FLR preparation'
    | 'FLR wait'
    | 'VF stop'
    | 'end of pre-copy';
  readonly fault: Fault;
}

/** An open VFIO PCI device; {@link VfioPciCore.enable} comes before anything else. */
export class VfioPciCore implements VfioDevice {
  /** Faults that Linux would only log. */
  readonly events = new EventChannel<VfioPciEvent>();
  protected readonly pciFunction: PciFunction;
  readonly #eventFds: EventFds;
  readonly #dmaLogger: DmaLogger | undefined;
  readonly #dmaMap = new DmaMap();
  readonly #irqs: PciIrqs;
  #regions: PciRegions | undefined;
  #resetWorks = false;
  #resets: Promise<void> = Promise.resolve();
  #closing: Promise<void> | undefined;

  constructor({ pciFunction, dmaLogger, eventFds }: VfioPciCoreOptions) {
    this.pciFunction = pciFunction;
    this.#eventFds = eventFds;
    this.#dmaLogger = dmaLogger;
    const core = this;
    this.#irqs = new PciIrqs({
      pciFunction,
      eventFds,
      get hasIntx() {
        return core.#open().config.hasIntx;
      },
      enableMessages(index, on) {
        const id = index === VFIO_PCI_IRQ.MSI ? PCI_CAP_ID.MSI : PCI_CAP_ID.MSIX;
        core.#regions?.config.enableMessages(id, on);
      },
    });
  }

  /**
   * Takes the function into use: resets it, and shows its configuration space as it is then.
   * Source: vfio_pci_core_enable
   */
  async enable(): Promise<void> {
    clearBusMaster(this.pciFunction);
    try {
      await this.#resetThroughHandlers();
      this.#resetWorks = true;
    } catch (error) {
      // A function that cannot be reset can be used; it just cannot be reset.
      this.tell('function reset', error);
    }
    const config = new ConfigSpace(this.pciFunction, this.#effects());
    this.#regions = new PciRegions(this.pciFunction, config);
  }

  get info(): DeviceInfo {
    const reset = this.#resetWorks ? VFIO_DEVICE_FLAGS.RESET : 0;
    return {
      flags: VFIO_DEVICE_FLAGS.PCI | reset,
      numRegions: VFIO_PCI_NUM_REGIONS,
      numIrqs: VFIO_PCI_NUM_IRQS,
    };
  }

  regionInfo(index: number): RegionInfo {
    return this.#open().info(index);
  }

  irqInfo(index: number): IrqInfo {
    this.#open();
    return this.#irqs.info(index);
  }

  setIrqs(set: IrqSet): void {
    if (this.#regions === undefined)
      for (const fd of set.fds ?? []) if (fd >= 0) this.#eventFds.close(fd);
    this.#open();
    this.#irqs.set(set);
  }

  /** The `VFIO_PCI_IRQ` index whose vectors are connected to eventfds, undefined for none. */
  get enabledIrq(): number | undefined {
    return this.#irqs.enabled;
  }

  /**
   * Raises an interrupt of this device as the device would.
   * @throws {Fault} EINVAL when there is no such vector, ENOENT when nothing is assigned to it
   */
  raiseIrq(index: number, vector: number): void {
    this.#open();
    this.#irqs.raise(index, vector);
  }

  /** @throws {Fault} EINVAL outside the region, EIO while the device does not decode memory */
  regionRead(index: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.#open().read(index, offset, bytes, at, count);
  }

  /** @throws {Fault} EINVAL outside the region, EIO while the device does not decode memory */
  regionWrite(
    index: number,
    offset: number,
    bytes: Uint8Array,
    at: number,
    count: number,
  ): void | Promise<void> {
    return this.#open().write(index, offset, bytes, at, count);
  }

  dmaMap(mapping: DmaMapping): void {
    this.#open();
    this.#dmaMap.add(mapping);
    try {
      this.pciFunction.dmaMap(mapping);
    } catch (error) {
      this.#dmaMap.remove(mapping.iova, mapping.size);
      throw error;
    }
  }

  dmaUnmap(iova: number, size: number): void {
    this.#open();
    this.pciFunction.dmaUnmap(this.#dmaMap.remove(iova, size));
  }

  dmaUnmapAll(): void {
    // From the end: a function that keeps them sorted then moves none of the others.
    const mappings = this.#dmaMap.removeAll();
    for (let index = mappings.length - 1; index >= 0; index--)
      this.pciFunction.dmaUnmap(mappings[index] as DmaMapping);
  }

  /**
   * Takes away all that its VMM's use consists of, for another device to {@link attach}. This one is
   * then as good as new to a VMM, apart from its state.
   * @throws {Fault} ENODEV; EBUSY while writes are logged, which another device would not see
   */
  detach(): Attachment {
    const attachment = this.attachment();
    this.#irqs.detach();
    this.dmaUnmapAll();
    return attachment;
  }

  /**
   * What {@link detach} would give; all of it stays in use.
   * @throws {Fault} ENODEV; EBUSY as {@link detach}
   */
  attachment(): Attachment {
    const { config } = this.#open();
    if (this.#dmaLogger?.active === true)
      throw new Fault('EBUSY', 'the writes of this device are being logged', {
        hint: 'wait until the migration of the guest is over',
      });
    const mappings = [...this.#dmaMap.mappings];
    return { config: config.state(), irqs: this.#irqs.state, mappings };
  }

  /**
   * Takes over a VMM's use from another device of the same kind; this one must be new.
   * @throws {Fault} EINVAL when it is of another kind, ENODEV; nothing has been taken then
   */
  attach({ config, irqs, mappings }: Attachment): void {
    const open = this.#open();
    open.config.restore(config);
    this.#irqs.attach(irqs);
    try {
      for (const mapping of mappings) this.dmaMap(mapping);
    } catch (error) {
      this.dmaUnmapAll();
      this.#irqs.detach();
      throw error;
    }
  }

  async reset(): Promise<void> {
    this.#open();
    if (!this.#resetWorks) throw new Fault('EINVAL', 'this device cannot be reset');
    await this.#resetThroughHandlers();
  }

  get migrationFlags(): number {
    return 0;
  }

  migrationState(): Promise<MigState> {
    return Promise.reject(this.noMigration());
  }

  setMigrationState(_state: number): Promise<MigrationData | undefined> {
    return Promise.reject(this.noMigration());
  }

  migrationDataSize(): Promise<number> {
    return Promise.reject(this.noMigration());
  }

  precopyInfo(): Promise<PrecopyInfo> {
    return Promise.reject(new Fault('ENOTTY', 'this device has no pre-copy'));
  }

  get precopyInfoV2(): boolean {
    return false;
  }

  enablePrecopyInfoV2(): void {
    throw new Fault('EINVAL', 'this device has no pre-copy');
  }

  get dmaLogging(): boolean {
    return this.#dmaLogger !== undefined && 'onDmaWrite' in this.pciFunction;
  }

  dmaLoggingStart(pageSize: number, ranges: readonly DmaLogRange[]): void {
    const logger = this.#logger();
    logger.start(pageSize, ranges);
    this.pciFunction.onDmaWrite = (iova, size) => logger.wrote(iova, size);
  }

  dmaLoggingStop(): void {
    const logger = this.#logger();
    this.pciFunction.onDmaWrite = undefined;
    logger.stop();
  }

  dmaLoggingReport(iova: number, length: number, pageSize: number, bitmap: Uint8Array): void {
    this.#logger().report(iova, length, pageSize, bitmap);
  }

  /**
   * Ends the use of the function: no interrupt, no mapping, no log is left, and it is reset, but
   * without the variant driver's handlers. Another device can then be opened on it.
   * Source: vfio_pci_core_disable
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Comes before every reset of the open device (`pci_error_handlers.reset_prepare`). */
  protected resetPrepare(): Promise<void> {
    return Promise.resolve();
  }

  /** Comes after every reset, also a failed one (`pci_error_handlers.reset_done`). */
  protected resetDone(): Promise<void> {
    return Promise.resolve();
  }

  /** Resolves when the resets that were asked for so far are over. */
  protected resetsSettled(): Promise<void> {
    return this.#resets;
  }

  /** @throws {Fault} ENODEV before {@link enable} and after {@link close} */
  protected checkOpen(): void {
    this.#open();
  }

  /** What a device without migration answers. */
  protected noMigration(): Fault {
    return new Fault('ENOTTY', 'this device cannot be migrated');
  }

  /** Reports a fault that nobody waits for. */
  protected tell(during: VfioPciEvent['during'], error: unknown): void {
    this.events.emit({ during, fault: toFault(error) });
  }

  async #close(): Promise<void> {
    const config = this.#regions?.config;
    if (this.#dmaLogger?.active === true) this.dmaLoggingStop();
    this.#irqs.release();
    config?.setPowerState(0);
    clearBusMaster(this.pciFunction);
    this.#regions = undefined;
    if (this.#resetWorks) {
      await this.#resets;
      await resetFunction(this.pciFunction).catch((error) => this.tell('reset on close', error));
    }
    // The device is quiet only now: memory that it could still reach stayed mapped until here.
    this.dmaUnmapAll();
  }

  #open(): PciRegions {
    if (this.#regions === undefined) throw new Fault('ENODEV', 'the device is not open');
    return this.#regions;
  }

  #logger(): DmaLogger {
    const logger = this.#dmaLogger;
    if (logger === undefined || !this.dmaLogging)
      throw new Fault('ENOTTY', 'this device cannot log its DMA writes');
    return logger;
  }

  #effects() {
    return {
      functionReset: () =>
        // Linux tells the one who wrote the register nothing about how the reset went.
        this.#resetThroughHandlers().catch((error) => this.tell('function reset', error)),
      intxDisable: (disabled: boolean) => this.#irqs.setIntxDisabled(disabled),
      msiEnabled: () => this.#irqs.enabled === VFIO_PCI_IRQ.MSI,
    };
  }

  /** Source: pci_try_reset_function; one at a time, as the device lock has it. */
  #resetThroughHandlers(): Promise<void> {
    const run = this.#resets.then(async () => {
      await this.resetPrepare();
      try {
        this.#regions?.config.setPowerState(0);
        await resetFunction(this.pciFunction);
      } finally {
        await this.resetDone();
      }
    });
    this.#resets = run.catch(() => undefined);
    return run;
  }
}
