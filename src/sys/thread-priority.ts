/** Priority of a thread. Source: setpriority(2). */
import { libc } from './libc.ts';

const PRIO_PROCESS = 0;
/** The thread that calls. */
const CALLER = 0;

/**
 * Lets others go first: the calling thread gets less of a processor that is wanted by more than one.
 * There is no way back without privilege.
 *
 * @param nice 0, as everybody, to 19, only what nobody wants
 */
export function stepBack(nice: number): void {
  // Linux takes this call as one of the thread; where it is refused nothing changes.
  libc.setpriority(PRIO_PROCESS, CALLER, nice);
}
