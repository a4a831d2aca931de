/** Counters with a descriptor, for interrupts and wake-ups. Source: eventfd(2). */
import { readlinkSync } from 'node:fs';
import { closeFd, scratchPage } from './descriptor.ts';
import { checked, libc } from './libc.ts';
import { POLL, pollOne } from './poll.ts';

const EFD_CLOEXEC = 0o2000000;
const EFD_NONBLOCK = 0o4000;

/**
 * Adds 1 to the counter of eventfd `fd`. Never waits: the descriptor may be somebody else's, who
 * made it blocking and filled its counter; a reader of that one has been told already.
 */
export function signalEventFd(fd: number): void {
  if ((pollOne(fd, POLL.OUT, 0) & POLL.OUT) === 0) return;
  const { address, view } = scratchPage();
  view.setUint32(0, 1, true);
  view.setUint32(4, 0, true);
  libc.write(fd, address, 8);
}

/** Eventfds that others made, and handed over. */
export const foreignEventFds = {
  /** True when `fd` is an eventfd. */
  isEventFd(fd: number): boolean {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[eventfd]';
    } catch {
      return false;
    }
  },
  signal: signalEventFd,
  close: closeFd,
} as const;

/** A non-blocking eventfd. */
export class EventFd implements Disposable {
  #fd: number;

  /** Takes over descriptor `fd`, or makes a new eventfd. @throws {Fault} EMFILE */
  constructor(fd: number = checked(libc.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), 'eventfd')) {
    this.#fd = fd;
  }

  /** The descriptor, borrowed; -1 once closed. */
  get fd(): number {
    return this.#fd;
  }

  /** Adds 1 to the counter. */
  signal(): void {
    signalEventFd(this.#fd);
  }

  /** The counter, which is 0 afterwards. */
  take(): number {
    const { address, view } = scratchPage();
    if (libc.read(this.#fd, address, 8) !== 8) return 0;
    return view.getUint32(4, true) * 2 ** 32 + view.getUint32(0, true);
  }

  /** Idempotent. */
  close(): void {
    closeFd(this.#fd);
    this.#fd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
