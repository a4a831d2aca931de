/**
 * The C library, as numbers in and numbers out.
 *
 * Every native call of the project goes through this file. Pointers are declared as integers and
 * passed as numbers: no structure, Buffer or bigint is converted on the way, which is what makes a
 * call cost little more than the system call itself.
 */
import { createRequire } from 'node:module';
import type Koffi from 'koffi';
import { errnoName, knownErrno } from '../base/errno.ts';
import { Fault } from '../base/fault.ts';

// koffi's ES module re-exports a CommonJS file; requiring that file starts 20 ms sooner.
const koffi = createRequire(import.meta.url)('koffi') as typeof Koffi;

const lib = koffi.load(null);

/** A file descriptor, a size, an address and a signed 64-bit result. */
const FD = 'int';
const SIZE = 'uintptr_t';
const ADDRESS = 'uintptr_t';
const RESULT = 'int64_t';

function native<T>(name: string, result: string, parameters: string[]): T {
  return lib.func(name, result, parameters) as unknown as T;
}

type Numbers<N extends number, T extends number[] = []> = T['length'] extends N
  ? (...values: T) => number
  : Numbers<N, [...T, number]>;

/** The calls that are used; each returns -1 on failure, see {@link lastErrno}. */
export const libc = {
  accept4: native<Numbers<4>>('accept4', FD, [FD, ADDRESS, ADDRESS, 'int']),
  bind: native<Numbers<3>>('bind', 'int', [FD, ADDRESS, 'int']),
  close: native<Numbers<1>>('close', 'int', [FD]),
  connect: native<Numbers<3>>('connect', 'int', [FD, ADDRESS, 'int']),
  epoll_create1: native<Numbers<1>>('epoll_create1', FD, ['int']),
  epoll_ctl: native<Numbers<4>>('epoll_ctl', 'int', [FD, 'int', FD, ADDRESS]),
  epoll_wait: native<Numbers<4>>('epoll_wait', 'int', [FD, ADDRESS, 'int', 'int']),
  eventfd: native<Numbers<2>>('eventfd', FD, ['uint', 'int']),
  fallocate: native<Numbers<4>>('fallocate', 'int', [FD, 'int', RESULT, RESULT]),
  fcntl: native<Numbers<3>>('fcntl', 'int', [FD, 'int', 'long']),
  flock: native<Numbers<2>>('flock', 'int', [FD, 'int']),
  fstat: native<Numbers<2>>('fstat', 'int', [FD, ADDRESS]),
  ftruncate: native<Numbers<2>>('ftruncate', 'int', [FD, RESULT]),
  getsockopt: native<Numbers<5>>('getsockopt', 'int', [FD, 'int', 'int', ADDRESS, ADDRESS]),
  ioctl: native<Numbers<3>>('ioctl', 'int', [FD, 'ulong', ADDRESS]),
  listen: native<Numbers<2>>('listen', 'int', [FD, 'int']),
  lseek: native<Numbers<3>>('lseek', RESULT, [FD, RESULT, 'int']),
  madvise: native<Numbers<3>>('madvise', 'int', [ADDRESS, SIZE, 'int']),
  memcpy: native<Numbers<3>>('memcpy', ADDRESS, [ADDRESS, ADDRESS, SIZE]),
  mmap: native<Numbers<6>>('mmap', RESULT, [ADDRESS, SIZE, 'int', 'int', FD, RESULT]),
  munmap: native<Numbers<2>>('munmap', 'int', [ADDRESS, SIZE]),
  poll: native<Numbers<3>>('poll', 'int', [ADDRESS, 'ulong', 'int']),
  pread64: native<Numbers<4>>('pread64', RESULT, [FD, ADDRESS, SIZE, RESULT]),
  prctl: native<Numbers<2>>('prctl', 'int', ['int', 'ulong']),
  read: native<Numbers<3>>('read', RESULT, [FD, ADDRESS, SIZE]),
  // What one message carries fits an int: the kernel moves at most 2 GiB at once.
  recv: native<Numbers<4>>('recv', 'int', [FD, ADDRESS, 'int', 'int']),
  recvmsg: native<Numbers<3>>('recvmsg', 'int', [FD, ADDRESS, 'int']),
  send: native<Numbers<4>>('send', 'int', [FD, ADDRESS, 'int', 'int']),
  sendmsg: native<Numbers<3>>('sendmsg', 'int', [FD, ADDRESS, 'int']),
  setpriority: native<Numbers<3>>('setpriority', 'int', ['int', 'uint', 'int']),
  setsockopt: native<Numbers<5>>('setsockopt', 'int', [FD, 'int', 'int', ADDRESS, 'int']),
  shutdown: native<Numbers<2>>('shutdown', 'int', [FD, 'int']),
  socket: native<Numbers<3>>('socket', FD, ['int', 'int', 'int']),
  socketpair: native<Numbers<4>>('socketpair', 'int', ['int', 'int', 'int', ADDRESS]),
  write: native<Numbers<3>>('write', RESULT, [FD, ADDRESS, SIZE]),
};

const memfdCreate = native<(name: string, flags: number) => number>('memfd_create', FD, [
  'str',
  'uint',
]);

/** `memfd_create(2)`. @param name shown in /proc, at most 249 bytes */
export function memfdCreateRaw(name: string, flags: number): number {
  return memfdCreate(name, flags);
}

/** A shared library. */
export interface NativeLibrary {
  /** One of its functions. @throws {Error} when it has none of that name */
  func<T>(name: string, result: string, parameters: string[]): T;
}

/**
 * Opens a shared library, or what this process has loaded already (`null`).
 *
 * @param name as the dynamic linker looks it up, such as `libxxhash.so.0`
 * @returns undefined when there is none
 */
export function openLibrary(name: string | null): NativeLibrary | undefined {
  try {
    const library = koffi.load(name);
    return {
      func: <T>(symbol: string, result: string, parameters: string[]) =>
        library.func(symbol, result, parameters) as unknown as T,
    };
  } catch {
    return undefined;
  }
}

/** What an asynchronous call of koffi is, beside the function itself. */
type Asynchronous = {
  async(
    fd: number,
    request: number,
    argument: number,
    done: (error: Error | null, result: number) => void,
  ): void;
};

/** `ioctl(2)` on a thread of the library's; resolves with the result and the errno of a failure. */
export function ioctlOnThread(
  fd: number,
  request: number,
  argument: number,
): Promise<{ readonly result: number; readonly errno: number }> {
  return new Promise((resolve, reject) => {
    (libc.ioctl as unknown as Asynchronous).async(fd, request, argument, (error, result) => {
      // The errno of the call is that of this thread only until the next call.
      if (error === null) resolve({ result, errno: result < 0 ? koffi.errno() : 0 });
      else reject(error);
    });
  });
}

/** The errno that the last failed call of this thread left behind. */
export function lastErrno(): number {
  return koffi.errno();
}

/**
 * The Fault of a system call that failed with `errno`.
 *
 * @param what the call and its object, such as `connect to /run/vf1.sock`
 */
export function systemFault(errno: number, what: string, hint?: string): Fault {
  return new Fault(
    knownErrno(errno),
    `${what}: ${errnoName(errno)}`,
    hint === undefined ? {} : { hint },
  );
}

/**
 * `result` unless it is negative.
 *
 * @throws {Fault} the errno of the call that failed
 */
export function checked(result: number, what: string): number {
  if (result < 0) throw systemFault(lastErrno(), what);
  return result;
}

/** An ArrayBuffer over `length` bytes (at most 2 GiB) of native memory at `address`. */
export function nativeBuffer(address: number, length: number): ArrayBuffer {
  return koffi.view(address, length);
}

/** A watch on one descriptor in the thread's own event loop. */
export type LoopWatch = InstanceType<typeof Koffi.node.PollHandle>;

/**
 * Calls `callback` from the event loop whenever `fd` is readable. The event loop makes `fd`
 * non-blocking. The callback runs outside of any task: promises that it settles are seen only
 * after the next task, so it should use `setImmediate`.
 */
export function watchReadable(fd: number, callback: () => void): LoopWatch {
  return koffi.node.poll(fd, { readable: true }, callback);
}
