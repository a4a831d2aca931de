/** Time as the rest of the code may see it; injected so that tests own it. */
export interface Clock {
  /** Milliseconds since an arbitrary start, monotonic, with fractions. */
  now(): number;
  /** Calls `callback` once after `delayMs`; the returned function takes it back. */
  after(delayMs: number, callback: () => void): () => void;
}

/** The machine's own monotonic clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};

/**
 * A kernel-style completion: waiters sleep until it is done or their time is over.
 *
 * Source: include/linux/completion.h (wait_for_completion_timeout).
 */
export class Completion {
  #done = false;
  #waiters: Array<() => void> = [];

  /** Wakes every waiter, now and later. */
  complete(): void {
    this.#done = true;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }

  /** True once {@link complete} was called. */
  get done(): boolean {
    return this.#done;
  }

  /** Resolves to true when done, to false when `timeoutMs` went by first. */
  wait(clock: Clock, timeoutMs: number): Promise<boolean> {
    if (this.#done) return Promise.resolve(true);
    return new Promise((resolve) => {
      const cancel = clock.after(timeoutMs, () => {
        this.#waiters = this.#waiters.filter((waiter) => waiter !== wake);
        resolve(false);
      });
      const wake = () => {
        cancel();
        resolve(true);
      };
      this.#waiters.push(wake);
    });
  }
}
