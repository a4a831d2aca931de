/** What interrupts need of eventfds; descriptors come from a VMM. */
export interface EventFds {
  /** True when `fd` is an eventfd: anything else could block the one who signals it. */
  isEventFd(fd: number): boolean;
  /** Adds one to its counter. Never throws and never waits, even when the counter is full. */
  signal(fd: number): void;
  /** Closes the descriptor. Never throws. */
  close(fd: number): void;
}
