/** A rate limit: bytes may go while there are tokens, and tokens come at the rate. */

/** What may go at once after a pause, in time of the rate. */
const BURST_MS = 10;

/** Tokens are bytes. A sender may go into debt by one block, and then waits until it is paid. */
export class TokenBucket {
  readonly #bytesPerMs: number;
  readonly #now: () => number;
  #tokens: number;
  #filledAt: number;

  /**
   * @param bytesPerSecond above 0
   * @param now milliseconds, monotonic
   */
  constructor(bytesPerSecond: number, now: () => number = () => performance.now()) {
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#now = now;
    this.#tokens = this.#bytesPerMs * BURST_MS;
    this.#filledAt = now();
  }

  /** Milliseconds until something may be sent; 0 when it may go now. */
  waitMs(): number {
    this.#fill();
    return this.#tokens > 0 ? 0 : -this.#tokens / this.#bytesPerMs + 1;
  }

  /** Tells that `bytes` were sent. */
  spend(bytes: number): void {
    this.#tokens -= bytes;
  }

  #fill(): void {
    const now = this.#now();
    const most = this.#bytesPerMs * BURST_MS;
    this.#tokens = Math.min(this.#tokens + (now - this.#filledAt) * this.#bytesPerMs, most);
    this.#filledAt = now;
  }
}
