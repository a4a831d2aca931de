/** Waiting for descriptors. Source: poll(2). */
import { scratchPage } from './descriptor.ts';
import { libc } from './libc.ts';

/** Event bits of poll(2). */
export const POLL = { IN: 0x1, OUT: 0x4, ERR: 0x8, HUP: 0x10, NVAL: 0x20, RDHUP: 0x2000 } as const;

/**
 * Waits until `fd` has one of `events`, an error or a hang-up.
 *
 * @param timeoutMs 0 does not wait, -1 waits for ever
 * @returns bits of {@link POLL}; 0 when the time is over or a signal came
 */
export function pollOne(fd: number, events: number, timeoutMs: number): number {
  const { address, view } = scratchPage();
  view.setInt32(0, fd, true);
  view.setUint32(4, events, true);
  return libc.poll(address, 1, timeoutMs) > 0 ? view.getUint16(6, true) : 0;
}

/**
 * Waits until one of two descriptors is readable, broken or hung up.
 *
 * @returns 0 when the time is over, else bit 0 for `first` and bit 1 for `second`
 */
export function pollReadable(first: number, second: number, timeoutMs: number): number {
  const { address, view } = scratchPage();
  view.setInt32(0, first, true);
  view.setUint32(4, POLL.IN, true);
  view.setInt32(8, second, true);
  view.setUint32(12, POLL.IN, true);
  if (libc.poll(address, 2, timeoutMs) <= 0) return 0;
  return (view.getUint16(6, true) === 0 ? 0 : 1) | (view.getUint16(14, true) === 0 ? 0 : 2);
}
