/**
 * The few C library calls that the black-box tests make themselves, apart from src/sys: a witness
 * must not use the code it testifies about.
 *
 * Source: POSIX; sendmsg(2), recvmsg(2), unix(7), memfd_create(2), eventfd(2); x86-64 and arm64
 * Linux layouts of msghdr, iovec and cmsghdr.
 */
import koffi from 'koffi';

const c = koffi.load(null);
const call = {
  socket: c.func('socket', 'int', ['int', 'int', 'int']),
  connect: c.func('connect', 'int', ['int', 'uintptr_t', 'uint32_t']),
  sendmsg: c.func('sendmsg', 'int64_t', ['int', 'uintptr_t', 'int']),
  recvmsg: c.func('recvmsg', 'int64_t', ['int', 'uintptr_t', 'int']),
  shutdown: c.func('shutdown', 'int', ['int', 'int']),
  close: c.func('close', 'int', ['int']),
  poll: c.func('poll', 'int', ['uintptr_t', 'uint64_t', 'int']),
  pipe2: c.func('pipe2', 'int', ['uintptr_t', 'int']),
  eventfd: c.func('eventfd', 'int', ['uint32_t', 'int']),
  memfd_create: c.func('memfd_create', 'int', ['uintptr_t', 'uint32_t']),
  ftruncate: c.func('ftruncate', 'int', ['int', 'int64_t']),
  fcntl: c.func('fcntl', 'int', ['int', 'int', 'uint64_t']),
  read: c.func('read', 'int64_t', ['int', 'uintptr_t', 'uint64_t']),
  pread: c.func('pread', 'int64_t', ['int', 'uintptr_t', 'uint64_t', 'int64_t']),
  pwrite: c.func('pwrite', 'int64_t', ['int', 'uintptr_t', 'uint64_t', 'int64_t']),
  write: c.func('write', 'int64_t', ['int', 'uintptr_t', 'uint64_t']),
  mmap: c.func('mmap', 'uintptr_t', ['uintptr_t', 'uint64_t', 'int', 'int', 'int', 'int64_t']),
  prctl: c.func('prctl', 'int', ['int', 'uint64_t', 'uint64_t', 'uint64_t', 'uint64_t']),
  munmap: c.func('munmap', 'int', ['uintptr_t', 'uint64_t']),
};

const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_NOSIGNAL = 0x4000;
const MSG_DONTWAIT = 0x40;
const MSG_CMSG_CLOEXEC = 0x40000000;
const MSG_CTRUNC = 8;
const POLLIN = 1;
const POLLOUT = 4;
const POLLHUP = 16;
const EAGAIN = 11;
const O_CLOEXEC = 0o2000000;
const F_ADD_SEALS = 1033;

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/** Bytes that one send or receive moves at most. */
const TRANSFER_MAX = 4 * 2 ** 20;

const DATA_AT = 8192;
const MSGHDR_AT = 0;
const IOV_AT = 64;
const SCRATCH_AT = 128;
const CONTROL_AT = 2048;
const CONTROL_SIZE = 2048;

/** One anonymous mapping that holds every structure a call takes. */
const base = call.mmap(0, DATA_AT + TRANSFER_MAX, 3, 0x22, -1, 0) as number;
const room = new Uint8Array(koffi.view(base, DATA_AT + TRANSFER_MAX) as ArrayBuffer);
const view = new DataView(room.buffer, room.byteOffset, room.byteLength);

/** A failed system call; `errno` is positive. */
export class SystemError extends Error {
  readonly errno: number;
  constructor(name: string, errno: number) {
    super(`${name}: errno ${errno}`);
    this.errno = errno;
  }
}

function check(name: string, result: unknown): number {
  const value = Number(result);
  if (value < 0) throw new SystemError(name, koffi.errno());
  return value;
}

function setAddress(at: number, address: number): void {
  view.setBigUint64(at, BigInt(address), true);
}

function cString(text: string): number {
  const bytes = new TextEncoder().encode(`${text}\0`);
  room.set(bytes, SCRATCH_AT);
  return base + SCRATCH_AT;
}

function fillMsghdr(length: number, controlLength: number): void {
  room.fill(0, MSGHDR_AT, MSGHDR_AT + 56);
  setAddress(MSGHDR_AT + 16, base + IOV_AT);
  view.setUint32(MSGHDR_AT + 24, 1, true);
  setAddress(IOV_AT, base + DATA_AT);
  view.setUint32(IOV_AT + 8, length, true);
  view.setUint32(IOV_AT + 12, 0, true);
  if (controlLength > 0) {
    setAddress(MSGHDR_AT + 32, base + CONTROL_AT);
    view.setUint32(MSGHDR_AT + 40, controlLength, true);
  }
}

/** Connects a stream socket to `path`. @throws {SystemError} when nobody listens */
export function connectUnix(path: string): number {
  const fd = check('socket', call.socket(AF_UNIX, SOCK_STREAM_CLOEXEC, 0));
  const bytes = new TextEncoder().encode(path);
  room.fill(0, SCRATCH_AT, SCRATCH_AT + 110);
  view.setUint16(SCRATCH_AT, AF_UNIX, true);
  room.set(bytes, SCRATCH_AT + 2);
  if (Number(call.connect(fd, base + SCRATCH_AT, 3 + bytes.length)) < 0) {
    const error = new SystemError('connect', koffi.errno());
    call.close(fd);
    throw error;
  }
  return fd;
}

/**
 * One sendmsg(2) of at most {@link TRANSFER_MAX} bytes with descriptors, never waiting.
 * @returns bytes taken by the kernel, 0 when the socket is full
 */
export function sendOnce(fd: number, bytes: Uint8Array, fds: readonly number[] = []): number {
  const length = Math.min(bytes.length, TRANSFER_MAX);
  room.set(bytes.subarray(0, length), DATA_AT);
  const controlLength = fds.length === 0 ? 0 : 16 + Math.ceil((4 * fds.length) / 8) * 8;
  fillMsghdr(length, controlLength);
  if (controlLength > 0) {
    room.fill(0, CONTROL_AT, CONTROL_AT + CONTROL_SIZE);
    view.setUint32(CONTROL_AT, 16 + 4 * fds.length, true);
    view.setUint32(CONTROL_AT + 8, SOL_SOCKET, true);
    view.setUint32(CONTROL_AT + 12, SCM_RIGHTS, true);
    for (const [i, one] of fds.entries()) view.setInt32(CONTROL_AT + 16 + 4 * i, one, true);
  }
  const sent = Number(call.sendmsg(fd, base + MSGHDR_AT, MSG_NOSIGNAL | MSG_DONTWAIT));
  if (sent >= 0) return sent;
  if (koffi.errno() === EAGAIN) return 0;
  throw new SystemError('sendmsg', koffi.errno());
}

/** What one recvmsg(2) gave. `bytes` is valid until the next call; empty at the end. */
export interface Received {
  readonly bytes: Uint8Array;
  readonly fds: number[];
  readonly truncated: boolean;
}

/**
 * One recvmsg(2) of at most `max` bytes, never waiting.
 * @returns undefined when nothing is there yet
 */
export function receiveOnce(fd: number, max: number): Received | undefined {
  fillMsghdr(Math.min(max, TRANSFER_MAX), CONTROL_SIZE);
  const flags = MSG_DONTWAIT | MSG_CMSG_CLOEXEC;
  const got = Number(call.recvmsg(fd, base + MSGHDR_AT, flags));
  if (got < 0) {
    if (koffi.errno() === EAGAIN) return undefined;
    throw new SystemError('recvmsg', koffi.errno());
  }
  const fds: number[] = [];
  const end = CONTROL_AT + view.getUint32(MSGHDR_AT + 40, true);
  let at = CONTROL_AT;
  while (at + 16 <= end) {
    const length = view.getUint32(at, true);
    if (length < 16) break;
    for (let i = at + 16; i + 4 <= at + length; i += 4) fds.push(view.getInt32(i, true));
    at += Math.ceil(length / 8) * 8;
  }
  return {
    bytes: room.subarray(DATA_AT, DATA_AT + got),
    fds,
    truncated: (view.getUint32(MSGHDR_AT + 48, true) & MSG_CTRUNC) !== 0,
  };
}

function pollOne(fd: number, events: number, timeoutMs: number): number {
  view.setInt32(SCRATCH_AT, fd, true);
  view.setInt16(SCRATCH_AT + 4, events, true);
  view.setInt16(SCRATCH_AT + 6, 0, true);
  check('poll', call.poll(base + SCRATCH_AT, 1, timeoutMs));
  return view.getInt16(SCRATCH_AT + 6, true);
}

/** Waits until `fd` has something to read or is at its end. @returns false when time is over */
export function waitReadable(fd: number, timeoutMs: number): boolean {
  return pollOne(fd, POLLIN, timeoutMs) !== 0;
}

/** Waits until `fd` takes bytes or is dead. @returns false when time is over */
export function waitWritable(fd: number, timeoutMs: number): boolean {
  return pollOne(fd, POLLOUT, timeoutMs) !== 0;
}

/** Waits until nobody holds the other end of a pipe any more. @returns false when time is over */
export function waitHangUp(fd: number, timeoutMs: number): boolean {
  return (pollOne(fd, 0, timeoutMs) & POLLHUP) !== 0;
}

/** Ends the sending direction of a socket. */
export function shutdownWrite(fd: number): void {
  check('shutdown', call.shutdown(fd, 1));
}

/** Closes a descriptor. */
export function closeFd(fd: number): void {
  call.close(fd);
}

/** A pipe, both ends. */
export function pipe(): { readonly readEnd: number; readonly writeEnd: number } {
  check('pipe2', call.pipe2(base + SCRATCH_AT, O_CLOEXEC));
  return {
    readEnd: view.getInt32(SCRATCH_AT, true),
    writeEnd: view.getInt32(SCRATCH_AT + 4, true),
  };
}

/** A non-blocking eventfd with counter 0. */
export function eventFd(): number {
  return check('eventfd', call.eventfd(0, O_CLOEXEC | 0o4000));
}

/** Takes the counter of an eventfd: its value, now 0 again. */
export function takeCounter(fd: number): number {
  const got = Number(call.read(fd, base + SCRATCH_AT, 8));
  return got === 8 ? Number(view.getBigUint64(SCRATCH_AT, true)) : 0;
}

/** A memfd of `size` bytes that can be sealed. */
export function memFd(size: number): number {
  const fd = check('memfd_create', call.memfd_create(cString('vfio-user-cases'), 3));
  check('ftruncate', call.ftruncate(fd, size));
  return fd;
}

export const F_SEAL = { SEAL: 1, SHRINK: 2, GROW: 4, WRITE: 8 } as const;

/** Adds seals to a memfd. @returns false when refused (EBUSY: somebody maps it writable) */
export function addSeals(fd: number, seals: number): boolean {
  return Number(call.fcntl(fd, F_ADD_SEALS, seals)) === 0;
}

/** Reads `count` bytes of a file at `offset`. */
export function readAt(fd: number, offset: number, count: number): Uint8Array {
  const got = check('pread', call.pread(fd, base + DATA_AT, count, offset));
  return room.slice(DATA_AT, DATA_AT + got);
}

/** Writes bytes to a file at `offset`. */
export function writeAt(fd: number, offset: number, bytes: Uint8Array): void {
  room.set(bytes, DATA_AT);
  check('pwrite', call.pwrite(fd, base + DATA_AT, bytes.length, offset));
}

/** Maps `size` bytes of a file shared. @throws {SystemError} */
export function mapShared(
  fd: number,
  offset: bigint,
  size: number,
  writable: boolean,
): { readonly bytes: Uint8Array; unmap(): void } {
  const address = call.mmap(0, size, writable ? 3 : 1, 1, fd, offset) as number | bigint;
  if (BigInt(address) === 0xffff_ffff_ffff_ffffn || Number(address) > 2 ** 63)
    throw new SystemError('mmap', koffi.errno());
  const bytes = new Uint8Array(koffi.view(Number(address), size) as ArrayBuffer);
  return { bytes, unmap: () => void call.munmap(Number(address), size) };
}

/** Ends this process when its parent ends, however that happens. */
export function dieWithParent(): void {
  check('prctl', call.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
}
