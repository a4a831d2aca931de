/**
 * The device of the conformance suite: small, complete, and steerable through its own BAR0, so that
 * a client that knows only the protocol can make it interrupt, do DMA, dawdle and fail.
 */
import { ftruncateSync, openSync, unlinkSync } from 'node:fs';
import { Fault } from '../../src/base/fault.ts';
import { dataView } from '../../src/base/int.ts';
import type { MigState } from '../../src/vfio/migration-state.ts';
import {
  VFIO_DEVICE_FLAGS,
  VFIO_IRQ_INFO,
  VFIO_MIGRATION,
  VFIO_PCI_NUM_IRQS,
  VFIO_PCI_NUM_REGIONS,
  VFIO_REGION_INFO_FLAG,
} from '../../src/vfio/uapi.ts';
import type {
  DmaLogRange,
  DmaMapping,
  IrqInfo,
  IrqSet,
  MigrationData,
  MmapArea,
  PrecopyInfo,
  RegionInfo,
  VfioDevice,
} from '../../src/vfio/vfio-device.ts';
import { CaseConfigSpace } from './case-config-space.ts';
import { CaseDma } from './case-dma.ts';
import { CaseIrqs } from './case-irqs.ts';
import { CaseMigration } from './case-migration.ts';
import { BAR0, BAR0_SIZE, BUFFER, type CaseDeviceOptions, COMMAND } from './case-registers.ts';

const { READ, WRITE } = VFIO_REGION_INFO_FLAG;
const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/** The conformance suite's device. */
export class CaseDevice implements VfioDevice {
  readonly info: VfioDevice['info'];
  readonly migrationFlags: number;
  precopyInfoV2 = false;
  readonly #options: CaseDeviceOptions;
  readonly #memory = new Uint8Array(BAR0_SIZE);
  readonly #registers = dataView(this.#memory);
  readonly #config = new CaseConfigSpace();
  readonly #irqs: CaseIrqs;
  readonly #fd: number;
  readonly #areas: ReadonlyMap<number, readonly MmapArea[]>;
  readonly #dma = new CaseDma();
  readonly #migration: CaseMigration;

  constructor(options: CaseDeviceOptions = {}) {
    this.#options = options;
    this.migrationFlags =
      options.migrationFlags ??
      VFIO_MIGRATION.STOP_COPY | VFIO_MIGRATION.P2P | VFIO_MIGRATION.PRE_COPY;
    const canReset = options.canReset ?? true;
    this.info = {
      flags: VFIO_DEVICE_FLAGS.PCI | (canReset ? VFIO_DEVICE_FLAGS.RESET : 0),
      numRegions: VFIO_PCI_NUM_REGIONS,
      numIrqs: VFIO_PCI_NUM_IRQS,
    };
    const path = `${options.path ?? `/dev/shm/case-device-${process.pid}`}.memory`;
    this.#fd = openSync(path, 'wx+');
    unlinkSync(path);
    ftruncateSync(this.#fd, 2 ** 20);
    const area = (offset: number, size: number, fdOffset: number): MmapArea => ({
      offset,
      size,
      fd: this.#fd,
      fdOffset,
    });
    this.#areas = new Map([
      [2, [area(0x1000, 0x1000, 0x1000), area(0x4000, 0x2000, 0x4000)]],
      [4, [area(0, 0x10000, 0x80000)]],
    ]);
    this.#irqs = new CaseIrqs();
    this.#migration = new CaseMigration(this.migrationFlags, {
      get: (register) => this.#get(register),
      told: (register) => this.#told(register),
      set: (register, value) => this.#set(register, value),
      logArc: (at, arc) => {
        this.#memory[BAR0.ARC_LOG + at] = arc;
      },
      streamLength: () => (options.steerable === false ? 10_000 : this.#get(BAR0.STREAM_LENGTH)),
      dawdle: () => this.#dawdle(),
    });
    this.#powerOn();
  }

  #powerOn(): void {
    const resets = this.#get(BAR0.RESET_COUNT);
    this.#memory.fill(0);
    this.#set(BAR0.ID, 0x4553_4143);
    this.#set(BAR0.RESET_COUNT, resets);
    this.#set(BAR0.STREAM_LENGTH, 10_000);
    this.#showMaps();
    this.#config.reset();
  }

  #get(register: number): number {
    return this.#registers.getUint32(register, true);
  }

  /** What the client told the device to do; nothing when it cannot be steered. */
  #told(register: number): number {
    return this.#options.steerable === false ? 0 : this.#get(register);
  }

  #set(register: number, value: number): void {
    this.#registers.setUint32(register, value, true);
  }

  regionInfo(index: number): RegionInfo {
    if (index >= VFIO_PCI_NUM_REGIONS) throw new Fault('EINVAL', `no region ${index}`);
    const size = [BAR0_SIZE, 0, 0x8000, 0, 0x10000, 0, 0, 256, 0][index] ?? 0;
    const areas = this.#areas.get(index) ?? [];
    const flags = areas.length > 0 ? VFIO_REGION_INFO_FLAG.MMAP : 0;
    return { index, size, areas, flags: size === 0 ? 0 : READ | WRITE | flags };
  }

  irqInfo(index: number): IrqInfo {
    const count = CaseIrqs.counts[index];
    if (count === undefined) throw new Fault('EINVAL', `no interrupt ${index}`);
    const { EVENTFD, MASKABLE, AUTOMASKED, NORESIZE } = VFIO_IRQ_INFO;
    return { index, count, flags: EVENTFD | (index === 0 ? MASKABLE | AUTOMASKED : NORESIZE) };
  }

  setIrqs(set: IrqSet): void {
    this.#irqs.set(set);
  }

  #check(index: number, offset: number, count: number): void {
    const { size } = this.regionInfo(index);
    if (!(offset + count <= size)) throw new Fault('EINVAL', `outside of region ${index}`);
    const breaks = offset < BAR0.BROKEN + 4 && offset + count > BAR0.BROKEN;
    if (index === 0 && breaks && this.#options.steerable !== false)
      throw new Fault('EIO', 'the broken register');
  }

  regionRead(index: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.#check(index, offset, count);
    if (index === 0) {
      bytes.set(this.#memory.subarray(offset, offset + count), at);
    } else if (index === 7) {
      this.#config.read(offset, bytes, at, count);
    } else {
      bytes.fill(0, at, at + count);
    }
  }

  regionWrite(index: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.#check(index, offset, count);
    const source = bytes.subarray(at, at + count);
    if (index === 7) this.#config.write(offset, source);
    if (index !== 0) return;
    this.#memory.set(source, offset);
    if (offset !== BAR0.COMMAND || count !== 4 || this.#options.steerable === false) return;
    try {
      this.#command(this.#get(BAR0.COMMAND));
      this.#set(BAR0.RESULT, 0);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.#set(BAR0.RESULT, error.errno);
    }
  }

  #command(command: number): void {
    const [a, b, c] = [this.#get(BAR0.ARG0), this.#get(BAR0.ARG1), this.#get(BAR0.ARG2)];
    if (command === COMMAND.RAISE_IRQ) this.#irqs.raise(a, b);
    else if (command === COMMAND.DMA_READ || command === COMMAND.DMA_WRITE) {
      const buffer = this.#memory.subarray(BUFFER, BUFFER + c);
      this.#dma.transfer(b * 2 ** 32 + a, buffer, command === COMMAND.DMA_WRITE);
    } else throw new Fault('EINVAL', `no command ${command}`);
  }

  dmaMap(mapping: DmaMapping): void {
    this.#dma.map(mapping);
    this.#showMaps();
  }

  dmaUnmap(iova: number, size: number): void {
    this.#dma.unmap(iova, size);
    this.#showMaps();
  }

  dmaUnmapAll(): void {
    this.#dma.unmapAll();
    this.#showMaps();
  }

  #showMaps(): void {
    this.#set(BAR0.MAP_COUNT, this.#dma.mapCount);
    this.#set(BAR0.WINDOW_COUNT, this.#dma.windowCount);
  }

  /** Takes its time: as a promise, or on the spot when SLOW_BLOCKS is set. */
  async #dawdle(): Promise<void> {
    const ms = this.#told(BAR0.SLOW_MS);
    if (ms === 0) return;
    if (this.#told(BAR0.SLOW_BLOCKS) !== 0) Atomics.wait(PAUSE, 0, 0, ms);
    else await new Promise((resolve) => setTimeout(resolve, ms));
  }

  async reset(): Promise<void> {
    if ((this.info.flags & VFIO_DEVICE_FLAGS.RESET) === 0)
      throw new Fault('EINVAL', 'cannot be reset');
    await this.#dawdle();
    this.#migration.reset();
    this.#set(BAR0.RESET_COUNT, this.#get(BAR0.RESET_COUNT) + 1);
    this.#powerOn();
  }

  async migrationState(): Promise<MigState> {
    return this.#migration.state;
  }

  async setMigrationState(state: number): Promise<MigrationData | undefined> {
    return await this.#migration.set(state);
  }

  async migrationDataSize(): Promise<number> {
    return this.#migration.dataSize();
  }

  async precopyInfo(): Promise<PrecopyInfo> {
    return this.#migration.precopyInfo();
  }

  enablePrecopyInfoV2(): void {
    if ((this.migrationFlags & VFIO_MIGRATION.PRE_COPY) === 0)
      throw new Fault('EINVAL', 'no pre-copy');
    this.precopyInfoV2 = true;
  }

  #needLogging(): void {
    if (this.#options.dmaLogging === false) throw new Fault('ENOTTY', 'no DMA logging');
  }

  dmaLoggingStart(_pageSize: number, ranges: readonly DmaLogRange[]): void {
    this.#needLogging();
    this.#dma.startLogging(ranges);
  }

  dmaLoggingStop(): void {
    this.#needLogging();
    this.#dma.stopLogging();
  }

  dmaLoggingReport(iova: number, length: number, pageSize: number, bitmap: Uint8Array): void {
    this.#needLogging();
    this.#dma.report(iova, length, pageSize, bitmap);
  }

  async close(): Promise<void> {
    this.#migration.endFiles();
    this.#irqs.releaseAll();
    this.dmaUnmapAll();
    this.#dma.stopLogging();
  }
}
