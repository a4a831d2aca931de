/**
 * Memory that the kernel mapped for us, as views that stay safe after it is gone.
 *
 * Source: mmap(2), madvise(2).
 */
import { checked, libc, nativeBuffer } from './libc.ts';

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 0x01;
const MAP_PRIVATE = 0x02;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_32BIT = 0x40;
const MAP_NORESERVE = 0x4000;
const MADV_POPULATE_WRITE = 23;
const MADV_DONTNEED = 4;

/** The kernel's page size on every machine this runs on. */
export const PAGE_SIZE = 4096;

/** Greatest length of one view: a view of 4 GiB and more ends the process. */
export const MAX_VIEW_SIZE = 2 ** 31;
/** Views start at a multiple of this, so any part of at most 1 GiB lies in a single window. */
const WINDOW_STEP = 2 ** 30;

/** Native address of the first byte of each ArrayBuffer that lies in a mapping. */
const addresses = new WeakMap<ArrayBufferLike, number>();

/**
 * The native address of a view over a {@link Mapping}, or undefined when its bytes belong to
 * JavaScript and may move.
 */
export function addressOf(view: Uint8Array): number | undefined {
  const base = addresses.get(view.buffer);
  return base === undefined ? undefined : base + view.byteOffset;
}

/** A range of addresses and how many still refer to it: the mapping itself and each window. */
interface Range {
  readonly address: number;
  readonly length: number;
  references: number;
}

function release(range: Range): void {
  range.references--;
  if (range.references === 0) libc.munmap(range.address, range.length);
}

// A range is unmapped only after the last window over it was collected: until then a stale view
// reads zeros instead of ending the process.
const collected = new FinalizationRegistry<Range>(release);

/** How {@link Mapping.ofFd} maps. */
export interface MapOptions {
  /** Where the mapping begins in the file; page aligned; 0 unless given. */
  readonly fdOffset?: number;
  /**
   * Map a descriptor that cannot be written: what is written by mistake stays in a private copy
   * instead of ending the process.
   */
  readonly readOnly?: boolean;
}

/** Mapped memory. */
export class Mapping implements Disposable {
  readonly #range: Range;
  readonly #windows = new Map<number, ArrayBuffer>();
  readonly #size: number;
  #closed = false;

  private constructor(size: number, prot: number, flags: number, fd: number, fdOffset: number) {
    if (!Number.isSafeInteger(size) || size <= 0) throw new RangeError(`cannot map ${size} bytes`);
    const length = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
    const address = checked(libc.mmap(0, length, prot, flags, fd, fdOffset), `map ${size} bytes`);
    this.#size = size;
    this.#range = { address, length, references: 1 };
    collected.register(this, this.#range, this);
  }

  /**
   * Maps `size` bytes of a file, a memfd or a device, shared with everybody who maps it.
   *
   * @throws {Fault} the errno of mmap(2): EACCES, ENODEV, ENOMEM, EINVAL ...
   */
  static ofFd(fd: number, size: number, options: MapOptions = {}): Mapping {
    const kind = options.readOnly === true ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED;
    return new Mapping(size, PROT_READ | PROT_WRITE, kind, fd, options.fdOffset ?? 0);
  }

  /**
   * Maps `size` bytes of a file or memfd, shared, to hand their address on: nobody writes here, or
   * the process ends.
   *
   * @throws {Fault} the errno of mmap(2)
   */
  static readOnlyOfFd(fd: number, size: number, fdOffset: number): Mapping {
    return new Mapping(size, PROT_READ, MAP_SHARED, fd, fdOffset);
  }

  /** Maps `size` bytes of zeroed memory that takes room only where it is touched. */
  static anonymous(size: number): Mapping {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    return new Mapping(size, PROT_READ | PROT_WRITE, flags, -1, 0);
  }

  /**
   * As {@link anonymous}, below 2 GiB where there is room: such an address is a small integer to
   * JavaScript, and handing it to a native call allocates nothing.
   */
  static low(size: number): Mapping {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    try {
      return new Mapping(size, PROT_READ | PROT_WRITE, flags | MAP_32BIT, -1, 0);
    } catch {
      return Mapping.anonymous(size);
    }
  }

  /** Bytes. */
  get size(): number {
    return this.#size;
  }

  /** Native address of the first byte. */
  get address(): number {
    return this.#range.address;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * A view of `length` bytes (at most 2 GiB) from `offset`, to the end unless given. Views of at
   * most 1 GiB share a few ArrayBuffers.
   */
  view(offset = 0, length = this.#size - offset): Uint8Array<ArrayBuffer> {
    if (offset < 0 || length < 0 || offset + length > this.#size)
      throw new RangeError(`view ${offset}+${length} is outside of ${this.#size} bytes`);
    if (length > MAX_VIEW_SIZE)
      throw new RangeError(`a view of ${length} bytes is above ${MAX_VIEW_SIZE}`);
    let start = Math.floor(offset / WINDOW_STEP) * WINDOW_STEP;
    if (offset + length > start + MAX_VIEW_SIZE) start = offset;
    return new Uint8Array(this.#window(start), offset - start, length);
  }

  /** The whole mapping as views of at most 2 GiB, in order. */
  windows(): Uint8Array<ArrayBuffer>[] {
    const views: Uint8Array<ArrayBuffer>[] = [];
    for (let at = 0; at < this.#size; at += MAX_VIEW_SIZE)
      views.push(this.view(at, Math.min(MAX_VIEW_SIZE, this.#size - at)));
    return views;
  }

  #window(start: number): ArrayBuffer {
    const known = this.#windows.get(start);
    if (known !== undefined) return known;
    if (this.#closed) throw new RangeError('the mapping is closed');
    const address = this.#range.address + start;
    const window = nativeBuffer(address, Math.min(MAX_VIEW_SIZE, this.#size - start));
    addresses.set(window, address);
    this.#range.references++;
    collected.register(window, this.#range);
    this.#windows.set(start, window);
    return window;
  }

  /** Has the system find memory for `[offset, offset+length)` now; older kernels wait until it is used. */
  populate(offset: number, length: number): void {
    libc.madvise(this.#range.address + offset, length, MADV_POPULATE_WRITE);
  }

  /** Gives the pages of an anonymous mapping back; they read as zeros afterwards. */
  discard(offset: number, length: number): void {
    if (this.#closed || length === 0) return;
    libc.madvise(this.#range.address + offset, length, MADV_DONTNEED);
  }

  /** Lets go of the memory at once; views that are still held read zeros. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    collected.unregister(this);
    if (this.#windows.size > 0) {
      const { address, length } = this.#range;
      const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
      checked(
        libc.mmap(address, length, PROT_READ | PROT_WRITE, flags, -1, 0),
        'map zeros over a closed mapping',
      );
      this.#windows.clear();
    }
    release(this.#range);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
