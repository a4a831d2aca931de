/** Spinning for the next message before blocking, as long as it pays. */

/** Turns in a row without success after which spinning is given up for a while. */
const LOSSES = 8;
/** Attempts between two looks at the clock, which costs an eighth of an attempt. */
const LOOK_AFTER = 8;
/** Messages for which it is then left out. */
const REST = 256;

/** Decides whether to spin, from how it went. */
export class Spinner {
  #losses = 0;
  #rest = 0;

  /**
   * Calls `attempt` until it returns something else than `empty` or about `pollUs` microseconds
   * went by.
   *
   * @returns what `attempt` returned last, `empty` at once when spinning has not been paying
   */
  spin(attempt: () => number, empty: number, pollUs: number): number {
    if (this.#rest > 0) {
      this.#rest--;
      return empty;
    }
    const end = performance.now() + pollUs / 1000;
    do {
      for (let turn = 0; turn < LOOK_AFTER; turn++) {
        const result = attempt();
        if (result === empty) continue;
        this.#losses = 0;
        return result;
      }
    } while (performance.now() < end);
    this.#losses++;
    if (this.#losses >= LOSSES) {
      this.#losses = 0;
      this.#rest = REST;
    }
    return empty;
  }
}
