import type { Clock } from '../../src/base/clock.ts';
import type { Executor } from '../../src/pf/gt-control.ts';

/** Jobs that run only when the test says so. */
export class ManualExecutor {
  #jobs: Array<() => void> = [];

  readonly executor: Executor = (job) => {
    this.#jobs.push(job);
  };

  /** Runs the oldest job. @returns false when there is none */
  runOne(): boolean {
    const job = this.#jobs.shift();
    job?.();
    return job !== undefined;
  }

  /** Runs jobs until there are none. */
  drain(): void {
    while (this.runOne());
  }
}

/** Time that stands still until the test moves it to the next timer. */
export class VirtualClock implements Clock {
  #now = 0;
  #timers: Array<{ at: number; callback: () => void }> = [];

  now(): number {
    return this.#now;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.#now + delayMs, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Moves to the next timer. @returns false when there is none */
  fireNext(): boolean {
    const [next] = this.#timers.sort((a, b) => a.at - b.at);
    if (next === undefined) return false;
    this.#timers.shift();
    this.#now = next.at;
    next.callback();
    return true;
  }
}

/** Everything that has already been promised happens. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
