/**
 * Memory of the emulated device: a memfd that exists only once somebody touches it, so that idle
 * VFs cost no descriptor and no mapping.
 */
import { Fault } from '../base/fault.ts';
import { SEAL } from '../sys/descriptor.ts';
import type { Mapping } from '../sys/mapping.ts';
import { Memfd, nextData, nextHole } from '../sys/memfd.ts';

/** A range of zeroed memory, made when first used. */
export class DeviceMemory {
  /** Bytes. */
  readonly size: number;
  /**
   * Where the memory begins in its descriptor, page aligned; a hole lies before it. A VMM is told one
   * offset for a whole region, so this has to be where the memory lies in its BAR.
   */
  readonly fdOffset: number;
  readonly #name: string;
  #memfd: Memfd | undefined;
  #mapping: Mapping | undefined;
  #closed = false;
  #shared = false;

  /** @param name shown in /proc/PID/maps; @param size bytes, page aligned */
  constructor(name: string, size: number, fdOffset = 0) {
    this.#name = name;
    this.size = size;
    this.fdOffset = fdOffset;
  }

  /** True once the memory exists; until then all of it reads as zero. */
  get exists(): boolean {
    return this.#memfd !== undefined;
  }

  /**
   * The descriptor to map it by, borrowed; makes the memory. Whoever has it may write without
   * anybody being told, see {@link shared}.
   * @throws {Fault} EMFILE, ENOMEM
   */
  get fd(): number {
    this.#shared = true;
    return this.#open().fd;
  }

  /** The same descriptor for the device's own use. */
  get ownFd(): number {
    return this.#open().fd;
  }

  /** True once anybody was given the descriptor, or may have been before it was adopted. */
  get shared(): boolean {
    return this.#shared;
  }

  /** The parts that were ever written, bytes, in order; the rest reads as zero. */
  *extents(): Generator<{ readonly start: number; readonly end: number }> {
    if (this.#memfd === undefined) return;
    const { fd } = this.#memfd;
    const all = this.fdOffset + this.size;
    for (let at = nextData(fd, this.fdOffset); at < all; ) {
      const end = Math.min(nextHole(fd, at), all);
      yield { start: at - this.fdOffset, end: end - this.fdOffset };
      at = nextData(fd, end);
    }
  }

  /**
   * The bytes of `[offset, offset+length)`, at most 1 GiB; makes the memory. The view reads as
   * zero once the memory is closed.
   * @throws {RangeError} outside the memory
   * @throws {Fault} EMFILE, ENOMEM
   */
  view(offset: number, length: number): Uint8Array {
    this.#mapping ??= this.#open().map(this.fdOffset, this.size);
    return this.#mapping.view(offset, length);
  }

  /** Makes all of it zero and gives the pages back. */
  clear(): void {
    this.#memfd?.punchHole(this.fdOffset, this.size);
  }

  /** Makes `[offset, offset+length)` zero and gives whole pages of it back. */
  clearRange(offset: number, length: number): void {
    this.#memfd?.punchHole(this.fdOffset + offset, length);
  }

  /**
   * Takes `memfd`, which a VMM may have mapped, in place of what is there; views that were made
   * before go with it.
   * @returns lets go of what was there, which may take long
   * @throws {Fault} EINVAL when it has another size; nothing has changed then
   */
  adopt(memfd: Memfd): () => void {
    const wanted = this.fdOffset + this.size;
    if (memfd.size !== wanted)
      throw new Fault('EINVAL', `memory of ${memfd.size} bytes in place of ${wanted}`);
    const old = { mapping: this.#mapping, memfd: this.#memfd };
    this.#mapping = undefined;
    this.#memfd = memfd;
    this.#shared = true;
    return () => {
      old.mapping?.close();
      old.memfd?.close();
    };
  }

  /** Has the system find memory for a range now, so that nobody waits for that later. */
  populate(offset: number, length: number): void {
    this.#mapping ??= this.#open().map(this.fdOffset, this.size);
    this.#mapping.populate(offset, length);
  }

  /** Lets go of what is there, which is somebody else's by now: it is zeroed memory again. */
  abandon(): void {
    this.#mapping?.close();
    this.#mapping = undefined;
    this.#memfd?.close();
    this.#memfd = undefined;
    this.#shared = false;
  }

  /** Lets go of it. Idempotent. */
  close(): void {
    this.#closed = true;
    this.abandon();
  }

  #open(): Memfd {
    if (this.#closed) throw new TypeError(`${this.#name} is closed`);
    if (this.#memfd === undefined) {
      this.#memfd = Memfd.create(this.#name, this.fdOffset + this.size);
      // Whoever maps it may not pull it from under the others.
      this.#memfd.seal(SEAL.SHRINK | SEAL.GROW);
    }
    return this.#memfd;
  }
}
