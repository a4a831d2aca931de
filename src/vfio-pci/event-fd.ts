import { closeSync, readlinkSync, writeSync } from 'node:fs';

/** What interrupts need of eventfds; descriptors come from a VMM. */
export interface EventFds {
  /** True when `fd` is an eventfd: anything else could block the one who signals it. */
  isEventFd(fd: number): boolean;
  /** Adds one to its counter. Never throws. */
  signal(fd: number): void;
  /** Closes the descriptor. Never throws. */
  close(fd: number): void;
}

const ONE = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);

/** Eventfds by plain read and write calls. */
export const nodeEventFds: EventFds = {
  isEventFd(fd) {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[eventfd]';
    } catch {
      return false;
    }
  },
  signal(fd) {
    try {
      writeSync(fd, ONE);
    } catch {
      // A counter at its limit (EAGAIN) is signalled already.
    }
  },
  close(fd) {
    try {
      closeSync(fd);
    } catch {
      // Nothing is left to close.
    }
  },
};
