/**
 * Work that a loop does between messages, in short turns: what takes long gives the thread back
 * every now and then, so that no message waits for the end of it.
 */

/** One that takes turns: returns the milliseconds after which it wants the next, Infinity for none. */
type Turn = () => number;

interface Worker {
  readonly turn: Turn;
  /** When it wants its next turn, on the clock of `performance.now`. */
  dueAt: number;
}

/** The place of one that takes turns. */
export interface TurnTicket {
  /** Asks for a turn soon. */
  wake(): void;
  /** Takes no more turns. Idempotent. */
  close(): void;
}

/** Everyone who takes turns in one loop. */
export class LoopTurns {
  readonly #workers = new Set<Worker>();
  readonly #onWake: () => void;
  /** True when somebody wants a turn now: the loop must not wait for messages. */
  isDue = false;

  /** @param onWake is told that somebody wants a turn soon, perhaps out of one */
  constructor(onWake: () => void) {
    this.#onWake = onWake;
  }

  /** Has `turn` called soon, never before this returns, and again as it asks. */
  attach(turn: Turn): TurnTicket {
    const worker: Worker = { turn, dueAt: Number.POSITIVE_INFINITY };
    this.#workers.add(worker);
    const wake = () => {
      if (!this.#workers.has(worker)) return;
      worker.dueAt = 0;
      this.isDue = true;
      this.#onWake();
    };
    wake();
    return { wake, close: () => this.#workers.delete(worker) };
  }

  /**
   * Gives a turn to each that wants one by now.
   * @returns ms until the next one is wanted: 0 for now, Infinity for never
   */
  run(): number {
    if (this.#workers.size === 0) return Number.POSITIVE_INFINITY;
    const startedAt = performance.now();
    this.isDue = false;
    let next = Number.POSITIVE_INFINITY;
    for (const worker of this.#workers) {
      if (worker.dueAt <= startedAt) {
        worker.dueAt = Number.POSITIVE_INFINITY;
        const afterMs = worker.turn();
        // A wake out of the turn itself counts, however long the turn wants to rest.
        if (afterMs !== Number.POSITIVE_INFINITY)
          worker.dueAt = Math.min(worker.dueAt, afterMs <= 0 ? 0 : performance.now() + afterMs);
      }
      next = Math.min(next, worker.dueAt);
    }
    if (next === Number.POSITIVE_INFINITY) return next;
    const waitMs = Math.max(0, next - performance.now());
    this.isDue ||= waitMs === 0;
    return waitMs;
  }
}
