/**
 * A VFIO device of the kernel as VfioDevice: for kernels whose own variant driver can migrate it
 * (xe-vfio-pci or any other), and for mediated devices.
 *
 * The kernel owns the states and the arcs; here are its requests. Whatever may wait for the driver
 * runs on another thread.
 *
 * Source: include/uapi/linux/vfio.h, drivers/vfio/vfio_main.c.
 */

import { EventChannel } from '../base/event-channel.ts';
import { DeviceFault, Fault } from '../base/fault.ts';
import { Mutex } from '../base/mutex.ts';
import { closeFd } from '../sys/descriptor.ts';
import { IoctlArgument } from '../sys/ioctl.ts';
import { systemFault } from '../sys/libc.ts';
import { checkLogRanges, checkLogReport, logBitmapSize } from '../vfio/feature.ts';
import { MIG_STATE, type MigState, nextState } from '../vfio/migration-state.ts';
import { VFIO_DEVICE_FEATURE, VFIO_FEATURE, VFIO_MIGRATION } from '../vfio/uapi.ts';
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
import { DmaMap } from '../vfio-pci/dma-map.ts';
import type { KernelRegion } from './vfio-device-file.ts';
import { type Unreachable, VfioDma } from './vfio-dma.ts';
import { KernelMigrationData } from './vfio-migration-data.ts';
import { type OpenedVfio, type OpenVfioOptions, openVfio } from './vfio-open.ts';
import { encodeStruct as encode, getStruct, putStruct } from './vfio-struct.ts';
import { VFIO_STRUCT } from './vfio-uapi.ts';

const { GET, SET, PROBE } = VFIO_DEVICE_FEATURE;
const { PRE_COPY } = VFIO_MIGRATION;
const NO_DATA = new Uint8Array();
/** Linux's greatest errno. */
const MAX_ERRNO = 4095n;

/** An open device of the kernel. */
export class KernelVfioDevice implements VfioDevice {
  /** Guest memory that the device cannot reach. */
  readonly events = new EventChannel<Unreachable>();
  readonly info: DeviceInfo;
  readonly migrationFlags: number;
  readonly dmaLogging: boolean;
  /** The kernel's size is what the driver expects, not a promise. */
  readonly migrationDataSizeIsEstimate = true;
  readonly #opened: OpenedVfio;
  readonly #regions = new Map<number, KernelRegion>();
  readonly #dmaMap = new DmaMap();
  readonly #dma: VfioDma;
  /** One request that may wait at a time, and none while the device closes. */
  readonly #lock = new Mutex();
  #data: KernelMigrationData | undefined;
  #closing: Promise<void> | undefined;

  /**
   * Opens a device; the kernel resets it when it can.
   *
   * @param address `0000:03:00.1`, or the UUID of a mediated device
   * @throws {Fault} see {@link openVfio}
   */
  static open(address: string, options: OpenVfioOptions = {}): KernelVfioDevice {
    const opened = openVfio(address, options);
    try {
      return new KernelVfioDevice(opened);
    } catch (error) {
      opened.close();
      throw error;
    }
  }

  private constructor(opened: OpenedVfio) {
    this.#opened = opened;
    this.info = opened.file.info();
    this.migrationFlags = this.#askMigration();
    this.dmaLogging = this.#probe(VFIO_FEATURE.DMA_LOGGING_START | SET);
    this.#dma = new VfioDma(opened.iommu, (what) => this.events.emit(what));
  }

  /** What messages call the device. */
  get name(): string {
    return this.#opened.file.name;
  }

  regionInfo(index: number): RegionInfo {
    const { fileOffset, ...info } = this.#region(index);
    return info;
  }

  irqInfo(index: number): IrqInfo {
    return this.#file.irq(index);
  }

  setIrqs(set: IrqSet): void {
    try {
      this.#file.setIrqs(set);
    } finally {
      // The kernel keeps eventfds, not their descriptors.
      for (const fd of set.fds ?? []) closeFd(fd);
    }
  }

  regionRead(index: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.#file.read(this.#place(index, offset, count), bytes, at, count);
  }

  regionWrite(index: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.#file.write(this.#place(index, offset, count), bytes, at, count);
  }

  dmaMap(mapping: DmaMapping): void {
    this.#dmaMap.add(mapping);
    try {
      this.#dma.map(mapping);
    } catch (error) {
      this.#dmaMap.remove(mapping.iova, mapping.size);
      throw error;
    }
  }

  dmaUnmap(iova: number, size: number): void {
    this.#dma.unmap(this.#dmaMap.remove(iova, size));
  }

  dmaUnmapAll(): void {
    this.#dmaMap.removeAll();
    this.#dma.unmapAll();
  }

  reset(): Promise<void> {
    return this.#lock.run(() => this.#file.reset());
  }

  migrationState(): Promise<MigState> {
    return this.#lock.run(() => this.#state());
  }

  /**
   * @throws {Fault} ENOTTY without migration; EINVAL for an illegal state: it is refused here, because
   * xe-vfio-pci of Linux 7.3 stops a VF over one
   * @throws {DeviceFault} when the device is in ERROR since
   */
  setMigrationState(state: number): Promise<MigrationData | undefined> {
    return this.#lock.run(async () => {
      const current = await this.#state();
      if (current === MIG_STATE.ERROR)
        throw new Fault('EIO', `${this.name} is in ERROR`, { hint: 'only a reset recovers it' });
      nextState(current, state, this.migrationFlags);
      const layout = VFIO_STRUCT.device_feature_mig_state;
      const data = encode(layout, { device_state: state, data_fd: -1 });
      const answer = await this.#file
        .feature(VFIO_FEATURE.MIG_DEVICE_STATE | SET, data)
        .catch(async (error: Fault) => {
          throw await this.#worse(error);
        });
      const fd = getStruct(answer, 0, layout).data_fd;
      if (fd < 0) return undefined;
      this.#data?.close();
      const direction = state === MIG_STATE.RESUMING ? 'write' : 'read';
      this.#data = new KernelMigrationData(direction, fd, this.name);
      return this.#data;
    });
  }

  /**
   * What the driver expects that STOP_COPY would deliver.
   * @throws {Fault} ENOTTY; also the errno that xe-vfio-pci of Linux 7.3 gives as a size
   */
  migrationDataSize(): Promise<number> {
    return this.#lock.run(async () => {
      this.#needMigration();
      const layout = VFIO_STRUCT.device_feature_mig_data_size;
      const answer = await this.#file.feature(VFIO_FEATURE.MIG_DATA_SIZE | GET, encode(layout, {}));
      const { stop_copy_length } = getStruct(answer, 0, layout);
      const errno = -BigInt.asIntN(64, stop_copy_length);
      if (errno > 0n && errno <= MAX_ERRNO)
        throw systemFault(Number(errno), `ask for the size of the state of ${this.name}`);
      return Number(stop_copy_length);
    });
  }

  precopyInfo(): Promise<PrecopyInfo> {
    if ((this.migrationFlags & PRE_COPY) === 0)
      return Promise.reject(new Fault('ENOTTY', `${this.name} has no pre-copy`));
    if (this.#data?.direction !== 'read')
      return Promise.reject(new Fault('EINVAL', `${this.name} is in no pre-copy`));
    return this.#data.precopyInfo();
  }

  enablePrecopyInfoV2(): void {
    if ((this.migrationFlags & PRE_COPY) === 0)
      throw new Fault('EINVAL', `${this.name} has no pre-copy`);
    this.#file.featureNow(VFIO_FEATURE.MIG_PRECOPY_INFOv2 | SET, NO_DATA);
  }

  dmaLoggingStart(pageSize: number, ranges: readonly DmaLogRange[]): void {
    this.#needLogging();
    checkLogRanges(pageSize, ranges);
    const layout = VFIO_STRUCT.device_feature_dma_logging_range;
    using list = new IoctlArgument(ranges.length * layout.size);
    for (const [n, { iova, length }] of ranges.entries())
      putStruct(list.view, n * layout.size, layout, { iova, length });
    this.#file.featureNow(
      VFIO_FEATURE.DMA_LOGGING_START | SET,
      encode(VFIO_STRUCT.device_feature_dma_logging_control, {
        page_size: pageSize,
        num_ranges: ranges.length,
        ranges: list.address,
      }),
    );
  }

  dmaLoggingStop(): void {
    this.#needLogging();
    this.#file.featureNow(VFIO_FEATURE.DMA_LOGGING_STOP | SET, NO_DATA);
  }

  dmaLoggingReport(iova: number, length: number, pageSize: number, bitmap: Uint8Array): void {
    this.#needLogging();
    checkLogReport(iova, length, pageSize);
    const size = logBitmapSize(length, pageSize);
    using bits = new IoctlArgument(Math.max(size, 8));
    this.#file.featureNow(
      VFIO_FEATURE.DMA_LOGGING_REPORT | GET,
      encode(VFIO_STRUCT.device_feature_dma_logging_report, {
        iova,
        length,
        page_size: pageSize,
        bitmap: bits.address,
      }),
    );
    for (let at = 0; at < size; at++) bitmap[at] = (bitmap[at] ?? 0) | (bits.bytes[at] ?? 0);
  }

  close(): Promise<void> {
    this.#closing ??= this.#lock.run(async () => {
      this.#data?.close();
      this.#opened.close();
    });
    return this.#closing;
  }

  get #file() {
    if (this.#closing !== undefined) throw new Fault('ENODEV', `${this.name} is closed`);
    return this.#opened.file;
  }

  #region(index: number): KernelRegion {
    const known = this.#regions.get(index) ?? this.#file.region(index);
    this.#regions.set(index, known);
    return known;
  }

  #place(index: number, offset: number, count: number): number {
    const { size, fileOffset } = this.#region(index);
    if (!(offset >= 0 && count >= 0 && offset + count <= size))
      throw new Fault('EINVAL', `${count} bytes at ${offset} are not inside ${size} bytes`);
    return fileOffset + offset;
  }

  #needMigration(): void {
    if (this.migrationFlags === 0)
      throw new Fault('ENOTTY', `the driver of ${this.name} cannot migrate it`);
  }

  #needLogging(): void {
    if (!this.dmaLogging) throw new Fault('ENOTTY', `${this.name} cannot log its DMA writes`);
  }

  #askMigration(): number {
    const layout = VFIO_STRUCT.device_feature_migration;
    try {
      const answer = this.#file.featureNow(VFIO_FEATURE.MIGRATION | GET, encode(layout, {}));
      return Number(getStruct(answer, 0, layout).flags);
    } catch (error) {
      if (error instanceof Fault && error.code === 'ENOTTY') return 0;
      throw error;
    }
  }

  #probe(flags: number): boolean {
    try {
      this.#file.featureNow(flags | PROBE, NO_DATA);
      return true;
    } catch {
      return false;
    }
  }

  async #state(): Promise<MigState> {
    this.#needMigration();
    const layout = VFIO_STRUCT.device_feature_mig_state;
    const answer = await this.#file.feature(
      VFIO_FEATURE.MIG_DEVICE_STATE | GET,
      encode(layout, {}),
    );
    return getStruct(answer, 0, layout).device_state as MigState;
  }

  /** The fault of an arc, as one of the device when that is in ERROR since. */
  async #worse(fault: Fault): Promise<Fault> {
    const state = await this.#state().catch(() => undefined);
    if (state !== MIG_STATE.ERROR) return fault;
    return new DeviceFault(fault.code, `${fault.message}; the device is in ERROR`, {
      cause: fault,
      hint: 'only a reset recovers it',
    });
  }
}
