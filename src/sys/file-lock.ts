/** A lock on a file that lasts as long as its holder. Source: flock(2). */
import { ERRNO } from '../base/errno.ts';
import { lastErrno, libc, systemFault } from './libc.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;

/**
 * Locks the open file behind `fd` for this process alone; the lock goes with the last descriptor of
 * that open file, however the process ends.
 *
 * @returns false when another open file holds the lock
 * @throws {Fault} EBADF, ENOLCK ...
 */
export function tryLockFile(fd: number): boolean {
  if (libc.flock(fd, LOCK_EX | LOCK_NB) === 0) return true;
  const errno = lastErrno();
  if (errno === ERRNO.EAGAIN) return false;
  throw systemFault(errno, `lock descriptor ${fd}`);
}
