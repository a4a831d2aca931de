/** Plain operations on file descriptors. Source: close(2), fcntl(2), fstat(2). */
import { checked, libc } from './libc.ts';
import { Mapping, PAGE_SIZE } from './mapping.ts';

const F_GETFL = 3;
const F_SETFL = 4;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const F_DUPFD_CLOEXEC = 1030;
const O_ACCMODE = 3;
const O_RDONLY = 0;
const O_NONBLOCK = 0o4000;

/** Seals of a memfd, `F_SEAL_*`. */
export const SEAL = { SEAL: 1, SHRINK: 2, GROW: 4, WRITE: 8 } as const;

/** Kind bits of {@link FdStat.mode}. */
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFSOCK = 0o140000;

let scratch: { readonly address: number; readonly view: DataView } | undefined;

/** A page for arguments of calls that are not hot; never used across two calls. */
export function scratchPage(): { readonly address: number; readonly view: DataView } {
  if (scratch === undefined) {
    const mapping = Mapping.anonymous(PAGE_SIZE);
    const view = new DataView(mapping.view().buffer, 0, PAGE_SIZE);
    scratch = { address: mapping.address, view };
  }
  return scratch;
}

/** Closes `fd`; a descriptor that is none is ignored. */
export function closeFd(fd: number): void {
  if (fd >= 0) libc.close(fd);
}

/** A second descriptor for the same open file, close-on-exec. @throws {Fault} EBADF, EMFILE */
export function dupFd(fd: number): number {
  return checked(libc.fcntl(fd, F_DUPFD_CLOEXEC, 0), `duplicate descriptor ${fd}`);
}

/** What {@link fstat} tells. */
export interface FdStat {
  readonly size: number;
  /** Bytes that are really there, in a sparse file fewer than `size`. */
  readonly allocated: number;
  readonly inode: number;
  readonly device: number;
  readonly isSocket: boolean;
  /** A file with a size of its own: on a disk, in memory or a memfd. */
  readonly isRegular: boolean;
  /** When write(2) or truncate last changed it, ns since 1970; stores through a mapping do not count. */
  readonly mtimeNs: bigint;
}

/** @throws {Fault} EBADF when `fd` is not open */
export function fstat(fd: number): FdStat {
  const { address, view } = scratchPage();
  checked(libc.fstat(fd, address), `stat descriptor ${fd}`);
  const u64 = (at: number) => view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
  // st_mode is at 24 on x86-64 (after a 64-bit st_nlink) and at 16 on the other 64-bit machines.
  const mode = view.getUint32(process.arch === 'x64' ? 24 : 16, true);
  return {
    device: u64(0),
    inode: u64(8),
    isSocket: (mode & S_IFMT) === S_IFSOCK,
    isRegular: (mode & S_IFMT) === S_IFREG,
    size: u64(48),
    allocated: u64(64) * 512,
    mtimeNs: view.getBigUint64(88, true) * 1_000_000_000n + view.getBigUint64(96, true),
  };
}

/** The seals of a memfd, 0 for a descriptor that cannot have any. */
export function sealsOf(fd: number): number {
  const seals = libc.fcntl(fd, F_GET_SEALS, 0);
  return Math.max(seals, 0);
}

/** Adds bits of {@link SEAL} to a memfd. @throws {Fault} EPERM, EBUSY, EINVAL */
export function addSeals(fd: number, seals: number): void {
  checked(libc.fcntl(fd, F_ADD_SEALS, seals), `seal descriptor ${fd}`);
}

/** Says whether reads, writes and accepts on `fd` wait. */
export function setBlocking(fd: number, blocking: boolean): void {
  const flags = checked(libc.fcntl(fd, F_GETFL, 0), `ask for the flags of descriptor ${fd}`);
  const wanted = blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
  checked(libc.fcntl(fd, F_SETFL, wanted), `change the flags of descriptor ${fd}`);
}

/** True when `fd` was opened for reading only. */
export function isReadOnly(fd: number): boolean {
  const flags = libc.fcntl(fd, F_GETFL, 0);
  return flags >= 0 && (flags & O_ACCMODE) === O_RDONLY;
}
