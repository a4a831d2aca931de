/**
 * What a client asks and tells a server beside region access: device, regions, interrupts, memory.
 *
 * Source: QEMU docs/interop/vfio-user.rst.
 */
import { Fault } from '../base/fault.ts';
import { closeFd } from '../sys/descriptor.ts';
import { VFIO_DEVICE_FEATURE, VFIO_FEATURE, VFIO_IRQ_SET } from '../vfio/uapi.ts';
import type { DeviceInfo, DmaMapping, IrqInfo, IrqSet, RegionInfo } from '../vfio/vfio-device.ts';
import type { ClientLink } from './client-link.ts';
import { decodeRegionInfo } from './client-regions.ts';
import { CODECS } from './codecs.ts';
import { HEADER_SIZE, VFIO_USER } from './protocol.ts';

/** More than any device of this protocol has: what a server says beyond is a mistake. */
const MOST_REGIONS = 100;
const MOST_IRQS = 50;
/** Room for the reply to DEVICE_GET_REGION_INFO: capabilities of some two thousand areas. */
const REGION_INFO_ROOM = 32768;

/** The questions and orders of one connection. */
export class ClientSetup {
  readonly #link: ClientLink;
  readonly #maxFds: number;
  readonly #regionFds: number[] = [];

  /** @param maxFds descriptors that the server takes in one message */
  constructor(link: ClientLink, maxFds: number) {
    this.#link = link;
    this.#maxFds = maxFds;
  }

  /** @throws {Fault} EPROTO when the counts are beyond reason */
  async deviceInfo(): Promise<DeviceInfo> {
    const { size } = CODECS.deviceInfo;
    const { view, payload } = await this.#link.request(VFIO_USER.DEVICE_GET_INFO, (tx, at) => {
      CODECS.deviceInfo.write(tx, at, { argsz: size, flags: 0, numRegions: 0, numIrqs: 0 });
      return size;
    });
    if (payload.length < size) throw new Fault('EPROTO', 'a device info that is too short');
    const { flags, numRegions, numIrqs } = CODECS.deviceInfo.read(view, 0);
    if (numRegions > MOST_REGIONS || numIrqs > MOST_IRQS)
      throw new Fault('EPROTO', `a device with ${numRegions} regions and ${numIrqs} interrupts`);
    return { flags, numRegions, numIrqs };
  }

  /** @throws {Fault} EPROTO when the server's answer makes no sense */
  regionInfo(index: number): RegionInfo {
    const link = this.#link;
    const { size } = CODECS.regionInfo;
    link.begin();
    CODECS.regionInfo.write(link.channel.txView, HEADER_SIZE, {
      argsz: REGION_INFO_ROOM,
      flags: 0,
      index,
      capOffset: 0,
      size: 0,
      offset: 0,
    });
    const [fd = -1, ...more] = link.callForFds(VFIO_USER.DEVICE_GET_REGION_INFO, size);
    for (const extra of more) closeFd(extra);
    if (fd >= 0) this.#regionFds.push(fd);
    const payload = link.channel.rx.slice(link.reply.at, link.reply.at + link.reply.length);
    return decodeRegionInfo(payload, index, fd);
  }

  /** @throws {Fault} EPROTO when the server's answer makes no sense */
  irqInfo(index: number): IrqInfo {
    const link = this.#link;
    const { size } = CODECS.irqInfo;
    link.begin();
    CODECS.irqInfo.write(link.channel.txView, HEADER_SIZE, {
      argsz: size,
      flags: 0,
      index,
      count: 0,
    });
    link.call(VFIO_USER.DEVICE_GET_IRQ_INFO, size);
    if (link.reply.length < size) throw new Fault('EPROTO', 'an interrupt info that is too short');
    const info = CODECS.irqInfo.read(link.channel.rxView, link.reply.at);
    if (info.index !== index) throw new Fault('EPROTO', `interrupt ${info.index} for ${index}`);
    return { index, flags: info.flags, count: info.count };
  }

  /** `VFIO_MIGRATION` flags; 0 for a device that cannot be migrated. */
  async migrationFlags(): Promise<number> {
    const room = CODECS.feature.size + CODECS.featureMigration.size;
    const flags = VFIO_DEVICE_FEATURE.GET | VFIO_FEATURE.MIGRATION;
    try {
      const { view, payload } = await this.#link.request(VFIO_USER.DEVICE_FEATURE, (tx, at) => {
        CODECS.feature.write(tx, at, { argsz: room, flags });
        return CODECS.feature.size;
      });
      if (payload.length < room) throw new Fault('EPROTO', 'a feature that is too short');
      return CODECS.featureMigration.read(view, CODECS.feature.size).flags;
    } catch (error) {
      // A server without migration refuses the question, with whatever errno it likes.
      if (error instanceof Fault && this.#link.lost === undefined && error.code !== 'EPROTO')
        return 0;
      throw error;
    }
  }

  /**
   * Orders `set`; descriptors go in as many messages as the server's limit asks for, those that
   * are there and those that are not apart. They are closed here, whatever happens.
   */
  setIrqs(set: IrqSet): void {
    const fds = set.fds ?? [];
    try {
      if ((set.flags & VFIO_IRQ_SET.DATA_EVENTFD) === 0) this.#setSome(set, set.bools ?? [], []);
      else
        for (let done = 0; done < fds.length; ) {
          const some = fds.slice(done, done + runLength(fds, done, this.#maxFds));
          const part = { ...set, start: set.start + done, count: some.length };
          this.#setSome(part, [], some[0] === -1 ? [] : some);
          done += some.length;
        }
    } finally {
      for (const fd of fds) closeFd(fd);
    }
  }

  #setSome(set: IrqSet, bools: ArrayLike<number>, fds: readonly number[]): void {
    const link = this.#link;
    const { flags, index, start, count } = set;
    const argsz = CODECS.irqSet.size + bools.length;
    link.begin();
    CODECS.irqSet.write(link.channel.txView, HEADER_SIZE, { argsz, flags, index, start, count });
    link.channel.tx.set(bools, HEADER_SIZE + CODECS.irqSet.size);
    link.call(VFIO_USER.DEVICE_SET_IRQS, argsz, fds);
  }

  /** @param fd the memory's file, borrowed; -1 for none */
  dmaMap({ iova, size, flags }: DmaMapping, fd: number, fdOffset: number): void {
    const link = this.#link;
    const argsz = CODECS.dmaMap.size;
    link.begin();
    CODECS.dmaMap.write(link.channel.txView, HEADER_SIZE, {
      argsz,
      flags,
      offset: fd < 0 ? 0 : fdOffset,
      address: iova,
      size,
    });
    link.call(VFIO_USER.DMA_MAP, argsz, fd < 0 ? undefined : [fd]);
  }

  dmaUnmap(iova: number, size: number): void {
    const link = this.#link;
    const argsz = CODECS.dmaUnmap.size;
    link.begin();
    CODECS.dmaUnmap.write(link.channel.txView, HEADER_SIZE, {
      argsz,
      flags: 0,
      address: iova,
      size,
    });
    link.call(VFIO_USER.DMA_UNMAP, argsz);
  }

  /** Closes the regions' descriptors. Idempotent. */
  close(): void {
    for (const fd of this.#regionFds.splice(0)) closeFd(fd);
  }
}

/** How many descriptors from `from` on are like the first: all there, at most `max`, or all not. */
function runLength(fds: readonly number[], from: number, max: number): number {
  const absent = fds[from] === -1;
  let length = 1;
  while (from + length < fds.length && (fds[from + length] === -1) === absent) {
    if (!absent && length >= max) break;
    length++;
  }
  return length;
}
