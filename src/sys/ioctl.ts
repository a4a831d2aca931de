/** Asking drivers through their descriptors. Source: ioctl(2). */
import { checked, ioctlOnThread, libc, systemFault } from './libc.ts';
import { Mapping } from './mapping.ts';

/**
 * A structure in memory that a driver reads and fills. Each call that is under way has one of its own.
 */
export class IoctlArgument implements Disposable {
  readonly #mapping: Mapping;
  /** The structure. */
  readonly view: DataView<ArrayBuffer>;
  readonly bytes: Uint8Array<ArrayBuffer>;

  /** @param size bytes, all zero at first */
  constructor(size: number) {
    this.#mapping = Mapping.anonymous(size);
    this.bytes = this.#mapping.view();
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, size);
  }

  /** Native address of the first byte. */
  get address(): number {
    return this.#mapping.address;
  }

  /** Idempotent. */
  close(): void {
    this.#mapping.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * `ioctl(2)` with a number or an address as argument.
 *
 * @param what the request and its object, such as `reset 0000:03:00.1`
 * @returns the call's own result, 0 or more
 * @throws {Fault} the driver's errno
 */
export function ioctl(fd: number, request: number, argument: number, what: string): number {
  return checked(libc.ioctl(fd, request, argument), what);
}

/**
 * `ioctl(2)` on a thread of its own, for requests that wait for hardware: the caller's thread goes on
 * meanwhile. Neither `fd` nor the memory of the argument may be given up before it is over.
 *
 * @throws {Fault} the driver's errno
 */
export async function ioctlInBackground(
  fd: number,
  request: number,
  argument: number,
  what: string,
): Promise<number> {
  const { result, errno } = await ioctlOnThread(fd, request, argument);
  if (result < 0) throw systemFault(errno, what);
  return result;
}
