/** The turns of a device's engines on the thread that also serves its registers. */
import type { TurnSource } from './engine/contracts.ts';

/**
 * Milliseconds of work in one turn: a register access waits for one turn at most, and has to be
 * answered within a millisecond on a machine that does other things too.
 */
const TURN_MS = 0.15;
/** Below this a timer is no use: it waits for a millisecond at least. */
const SHORTEST_TIMER_MS = 0.5;

/** Turns from the event loop of this thread: I/O and timers have theirs in between. */
export const eventLoopTurns: TurnSource = {
  attach(turn) {
    let immediate: NodeJS.Immediate | undefined;
    let timer: NodeJS.Timeout | undefined;
    let closed = false;
    const forget = (): void => {
      clearImmediate(immediate);
      clearTimeout(timer);
      immediate = undefined;
      timer = undefined;
    };
    const run = (): void => {
      forget();
      const delay = turn();
      // Woken out of its own turn it has the next one at once.
      if (!closed && immediate === undefined) plan(delay);
    };
    const plan = (delay: number): void => {
      if (delay < SHORTEST_TIMER_MS) immediate = setImmediate(run);
      else if (delay < Number.POSITIVE_INFINITY) timer = setTimeout(run, delay);
    };
    return {
      wake() {
        if (closed || immediate !== undefined) return;
        forget();
        immediate = setImmediate(run);
      },
      close() {
        closed = true;
        forget();
      },
    };
  },
};

/** Something of the device that works in turns. */
export interface Worker {
  /**
   * Works until `deadline` at most.
   * @returns milliseconds after which it wants to go on; Infinity until it wakes the device
   */
  run(deadline: number): number;
}

/** All that a device does between register accesses. */
export class EngineTurns {
  readonly #workers: () => readonly Worker[];
  readonly #now: () => number;
  readonly #source: ReturnType<TurnSource['attach']>;
  #first = 0;

  /**
   * @param workers in any order; each begins a turn in its turn
   * @param now milliseconds, monotonic, with fractions
   */
  constructor(source: TurnSource, workers: () => readonly Worker[], now: () => number) {
    this.#workers = workers;
    this.#now = now;
    this.#source = source.attach(() => this.#turn());
  }

  /** There is work. */
  wake(): void {
    this.#source.wake();
  }

  /** No turn comes any more. Idempotent. */
  close(): void {
    this.#source.close();
  }

  #turn(): number {
    const workers = this.#workers();
    const count = workers.length;
    let delay = Number.POSITIVE_INFINITY;
    const begin = this.#now();
    for (let n = 0; n < count; n++) {
      const worker = workers[(this.#first + n) % count] as Worker;
      // Each has its part of the turn and what those before it left.
      delay = Math.min(delay, worker.run(begin + (TURN_MS * (n + 1)) / count));
    }
    this.#first = (this.#first + 1) % Math.max(count, 1);
    return delay;
  }
}
