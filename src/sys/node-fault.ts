/** Faults of what node:fs throws, by the errno of the system call. */
import { systemFault } from './libc.ts';

/**
 * The Fault of a call of node:fs that failed. Node's own `code` lacks the errnos that libuv has no name
 * for, such as ENOMSG, which drivers use.
 *
 * @param what the call and its object, such as `read 0000:03:00.1`
 */
export function nodeFault(error: unknown, what: string): Error {
  const { errno } = error as NodeJS.ErrnoException;
  return errno === undefined ? (error as Error) : systemFault(Math.abs(errno), what);
}
