/**
 * A client's end of a connection: requests go out in order, replies find theirs, and what the
 * server asks meanwhile is answered.
 *
 * A synchronous call sends, then receives until its reply is there; asynchronous ones are completed
 * by the event loop, and by synchronous calls that come across their replies.
 */
import { ERRNO, errnoName } from '../base/errno.ts';
import { Fault, toFault } from '../base/fault.ts';
import { POLL, pollOne, pollReadable } from '../sys/poll.ts';
import { MSG } from '../sys/socket-io.ts';
import type { UnixSocket } from '../sys/unix-socket.ts';
import { Channel } from './channel.ts';
import { LOST_HINT, lostFault, timedOut } from './client-faults.ts';
import type { ClientMemory } from './client-memory.ts';
import { type BodySink, PendingReplies, type Reply } from './client-pending.ts';
import { SyncReply } from './client-reply.ts';
import { ClientSender } from './client-sender.ts';
import { ClientTwin } from './client-twin.ts';
import { ClientWatch } from './client-watch.ts';
import { CODECS } from './codecs.ts';
import { commandName, HEADER_SIZE, MESSAGE } from './protocol.ts';
import { Spinner } from './spinner.ts';

/** A blocking receive or send looks up this often. */
const SLICE_MS = 20;
/** Receives in one turn of the event loop. */
const RECEIVES_A_TURN = 16;
/** Header and fixed part of a reply with a body, MIG_DATA_READ's. */
const BODY_HEAD = HEADER_SIZE + CODECS.migData.size;

/** How long a call may take, and how it waits. */
export interface LinkOptions {
  /** Time for a reply, milliseconds. */
  readonly timeoutMs: number;
  /** Microseconds to spin for the reply of a synchronous call before blocking. */
  readonly pollUs: number;
}

/** The link. */
export class ClientLink {
  readonly socket: UnixSocket;
  readonly channel: Channel;
  readonly #options: LinkOptions;
  readonly #memory: ClientMemory;
  readonly #sender: ClientSender;
  readonly #pending: PendingReplies;
  readonly #watch: ClientWatch;
  readonly #spinner = new Spinner();
  readonly #tryFill = () => this.channel.fill(MSG.DONTWAIT, this.#fillLimit);
  readonly #tryFillBytes = () => this.channel.fillBytes(MSG.DONTWAIT);
  #twin: ClientTwin | undefined;
  #nextId = 0;
  #lost: Fault | undefined;
  /** Reply of the last synchronous call. */
  readonly reply = new SyncReply();

  constructor(socket: UnixSocket, memory: ClientMemory, options: LinkOptions) {
    this.socket = socket;
    this.#memory = memory;
    this.#options = options;
    socket.setReceiveTimeout(SLICE_MS);
    socket.setSendTimeout(SLICE_MS);
    socket.setBufferSize(4 * 2 ** 20);
    this.channel = new Channel(socket.fd);
    this.#watch = new ClientWatch(socket.fd, this.#onReady);
    this.#sender = new ClientSender(this.channel.io, socket.fd, this.#watch, () => {
      this.#receiveNow();
    });
    this.#pending = new PendingReplies((waiting) => this.#watch.keepAlive(waiting));
  }

  /** Why the link is of no more use, undefined while it is. */
  get lost(): Fault | undefined {
    return this.#lost;
  }

  /** Takes over the twin socket, on which the server's commands come from now on. */
  adoptTwin(fd: number): void {
    this.#twin = new ClientTwin(fd, this.#memory, SLICE_MS);
    this.#watch.add(fd);
  }

  /**
   * Begins a synchronous call: its payload may then be written behind the header's place in the
   * channel's send buffer.
   *
   * @throws {Fault} ENOTCONN when the link is lost
   */
  begin(): void {
    if (this.#lost !== undefined)
      throw new Fault('ENOTCONN', this.#lost.message, { cause: this.#lost, hint: LOST_HINT });
    this.reply.drop(this.channel);
  }

  #newId(): number {
    const id = this.#nextId;
    this.#nextId = (id + 1) & 0xffff;
    return id;
  }

  /**
   * Sends the request whose payload has `length` bytes and receives its reply: see
   * {@link reply}. Descriptors that come with the reply are closed.
   *
   * @throws {Fault} the errno of an error reply; ETIMEDOUT, ECONNRESET
   */
  call(command: number, length: number, fds?: readonly number[]): void {
    const id = this.#newId();
    this.reply.expect(id);
    if (!this.#pending.any) this.#watch.pause();
    this.#send(id, command, length, MESSAGE.COMMAND, fds);
    let end = 0;
    for (;;) {
      if (this.channel.available > 0 || this.#pending.receiving) this.#serveReceived();
      if (this.reply.awaited < 0) break;
      if (this.#fillSync()) continue;
      if (end === 0) end = performance.now() + this.#options.timeoutMs;
      else if (performance.now() > end) this.#abandon(id, command);
    }
    if (this.reply.fault !== undefined) throw this.reply.fault;
  }

  /**
   * As {@link call}.
   *
   * @returns the descriptors that came with the reply; the caller's to close
   */
  callForFds(command: number, length: number): number[] {
    this.reply.wantsFds = true;
    try {
      this.call(command, length);
      return this.channel.takeFds(this.reply.length + HEADER_SIZE);
    } finally {
      this.reply.wantsFds = false;
    }
  }

  /** Sends a request that is not replied to. @throws {Fault} ECONNRESET */
  post(command: number, length: number): void {
    this.#send(this.#newId(), command, length, MESSAGE.NO_REPLY);
  }

  #send(id: number, command: number, length: number, flags: number, fds?: readonly number[]) {
    try {
      this.#sender.sendNow(id, command, length, flags, fds);
    } catch (error) {
      this.reply.forget();
      throw this.#lose(error);
    }
  }

  /** Gives up waiting for a reply, which is thrown away when it comes. */
  #abandon(id: number, command: number): never {
    this.reply.forget();
    this.#pending.forget(id, command);
    throw timedOut(command, this.#options.timeoutMs);
  }

  /** Receives for a synchronous call; false when nothing came for a while. */
  #fillSync(): boolean {
    const { channel } = this;
    const { pollUs } = this.#options;
    let result: number = -ERRNO.EAGAIN;
    if (this.#twin !== undefined) {
      const ready = pollReadable(this.socket.fd, this.#twin.fd, SLICE_MS);
      if ((ready & 2) !== 0) this.#serveTwin();
      if ((ready & 1) !== 0) result = this.#tryFill();
    } else if (this.reply.wantsFds || this.#pending.any) {
      if (pollUs > 0) result = this.#spinner.spin(this.#tryFill, result, pollUs);
      if (result === -ERRNO.EAGAIN) result = channel.fill(0);
    } else {
      if (pollUs > 0) result = this.#spinner.spin(this.#tryFillBytes, result, pollUs);
      if (result === -ERRNO.EAGAIN) result = channel.fillBytes(0);
    }
    return this.#filled(result);
  }

  /** Judges a receive; false when nothing came. @throws {Fault} ECONNRESET when the link is lost */
  #filled(result: number): boolean {
    if (result > 0) return true;
    if (result === -ERRNO.EAGAIN || result === -ERRNO.EINTR) return false;
    const reason =
      result === 0 ? 'the server closed the connection' : `receive: ${errnoName(-result)}`;
    throw this.#lose(new Fault('ECONNRESET', reason, { hint: LOST_HINT }));
  }

  /**
   * Sends a request that the event loop completes.
   *
   * @param write writes the payload's first bytes and says how many
   * @param views the rest of the payload
   * @param sink where the body of the reply goes
   * @returns once all is sent: the promise of the reply
   * @throws {Fault} ENOTCONN, ECONNRESET
   */
  async submit(
    command: number,
    write: (view: DataView, at: number) => number,
    views?: readonly Uint8Array[],
    sink?: BodySink,
    timeoutMs = this.#options.timeoutMs,
  ): Promise<{ readonly reply: Promise<Reply> }> {
    await this.#sender.turn();
    if (this.#lost !== undefined) this.begin();
    this.#watch.resume();
    const id = this.#newId();
    const reply = this.#pending.add(id, command, sink, timeoutMs);
    try {
      await this.#sender.send(id, command, write, views);
    } catch (error) {
      throw this.#lose(error);
    }
    return { reply };
  }

  /** Sends a request and waits for its reply. @throws {Fault} the server's errno; as {@link submit} */
  async request(
    command: number,
    write: (view: DataView, at: number) => number,
    timeoutMs?: number,
  ): Promise<Reply> {
    const { reply } = await this.submit(command, write, undefined, undefined, timeoutMs);
    return await reply;
  }

  readonly #onReady = () => {
    if (this.#lost !== undefined) return;
    this.#receiveNow();
    this.#sender.ready();
    this.#watch.again();
  };

  /** Serves what is there, without waiting for more. */
  #receiveNow(): void {
    try {
      this.reply.drop(this.channel);
      if (this.#twin !== undefined && pollOne(this.#twin.fd, POLL.IN, 0) !== 0) this.#serveTwin();
      for (let turn = 0; turn < RECEIVES_A_TURN; turn++) {
        this.#serveReceived();
        if (this.reply.here) break;
        if (!this.#filled(this.#tryFill()) && !this.#moreIsComing()) break;
      }
    } catch (error) {
      this.#lose(error);
    }
  }

  /** A body that goes to its own place need not pass through the buffer. */
  get #fillLimit(): number {
    return this.#pending.expectsBody ? BODY_HEAD : this.channel.rx.length;
  }

  /** Waits a moment for the next piece of a stream: sleeping in the event loop would cost more. */
  #moreIsComing(): boolean {
    if (!this.#pending.expectsBody || this.#sender.pending) return false;
    return pollOne(this.socket.fd, POLL.IN, 1) !== 0;
  }

  /** Serves the messages that are here. @throws {Fault} EPROTO, ECONNRESET: the link is lost */
  #serveReceived(): void {
    try {
      this.#serveMessages();
    } catch (error) {
      throw this.#lose(error);
    }
  }

  #serveMessages(): void {
    const { channel } = this;
    while (!this.reply.here) {
      if (this.#pending.receiving) {
        if (!this.#pending.receiveBody(channel)) return;
        continue;
      }
      if (channel.available < HEADER_SIZE) break;
      const at = channel.head;
      const size = channel.rxView.getUint32(at + 4, true);
      const type = channel.rxView.getUint32(at + 8, true) & MESSAGE.TYPE_MASK;
      if (size < HEADER_SIZE || type > MESSAGE.REPLY)
        throw new Fault('EPROTO', `the server sent a message of ${size} bytes`);
      if (type === MESSAGE.COMMAND) this.#serveCommand();
      else if (!this.#serveReply(at, size)) break;
    }
    if (channel.tail === channel.rx.length && !this.reply.here) channel.compact();
  }

  /** Takes a reply; false when some of it is still to come. */
  #serveReply(at: number, size: number): boolean {
    const { channel } = this;
    const id = channel.rxView.getUint16(at, true);
    const command = channel.rxView.getUint16(at + 2, true);
    if (id !== this.reply.awaited) return this.#pending.take(channel, id, command, size);
    if (size > channel.rx.length)
      throw new Fault('EPROTO', `a reply of ${size} bytes to ${commandName(command)}`);
    if (channel.available < size) return false;
    this.reply.take(channel, command, at, size);
    return true;
  }

  #serveCommand(): void {
    // The answer must not go into the middle of a request.
    this.#sender.flush();
    this.#memory.serve(this.channel, this.socket.fd);
  }

  #serveTwin(): void {
    try {
      this.#twin?.serve();
    } catch (error) {
      throw this.#lose(error);
    }
  }

  /** Fails everything that waits. @returns the fault to throw */
  #lose(error: unknown): Fault {
    if (this.#lost !== undefined) return this.#lost;
    this.#lost = lostFault(toFault(error));
    this.reply.forget();
    this.#pending.fail(this.#lost);
    this.close();
    return this.#lost;
  }

  /** Closes the connection; what waits is refused. Idempotent. */
  close(): void {
    this.#lost ??= new Fault('ENOTCONN', 'the connection is closed');
    this.#pending.fail(this.#lost);
    this.#sender.close();
    this.#watch.close();
    this.channel.close();
    this.socket.close();
    this.#twin?.close();
    this.#twin = undefined;
  }
}
