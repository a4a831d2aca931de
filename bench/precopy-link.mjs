/** A shaped link of the pre-copy benchmark. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Milliseconds of debt at which the link makes its writer wait. */
const LINK_SLACK_MS = 2;
/** Milliseconds of bytes that wait in the link's queue. */
const LINK_QUEUE_MS = 10;

/** A link of so many Gbit/s (10^9) that forgets what it carries; a sink for `save`. */
export class Link {
  #freeAt = 0;
  #bytesPerSecond;

  constructor(gigabitsPerSecond) {
    this.#bytesPerSecond = (gigabitsPerSecond * 1e9) / 8;
  }

  async write(bytes) {
    // A wait that lasts too long is made up for: a real link has a queue.
    this.#freeAt = Math.max(this.#freeAt, performance.now() - LINK_QUEUE_MS);
    this.#freeAt += (bytes.length * 1000) / this.#bytesPerSecond;
    const debt = this.#freeAt - performance.now();
    if (debt > LINK_SLACK_MS) await sleep(debt);
  }

  async finish() {
    const debt = this.#freeAt - performance.now();
    if (debt > 0) await sleep(debt);
  }

  async abort() {}
}
