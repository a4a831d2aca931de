/**
 * The guest memory that a client has offered: which ranges there are, and how each is reached.
 *
 * Source: QEMU docs/interop/vfio-user.rst, VFIO_USER_DMA_MAP; drivers/vfio/vfio_iommu_type1.c
 * (checks of sizes and flags).
 */
import { Fault } from '../base/fault.ts';
import { closeFd, dupFd, fstat, isReadOnly, SEAL, sealsOf } from '../sys/descriptor.ts';
import { Mapping, PAGE_SIZE } from '../sys/mapping.ts';
import { VFIO_DMA_MAP_FLAG } from '../vfio/uapi.ts';
import type { DmaMapping, DmaMemory } from '../vfio/vfio-device.ts';

/** Reads and writes guest memory by messages to the client. */
export interface DmaPort {
  /** @throws {Fault} EIO, ETIMEDOUT */
  read(address: number, target: Uint8Array): void;
  /** @throws {Fault} EIO, ETIMEDOUT */
  write(address: number, source: Uint8Array): void;
}

/** What DMA_MAP asks for, decoded. */
export interface DmaRequest {
  /** Offset in the descriptor. */
  readonly offset: number;
  readonly address: number;
  readonly size: number;
  readonly flags: number;
}

const { READ, WRITE } = VFIO_DMA_MAP_FLAG;

function checkInside(size: number, offset: number, length: number): void {
  if (offset < 0 || offset + length > size)
    throw new Fault('EINVAL', `${offset}+${length} is outside of a mapping of ${size} bytes`);
}

function checkAllowed(flags: number, wanted: number): void {
  if ((flags & wanted) === 0)
    throw new Fault(
      'EACCES',
      `this guest memory may not be ${wanted === READ ? 'read' : 'written'}`,
    );
}

/** Guest memory that is mapped here. */
class MappedMemory implements DmaMemory {
  readonly windows: readonly Uint8Array[];
  readonly #mapping: Mapping;
  readonly #flags: number;
  #pages: (() => Mapping) | undefined;
  #native: Mapping | undefined;

  /** @param pages maps the pages themselves, of which a mapping for reading alone has copies */
  constructor(mapping: Mapping, flags: number, pages: () => Mapping) {
    this.#mapping = mapping;
    this.#flags = flags;
    this.#pages = pages;
    this.windows = mapping.windows();
  }

  nativeAddress(): number | undefined {
    this.#native ??= this.#pages?.();
    return this.#native?.address;
  }

  /** The descriptor that the memory came with is about to be closed. */
  handedOver(): void {
    this.#pages = undefined;
  }

  read(offset: number, target: Uint8Array): void {
    checkInside(this.#mapping.size, offset, target.length);
    checkAllowed(this.#flags, READ);
    if (target.length > 0) target.set(this.#mapping.view(offset, target.length));
  }

  write(offset: number, source: Uint8Array): void {
    checkInside(this.#mapping.size, offset, source.length);
    checkAllowed(this.#flags, WRITE);
    if (source.length > 0) this.#mapping.view(offset, source.length).set(source);
  }

  close(): void {
    this.#native?.close();
    this.#mapping.close();
  }
}

/** Guest memory that only the client can reach. */
class MessageMemory implements DmaMemory {
  readonly windows = undefined;
  readonly #port: DmaPort;
  readonly #request: DmaRequest;
  #closed = false;

  constructor(port: DmaPort, request: DmaRequest) {
    this.#port = port;
    this.#request = request;
  }

  #check(offset: number, length: number, wanted: number): void {
    if (this.#closed) throw new Fault('EIO', 'this guest memory is no longer mapped');
    checkInside(this.#request.size, offset, length);
    checkAllowed(this.#request.flags, wanted);
  }

  read(offset: number, target: Uint8Array): void {
    this.#check(offset, target.length, READ);
    this.#port.read(this.#request.address + offset, target);
  }

  write(offset: number, source: Uint8Array): void {
    this.#check(offset, source.length, WRITE);
    this.#port.write(this.#request.address + offset, source);
  }

  handedOver(): void {
    // Messages need no descriptor.
  }

  close(): void {
    this.#closed = true;
  }
}

interface Entry extends DmaMapping {
  readonly memory: MappedMemory | MessageMemory;
  readonly request: DmaRequest;
  /** Descriptor of the memory, for a process that takes the client over; -1 when there is none. */
  readonly fd: number;
}

/** A range as it was mapped; the descriptor is borrowed, -1 for memory that messages reach. */
export interface DmaEntry {
  readonly request: DmaRequest;
  readonly fd: number;
}

/**
 * Judges the range of a DMA_MAP.
 *
 * @throws {Fault} EINVAL when it is empty, unaligned, wraps, or neither readable nor writable
 */
function checkRequest({ offset, address, size, flags }: DmaRequest, hasFd: boolean): void {
  if ((flags & ~(READ | WRITE)) !== 0)
    throw new Fault('EINVAL', `DMA flags 0x${flags.toString(16)} has unknown bits`);
  if (flags === 0) throw new Fault('EINVAL', 'a DMA mapping that is neither readable nor writable');
  if (size === 0) throw new Fault('EINVAL', 'an empty DMA mapping');
  if (!Number.isSafeInteger(address + size))
    throw new Fault('EINVAL', 'a DMA mapping that ends above 2^53-1');
  if (address % PAGE_SIZE !== 0 || size % PAGE_SIZE !== 0)
    throw new Fault('EINVAL', `DMA mapping ${address}+${size} is not whole pages`);
  if (hasFd && (!Number.isSafeInteger(offset + size) || offset % PAGE_SIZE !== 0))
    throw new Fault('EINVAL', `a DMA mapping cannot begin at ${offset} of its file`);
}

/** The ranges of one client, in order of their addresses. */
export class DmaTable {
  readonly #entries: Entry[] = [];
  readonly #port: DmaPort;
  readonly #maxMaps: number;
  readonly #trusted: boolean;

  /**
   * @param trusted true when the client may offer memory that it can take away again: touching
   * that ends this process
   */
  constructor(port: DmaPort, maxMaps: number, trusted: boolean) {
    this.#port = port;
    this.#maxMaps = maxMaps;
    this.#trusted = trusted;
  }

  /** Position of the first range that ends above `address`. */
  #position(address: number): number {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const entry = this.#entries[middle] as Entry;
      if (entry.iova + entry.size <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /**
   * Takes a range in.
   *
   * @param fd descriptor of the memory, borrowed; -1 for none
   * @param accept hands the mapping to the device; when it throws, nothing stays behind
   * @returns true when the memory is mapped here, false when it is reached by messages
   * @throws {Fault} EINVAL, EEXIST when any part is mapped, ENOSPC, the errno of mmap(2)
   */
  map(request: DmaRequest, fd: number, accept: (mapping: DmaMapping) => void): boolean {
    checkRequest(request, fd >= 0);
    const { address: iova, size, flags } = request;
    const position = this.#position(iova);
    const next = this.#entries[position];
    if (next !== undefined && next.iova < iova + size)
      throw new Fault('EEXIST', `a part of ${iova}+${size} is mapped already`);
    if (this.#entries.length >= this.#maxMaps)
      throw new Fault('ENOSPC', `there are ${this.#maxMaps} DMA mappings already`);
    const memory = this.#reach(request, fd);
    const kept = fd < 0 ? -1 : dupFd(fd);
    const entry: Entry = { iova, size, flags, memory, request, fd: kept };
    try {
      accept(entry);
    } catch (error) {
      memory.close();
      closeFd(kept);
      throw error;
    }
    memory.handedOver();
    this.#entries.splice(position, 0, entry);
    return memory.windows !== undefined;
  }

  #reach(request: DmaRequest, fd: number): Entry['memory'] {
    if (fd < 0) return new MessageMemory(this.#port, request);
    if (!this.#trusted && (sealsOf(fd) & SEAL.SHRINK) === 0)
      return new MessageMemory(this.#port, request);
    const { offset, size, flags } = request;
    const stat = fstat(fd);
    if (stat.isRegular && offset + size > stat.size)
      throw new Fault('EINVAL', `${offset}+${size} is outside of a file of ${stat.size} bytes`);
    const writable = (flags & WRITE) !== 0;
    if (writable && isReadOnly(fd))
      throw new Fault('EACCES', 'a writable DMA mapping of a descriptor that is read-only');
    const mapping = Mapping.ofFd(fd, size, { fdOffset: offset, readOnly: !writable });
    const pages = () => (writable ? mapping : Mapping.readOnlyOfFd(fd, size, offset));
    return new MappedMemory(mapping, flags, pages);
  }

  /** Takes exactly this range out. @throws {Fault} ENOENT when it is none, EINVAL when unaligned */
  unmap(iova: number, size: number, release: () => void): void {
    const position = this.#position(iova);
    const entry = this.#entries[position];
    if (entry === undefined || entry.iova !== iova || entry.size !== size)
      throw new Fault('ENOENT', `${iova}+${size} is no DMA mapping`);
    release();
    this.#entries.splice(position, 1);
    entry.memory.close();
    closeFd(entry.fd);
  }

  /** The ranges in order. */
  get entries(): readonly DmaEntry[] {
    return this.#entries;
  }

  /** The ranges that a device may have written, in order of their addresses. */
  writable(): readonly DmaMapping[] {
    return this.#entries.filter(({ flags }) => (flags & WRITE) !== 0);
  }

  /**
   * Has the client write bytes that are there already, so that it knows of them: what a device wrote
   * into memory that is mapped here only its log has seen.
   *
   * @throws {Fault} EIO, ETIMEDOUT, ECONNRESET
   */
  rewrite({ iova, memory }: DmaMapping, offset: number, length: number): void {
    const bytes = new Uint8Array(length);
    memory.read(offset, bytes);
    this.#port.write(iova + offset, bytes);
  }

  /** Takes every range out, after the device has let go of them. */
  clear(): void {
    for (const entry of this.#entries.splice(0)) {
      entry.memory.close();
      closeFd(entry.fd);
    }
  }
}
