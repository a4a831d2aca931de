/**
 * The sending half of a client's connection: whole requests, one after the other, from two buffers,
 * so that a synchronous call need not wait for its turn with the asynchronous ones.
 */
import { Fault } from '../base/fault.ts';
import { POLL, pollOne } from '../sys/poll.ts';
import { SocketIo } from '../sys/socket-io.ts';
import type { ClientWatch } from './client-watch.ts';
import { CODECS } from './codecs.ts';
import { Outgoing } from './outgoing.ts';
import { HEADER_SIZE, MESSAGE } from './protocol.ts';

/** How long a server may take to take a request. */
const PATIENCE_MS = 10_000;

/** The sender. */
export class ClientSender {
  readonly #fd: number;
  readonly #watch: ClientWatch;
  readonly #receive: () => void;
  readonly #view: DataView;
  readonly #now: Outgoing;
  readonly #laterIo: SocketIo;
  readonly #later: Outgoing;
  #draining: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #closed = false;

  /**
   * @param io buffers of the synchronous calls
   * @param watch where the socket is watched
   * @param receive serves what the server sends, lest both sides wait for the other to receive
   */
  constructor(io: SocketIo, fd: number, watch: ClientWatch, receive: () => void) {
    this.#fd = fd;
    this.#watch = watch;
    this.#receive = receive;
    this.#view = io.txView;
    this.#now = new Outgoing(io, fd);
    this.#laterIo = new SocketIo(fd, 4096);
    this.#later = new Outgoing(this.#laterIo, fd);
  }

  /**
   * Sends the request whose payload of `length` bytes stands in the send buffer.
   *
   * @throws {Fault} EPIPE, ECONNRESET, ETIMEDOUT
   */
  sendNow(
    id: number,
    command: number,
    length: number,
    flags: number,
    fds?: readonly number[],
  ): void {
    if (this.#later.pending) this.flush();
    this.#view.setUint16(0, id, true);
    this.#view.setUint16(2, command, true);
    this.#view.setUint32(4, HEADER_SIZE + length, true);
    this.#view.setUint32(8, flags, true);
    this.#view.setUint32(12, 0, true);
    if (!this.#now.send(HEADER_SIZE + length, undefined, fds)) this.#finish(this.#now);
  }

  /** Sends the rest of what is half out. @throws {Fault} EPIPE, ECONNRESET, ETIMEDOUT */
  flush(): void {
    if (this.#now.pending) this.#finish(this.#now);
    if (this.#later.pending) this.#finish(this.#later);
  }

  #finish(outgoing: Outgoing): void {
    const end = performance.now() + PATIENCE_MS;
    while (!outgoing.push(0)) {
      if (this.#closed) throw new Fault('ECONNRESET', 'the connection is closed');
      if (performance.now() > end) throw new Fault('ETIMEDOUT', 'the server takes no request');
      if ((pollOne(this.#fd, POLL.IN | POLL.OUT, 20) & POLL.IN) !== 0) this.#receive();
    }
  }

  /** True while a request is half out. */
  get pending(): boolean {
    return this.#now.pending || this.#later.pending;
  }

  /** Resolves when an asynchronous request may be sent. */
  async turn(): Promise<void> {
    while (this.#draining !== undefined) await this.#draining;
  }

  /**
   * Sends a request; resolves when all of it is out. To be called only when it is one's
   * {@link turn}.
   *
   * @param write writes the payload's first bytes and says how many
   * @throws {Fault} EPIPE, ECONNRESET
   */
  async send(
    id: number,
    command: number,
    write: (view: DataView, at: number) => number,
    views: readonly Uint8Array[] = [],
  ): Promise<void> {
    const { txView } = this.#laterIo;
    const head = HEADER_SIZE + write(txView, HEADER_SIZE);
    let size = head;
    for (const view of views) size += view.length;
    CODECS.header.write(txView, 0, { id, command, size, flags: MESSAGE.COMMAND, error: 0 });
    if (this.#later.send(head, views)) return;
    this.#draining = this.#drain().finally(() => {
      this.#draining = undefined;
    });
    await this.#draining;
  }

  async #drain(): Promise<void> {
    while (!this.#later.push(0)) {
      if (this.#closed) throw new Fault('ECONNRESET', 'the connection is closed');
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        this.#watch.wantsRoom(true);
      });
    }
  }

  /** The socket has become ready for something. */
  ready(): void {
    if (this.#wake === undefined) return;
    const wake = this.#wake;
    this.#wake = undefined;
    if (!this.#closed) this.#watch.wantsRoom(false);
    wake();
  }

  /** Lets go of the buffers; a request that is half out fails. Idempotent. */
  close(): void {
    this.#closed = true;
    this.ready();
    this.#laterIo.close();
  }
}
