/** A lock for what spans awaits; who waits gets it in the order of asking. */
export class Mutex {
  #held = false;
  readonly #waiters: Array<() => void> = [];

  /** True while somebody holds it. */
  get held(): boolean {
    return this.#held;
  }

  /** Takes the lock, waiting for it when it is held. */
  lock(): Promise<void> {
    if (this.tryLock()) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  /** Takes the lock if nobody holds it; tells whether it did. */
  tryLock(): boolean {
    if (this.#held) return false;
    this.#held = true;
    return true;
  }

  /** Gives the lock to the next waiter, or back. */
  unlock(): void {
    const next = this.#waiters.shift();
    if (next === undefined) this.#held = false;
    else next();
  }

  /** Runs `section` under the lock and gives it back, also when the section fails. */
  async run<T>(section: () => Promise<T>): Promise<T> {
    await this.lock();
    try {
      return await section();
    } finally {
      this.unlock();
    }
  }
}
