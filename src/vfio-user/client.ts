/**
 * A vfio-user client: a served device as a {@link VfioDevice}.
 *
 * Region access, interrupts and memory are synchronous, as the contract says; whatever may take
 * long leaves the thread to its event loop meanwhile.
 *
 * Source: QEMU docs/interop/vfio-user.rst.
 */
import { Fault } from '../base/fault.ts';
import { Mapping } from '../sys/mapping.ts';
import { MIG_STATE, type MigState } from '../vfio/migration-state.ts';
import type {
  DeviceInfo,
  DmaLogRange,
  DmaMapping,
  IrqInfo,
  IrqSet,
  MigrationData,
  MmapArea,
  PrecopyInfo,
  RegionInfo,
  VfioDevice,
} from '../vfio/vfio-device.ts';
import type { VersionMessage } from './capabilities.ts';
import { ClientAccess, type SingleWrite } from './client-access.ts';
import { type ClientOptions, type Connected, connectLink } from './client-connect.ts';
import { ClientFeatures } from './client-features.ts';
import type { ClientLink } from './client-link.ts';
import type { ClientMemory } from './client-memory.ts';
import { ClientMigrationReader, ClientMigrationWriter } from './client-migration.ts';
import { ClientSetup } from './client-setup.ts';
import { VFIO_USER } from './protocol.ts';

/** Greatest piece of migration data asked for at once; more does not pay. */
const MIGRATION_PIECE = 4 * 2 ** 20;

const { RUNNING, STOP_COPY, PRE_COPY, PRE_COPY_P2P, RESUMING } = MIG_STATE;
const SAVING: readonly number[] = [STOP_COPY, PRE_COPY, PRE_COPY_P2P];

/** What the server said of the device, asked for once. */
interface Facts {
  readonly info: DeviceInfo;
  readonly regions: readonly RegionInfo[];
  readonly irqs: readonly IrqInfo[];
  readonly migrationFlags: number;
}

/** A served device. */
export class VfioUserClient implements VfioDevice {
  readonly info: DeviceInfo;
  readonly migrationFlags: number;
  readonly #version: VersionMessage;
  readonly #link: ClientLink;
  readonly #memory: ClientMemory;
  readonly #access: ClientAccess;
  readonly #features: ClientFeatures;
  readonly #setup: ClientSetup;
  readonly #regions: readonly RegionInfo[];
  readonly #irqs: readonly IrqInfo[];
  readonly #slowTimeoutMs: number;
  readonly #piece: number;
  #data: ClientMigrationReader | ClientMigrationWriter | undefined;

  private constructor(connected: Connected, facts: Facts, setup: ClientSetup) {
    const { link, memory, version, slowTimeoutMs } = connected;
    this.#version = version;
    this.#link = link;
    this.#memory = memory;
    this.#slowTimeoutMs = slowTimeoutMs;
    const { maxDataXferSize } = version.capabilities;
    this.#piece = Math.min(maxDataXferSize, connected.maxDataXferSize, MIGRATION_PIECE);
    this.#access = new ClientAccess(link, maxDataXferSize);
    this.#features = new ClientFeatures(link, slowTimeoutMs, maxDataXferSize);
    this.#setup = setup;
    this.info = facts.info;
    this.migrationFlags = facts.migrationFlags;
    this.#regions = facts.regions;
    this.#irqs = facts.irqs;
  }

  /**
   * Connects to the server at `path`, negotiates and asks what the device is.
   *
   * @throws {Fault} ENOENT, ECONNREFUSED when nobody serves there; EACCES; EBUSY when another
   * client uses the device; ETIMEDOUT; EPROTO for a server that makes no sense
   */
  static async connect(path: string, options: ClientOptions = {}): Promise<VfioUserClient> {
    const connected = await connectLink(path, options);
    const setup = new ClientSetup(connected.link, connected.version.capabilities.maxMsgFds);
    try {
      const info = await setup.deviceInfo();
      const regions: RegionInfo[] = [];
      for (let index = 0; index < info.numRegions; index++) regions.push(setup.regionInfo(index));
      const irqs: IrqInfo[] = [];
      for (let index = 0; index < info.numIrqs; index++) irqs.push(setup.irqInfo(index));
      const migrationFlags = await setup.migrationFlags();
      return new VfioUserClient(connected, { info, regions, irqs, migrationFlags }, setup);
    } catch (error) {
      setup.close();
      connected.link.close();
      throw error;
    }
  }

  /** The capabilities in the server's VERSION reply, as they came. */
  get serverCapabilities(): Readonly<Record<string, unknown>> {
    return this.#version.json;
  }

  /** Why the connection is of no more use, undefined while it is. */
  get lost(): Fault | undefined {
    return this.#link.lost;
  }

  regionInfo(index: number): RegionInfo {
    const info = this.#regions[index];
    if (info === undefined) throw new Fault('EINVAL', `there is no region ${index}`);
    return info;
  }

  irqInfo(index: number): IrqInfo {
    const info = this.#irqs[index];
    if (info === undefined) throw new Fault('EINVAL', `there is no interrupt ${index}`);
    return info;
  }

  /** Maps a part of a region; the caller closes the mapping. @throws {Fault} as mmap(2) */
  mapArea(area: MmapArea): Mapping {
    return Mapping.ofFd(area.fd, area.size, { fdOffset: area.fdOffset });
  }

  regionRead(index: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.#access.read(index, offset, bytes, at, count);
  }

  regionWrite(index: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.#access.write(index, offset, bytes, at, count);
  }

  /** Writes without waiting for it to be done; the next call that waits comes after it. */
  regionPost(index: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.#access.post(index, offset, bytes, at, count);
  }

  /**
   * Does several writes of at most 8 bytes in one message, or one by one where the server does not
   * know that.
   *
   * @throws {Fault} EIO when only some were done; what the server says
   */
  regionWriteMulti(writes: readonly SingleWrite[]): void {
    if (this.#version.capabilities.writeMultiple) this.#access.writeMulti(writes);
    else
      for (const { region, offset, data } of writes)
        this.#access.write(region, offset, data, 0, data.length);
  }

  setIrqs(set: IrqSet): void {
    this.#setup.setIrqs(set);
  }

  /** Offers memory that the server reaches by messages. */
  dmaMap(mapping: DmaMapping): void {
    this.#setup.dmaMap(mapping, -1, 0);
    this.#memory.add(mapping);
  }

  /**
   * Offers memory that the server maps.
   *
   * @param fd the memory's file, borrowed
   * @param fdOffset where `mapping` begins in it
   * @throws {Fault} EEXIST, EINVAL, ENOSPC, EACCES
   */
  dmaMapFd(mapping: DmaMapping, fd: number, fdOffset: number): void {
    this.#setup.dmaMap(mapping, fd, fdOffset);
    // A server may choose messages for memory that it does not trust.
    this.#memory.add(mapping);
  }

  dmaUnmap(iova: number, size: number): void {
    this.#setup.dmaUnmap(iova, size);
    this.#memory.delete(iova);
  }

  dmaUnmapAll(): void {
    for (const { iova, size } of this.#memory.mappings()) this.dmaUnmap(iova, size);
  }

  async reset(): Promise<void> {
    await this.#link.request(VFIO_USER.DEVICE_RESET, () => 0, this.#slowTimeoutMs);
    await this.#endData();
  }

  migrationState(): Promise<MigState> {
    return this.#features.state();
  }

  async setMigrationState(state: number): Promise<MigrationData | undefined> {
    const data = this.#data;
    if (data instanceof ClientMigrationWriter) await data.settle();
    try {
      await this.#features.setState(state);
    } catch (error) {
      await this.#endDataUnlessKept();
      throw error;
    }
    if (data instanceof ClientMigrationReader && SAVING.includes(state)) {
      if (state === STOP_COPY) data.stopped();
      return undefined;
    }
    if (data instanceof ClientMigrationWriter && state === RESUMING) return undefined;
    await this.#endData();
    if (SAVING.includes(state))
      this.#data = new ClientMigrationReader(
        this.#link,
        this.#piece,
        this.#slowTimeoutMs,
        state !== STOP_COPY,
      );
    else if (state === RESUMING)
      this.#data = new ClientMigrationWriter(this.#link, this.#piece, this.#slowTimeoutMs);
    return this.#data;
  }

  /** After a refused change of state: the data goes on only if the state still has it. */
  async #endDataUnlessKept(): Promise<void> {
    const state: number = await this.migrationState().catch(() => RUNNING);
    if (!SAVING.includes(state) && state !== RESUMING) await this.#endData();
  }

  async #endData(): Promise<void> {
    const data = this.#data;
    this.#data = undefined;
    await data?.end();
  }

  migrationDataSize(): Promise<number> {
    return this.#features.dataSize();
  }

  /** Where the server does not know the question, all that is left counts as dirty. */
  async precopyInfo(): Promise<PrecopyInfo> {
    return await this.#features.precopyInfo(this.migrationFlags);
  }

  enablePrecopyInfoV2(): void {
    this.#features.enablePrecopyInfoV2();
  }

  dmaLoggingStart(pageSize: number, ranges: readonly DmaLogRange[]): void {
    this.#features.startLogging(pageSize, ranges);
  }

  dmaLoggingStop(): void {
    this.#features.stopLogging();
  }

  dmaLoggingReport(iova: number, length: number, pageSize: number, bitmap: Uint8Array): void {
    this.#features.reportLogging(iova, length, pageSize, bitmap);
  }

  async close(): Promise<void> {
    this.#link.close();
    await this.#endData();
    this.#setup.close();
    this.#memory.clear();
  }
}
