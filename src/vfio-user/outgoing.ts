/** Sending one message whole, however little the socket takes at a time. */
import { ERRNO } from '../base/errno.ts';
import { systemFault } from '../sys/libc.ts';
import { POLL, pollOne } from '../sys/poll.ts';
import type { SocketIo } from '../sys/socket-io.ts';

/** What is left to send: a head in the buffer, then views. */
interface Rest {
  readonly head: number;
  readonly views: readonly Uint8Array[];
  readonly total: number;
  readonly fds: readonly number[] | undefined;
  sent: number;
}

const NO_VIEWS: readonly Uint8Array[] = [];

/** The sending half of a connection. */
export class Outgoing {
  readonly #io: SocketIo;
  readonly #fd: number;
  #rest: Rest | undefined;

  constructor(io: SocketIo, fd: number) {
    this.#io = io;
    this.#fd = fd;
  }

  /** True while a message is half out. */
  get pending(): boolean {
    return this.#rest !== undefined;
  }

  /**
   * Sends the first `head` bytes of the buffer, then `views`.
   *
   * @returns true when all is out; otherwise {@link push} goes on
   * @throws {Fault} EPIPE, ECONNRESET ...
   */
  send(head: number, views = NO_VIEWS, fds?: readonly number[]): boolean {
    if (views.length === 0) {
      const result = this.#io.send(head, 0, fds);
      if (result === head) return true;
      this.#rest = { head, views, total: head, fds, sent: this.#progress(result) };
      return false;
    }
    let total = head;
    for (const view of views) total += view.length;
    this.#rest = { head, views, total, fds, sent: 0 };
    return this.push(0);
  }

  #progress(result: number): number {
    if (result >= 0) return result;
    if (result === -ERRNO.EAGAIN || result === -ERRNO.EINTR) return 0;
    throw systemFault(-result, 'send');
  }

  /**
   * Sends more of the message that is half out.
   *
   * @param flags `MSG` bits
   * @returns true when all is out, false when the socket takes no more now
   * @throws {Fault} EPIPE, ECONNRESET ...
   */
  push(flags: number): boolean {
    const rest = this.#rest;
    if (rest === undefined) return true;
    while (rest.sent < rest.total) {
      const fds = rest.sent === 0 ? rest.fds : undefined;
      const count = this.#progress(
        this.#io.sendGather(rest.head, rest.views, rest.sent, flags, fds),
      );
      if (count === 0) return false;
      rest.sent += count;
    }
    this.#rest = undefined;
    return true;
  }

  /**
   * Sends the rest of the message that is half out, waiting for the socket.
   *
   * @throws {Fault} ETIMEDOUT when that takes longer than `timeoutMs`; EPIPE ...
   */
  flush(timeoutMs: number): void {
    const end = performance.now() + timeoutMs;
    while (!this.push(0)) {
      if (performance.now() > end) throw systemFault(ERRNO.ETIMEDOUT, 'send');
      pollOne(this.#fd, POLL.OUT, 10);
    }
  }
}
