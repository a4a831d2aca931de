/** Processes that must not outlive who started them. Source: prctl(2), PR_SET_PDEATHSIG. */
import { checked, libc } from './libc.ts';

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/**
 * Lets the kernel kill this process when the thread that started it ends, also while this process
 * sleeps in a system call.
 *
 * @param parent process id of the starter; when it is gone already, this process ends at once
 */
export function dieWithParent(parent: number): void {
  checked(libc.prctl(PR_SET_PDEATHSIG, SIGKILL), 'ask to die with the parent');
  if (process.ppid !== parent) process.exit(1);
}
