/** A client's sockets in the event loop of its thread. */
import { POLL } from '../sys/poll.ts';
import { Readiness } from '../sys/readiness.ts';

/** The watch; it keeps the process alive only while somebody waits. */
export class ClientWatch {
  readonly #fd: number;
  readonly #readiness = new Readiness();
  readonly #onReady: () => void;
  #watched = true;
  #closed = false;

  /**
   * @param fd the connection's socket
   * @param onReady called as a task of the event loop, once for each {@link again}
   */
  constructor(fd: number, onReady: () => void) {
    this.#fd = fd;
    this.#onReady = onReady;
    this.#readiness.add(fd, POLL.IN, 0);
    this.#readiness.keepAlive(false);
    this.again();
  }

  /** Watches a second socket as well. */
  add(fd: number): void {
    this.#readiness.add(fd, POLL.IN, 1);
  }

  /** Asks to be told when something is ready. */
  again(): void {
    this.#readiness.notify(this.#onReady);
  }

  /** Whether the watch keeps the process alive. */
  keepAlive(on: boolean): void {
    this.#readiness.keepAlive(on);
  }

  /** Whether the connection's socket is to be told of as well when it takes more. */
  wantsRoom(on: boolean): void {
    if (this.#closed) return;
    this.resume();
    this.#readiness.modify(this.#fd, on ? POLL.IN | POLL.OUT : POLL.IN, 0);
  }

  /**
   * Leaves the connection's socket to synchronous calls until the event loop has its turn, or
   * {@link resume}: the event loop need not know of their replies, and a socket that is watched
   * makes each send of the server's slower.
   */
  pause(): void {
    if (!this.#watched) return;
    this.#watched = false;
    this.#readiness.remove(this.#fd);
    setImmediate(this.#resume);
  }

  /** Watches the connection's socket again. Idempotent. */
  resume(): void {
    if (this.#watched || this.#closed) return;
    this.#watched = true;
    this.#readiness.add(this.#fd, POLL.IN, 0);
  }

  readonly #resume = () => this.resume();

  /** To be called before the sockets are closed. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#readiness.close();
  }
}
