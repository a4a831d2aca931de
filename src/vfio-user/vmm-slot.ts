/** The one place for a client that uses the device; others wait a while for it. */
import { Fault } from '../base/fault.ts';

interface Waiter {
  readonly client: object;
  readonly resolve: () => void;
  readonly reject: (error: Fault) => void;
  timer: NodeJS.Timeout | undefined;
}

/** Who is served as the VMM. */
export class VmmSlot {
  readonly #patienceMs: number;
  #holder: object | undefined;
  #leaving = false;
  readonly #waiters: Waiter[] = [];

  /** @param patienceMs how long a second client waits for the first to leave */
  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  heldBy(client: object): boolean {
    return this.#holder === client;
  }

  /** True when nobody uses the device. */
  get free(): boolean {
    return this.#holder === undefined;
  }

  /**
   * Waits for the place.
   *
   * @throws {Fault} EBUSY when a living client keeps it longer than the patience; ECONNRESET when
   * `client` leaves while it waits
   */
  take(client: object): Promise<void> {
    if (this.#holder === undefined) {
      this.#holder = client;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { client, resolve, reject, timer: undefined };
      this.#waiters.push(waiter);
      if (!this.#leaving) this.#startTimer(waiter);
    });
  }

  #startTimer(waiter: Waiter): void {
    waiter.timer = setTimeout(() => {
      this.#drop(
        waiter,
        new Fault('EBUSY', 'another client uses this device', {
          hint: 'stop the other client first',
        }),
      );
    }, this.#patienceMs);
  }

  #drop(waiter: Waiter, error: Fault): void {
    const index = this.#waiters.indexOf(waiter);
    if (index >= 0) this.#waiters.splice(index, 1);
    clearTimeout(waiter.timer);
    waiter.reject(error);
  }

  /** `client` is gone: if it waited it waits no more; if it holds the place, that is given up soon. */
  leave(client: object): void {
    for (const waiter of this.#waiters.filter((entry) => entry.client === client))
      this.#drop(waiter, new Fault('ECONNRESET', 'the client has gone'));
    if (this.#holder !== client) return;
    // From now on the wait has an end; it may take as long as a reset does.
    this.#leaving = true;
    for (const waiter of this.#waiters) clearTimeout(waiter.timer);
  }

  /** The place of `client` is clean: the next one gets it. */
  release(client: object): void {
    if (this.#holder !== client) return;
    this.#leaving = false;
    const next = this.#waiters.shift();
    this.#holder = next?.client;
    clearTimeout(next?.timer);
    for (const waiter of this.#waiters) this.#startTimer(waiter);
    next?.resolve();
  }

  /** Refuses everybody who waits. */
  close(): void {
    for (const waiter of [...this.#waiters])
      this.#drop(waiter, new Fault('ECONNRESET', 'the server is closing'));
  }
}
