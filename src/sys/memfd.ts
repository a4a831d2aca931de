/** Anonymous files: memory with a descriptor. Source: memfd_create(2), fallocate(2). */
import { addSeals, closeFd, fstat, sealsOf } from './descriptor.ts';
import { checked, libc, memfdCreateRaw } from './libc.ts';
import { Mapping } from './mapping.ts';

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/**
 * Where in the file `fd` the next bytes are that were ever written, at or after `offset`.
 *
 * @returns Infinity when only a hole follows
 */
export function nextData(fd: number, offset: number): number {
  const at = libc.lseek(fd, offset, SEEK_DATA);
  return at < 0 ? Number.POSITIVE_INFINITY : at;
}

/** Where in the file `fd` the data ends in which `offset` is. */
export function nextHole(fd: number, offset: number): number {
  return checked(libc.lseek(fd, offset, SEEK_HOLE), 'find the end of data');
}

/** A memfd; takes memory only where it was written. */
export class Memfd implements Disposable {
  #fd: number;

  /** Takes over descriptor `fd`. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * A new memfd of `size` zero bytes.
   *
   * @param name shown in /proc/PID/maps as `/memfd:name`
   * @throws {Fault} EMFILE, ENOMEM
   */
  static create(name: string, size: number): Memfd {
    const fd = checked(
      memfdCreateRaw(name, MFD_CLOEXEC | MFD_ALLOW_SEALING),
      `create memfd ${name}`,
    );
    const memfd = new Memfd(fd);
    try {
      memfd.truncate(size);
    } catch (error) {
      memfd.close();
      throw error;
    }
    return memfd;
  }

  /** The descriptor, borrowed; -1 once closed. */
  get fd(): number {
    return this.#fd;
  }

  /** Bytes. */
  get size(): number {
    return fstat(this.#fd).size;
  }

  /** Bytes that take memory now. */
  get allocated(): number {
    return fstat(this.#fd).allocated;
  }

  /** Bits of `SEAL`. */
  get seals(): number {
    return sealsOf(this.#fd);
  }

  /** Adds bits of `SEAL`. @throws {Fault} EPERM, EBUSY */
  seal(seals: number): void {
    addSeals(this.#fd, seals);
  }

  /** @throws {Fault} EPERM when a seal forbids it, EFBIG, ENOMEM */
  truncate(size: number): void {
    checked(libc.ftruncate(this.#fd, size), `resize memfd to ${size} bytes`);
  }

  /** Gives `length` bytes at `offset` back to the system; they read as zeros. */
  punchHole(offset: number, length: number): void {
    const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    checked(libc.fallocate(this.#fd, mode, offset, length), 'punch a hole into a memfd');
  }

  /** Maps `size` bytes from `offset`, all unless given. */
  map(offset = 0, size = this.size - offset): Mapping {
    return Mapping.ofFd(this.#fd, size, { fdOffset: offset });
  }

  /** Closes the descriptor; mappings of it live on. Idempotent. */
  close(): void {
    closeFd(this.#fd);
    this.#fd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
