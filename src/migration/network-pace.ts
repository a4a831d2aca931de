/** What the way to the other host carries, measured while it is used. */

/** Bytes that were confirmed are added up over at least this time. */
const INTERVAL_MS = 50;
/** Time beside the round trip for which bytes are kept on their way. */
const SLACK_MS = 20;
const WINDOW_MIN_SIZE = 2 * 2 ** 20;

/** Rates of one session, and the window that follows from them. */
export class NetworkPace {
  readonly #windowMax: number;
  readonly #now: () => number;
  #since: number;
  #streamBytes = 0;
  #wireBytes = 0;
  #saturated = true;
  #streamRate = 0;
  #wireRate = 0;

  /** @param windowMax the greatest window, bytes */
  constructor(windowMax: number, now: () => number = () => performance.now()) {
    this.#windowMax = windowMax;
    this.#now = now;
    this.#since = now();
  }

  /** Bytes a millisecond that the connections take when there is enough to send; 0 if not known. */
  get wireRate(): number {
    return this.#wireRate;
  }

  /** The sender had nothing to send: this interval says nothing about the connections. */
  starved(): void {
    this.#saturated = false;
  }

  /** A block of `streamBytes` was confirmed that took `wireBytes` on the way. */
  confirmed(streamBytes: number, wireBytes: number): void {
    this.#streamBytes += streamBytes;
    this.#wireBytes += wireBytes;
    const ms = this.#now() - this.#since;
    if (ms < INTERVAL_MS) return;
    this.#streamRate = blend(this.#streamRate, this.#streamBytes / ms);
    if (this.#saturated || this.#wireBytes / ms > this.#wireRate)
      this.#wireRate = blend(this.#wireRate, this.#wireBytes / ms);
    this.idle();
  }

  /** Nothing is on its way: time goes by without meaning. */
  idle(): void {
    this.#since = this.#now();
    this.#streamBytes = 0;
    this.#wireBytes = 0;
    this.#saturated = true;
  }

  /**
   * Bytes of the stream that should be on their way: enough to fill the connections, and no more,
   * because what waits in buffers is downtime when the VF stops.
   *
   * @param delayMs of a round trip, and of what is done to a block before it goes
   */
  window(delayMs: number): number {
    const wanted = 2 * this.#streamRate * (delayMs + SLACK_MS);
    return Math.min(Math.max(wanted, WINDOW_MIN_SIZE), this.#windowMax);
  }
}

function blend(old: number, fresh: number): number {
  return old === 0 ? fresh : old * 0.7 + fresh * 0.3;
}
