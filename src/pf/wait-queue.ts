/**
 * A queue of sleepers that wake all at once and look again, as a kernel wait queue.
 *
 * Source: include/linux/wait.h (wait_event, wake_up_all).
 */
export class WaitQueue {
  #sleepers: Array<() => void> = [];

  /** Wakes everyone who sleeps now. */
  wake(): void {
    const sleepers = this.#sleepers;
    if (sleepers.length === 0) return;
    this.#sleepers = [];
    for (const resume of sleepers) resume();
  }

  /** Sleeps until `condition` holds; looked at now and after every {@link wake}. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resume) => this.#sleepers.push(resume));
  }
}
