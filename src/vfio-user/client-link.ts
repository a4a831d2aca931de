/**
 * A client's end of a connection: requests go out in order, replies find theirs, and what the
 * server asks meanwhile is answered.
 *
 * A synchronous call sends, then receives until its reply is there; asynchronous ones are completed
 * by the event loop, and by synchronous calls that come across their replies.
 */
import { ERRNO, errnoName } from '../base/errno.ts';
import { Fault, toFault } from '../base/fault.ts';
import { closeFd } from '../sys/descriptor.ts';
import { POLL, pollOne, pollReadable } from '../sys/poll.ts';
import { Readiness } from '../sys/readiness.ts';
import { MSG } from '../sys/socket-io.ts';
import { UnixSocket } from '../sys/unix-socket.ts';
import { Channel } from './channel.ts';
import { LOST_HINT, lostFault, refusal, timedOut } from './client-faults.ts';
import type { ClientMemory } from './client-memory.ts';
import { type BodySink, PendingReplies, type Reply } from './client-pending.ts';
import { ClientSender } from './client-sender.ts';
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
  readonly #readiness = new Readiness();
  readonly #spinner = new Spinner();
  readonly #tryFill = () => this.channel.fill(MSG.DONTWAIT, this.#fillLimit);
  readonly #tryFillBytes = () => this.channel.fillBytes(MSG.DONTWAIT);
  /** Whether the event loop is told of what the server sends. */
  #watched = true;
  #twin: { readonly socket: UnixSocket; readonly channel: Channel } | undefined;
  #nextId = 0;
  #lost: Fault | undefined;
  /** Id of the synchronous request under way, -1 for none. */
  #syncId = -1;
  #syncFault: Fault | undefined;
  /** Whether the reply of the synchronous request under way may bring descriptors. */
  #wantsFds = false;
  /** End of the last synchronous call's reply, which still lies in the buffer; -1 for none. */
  #replyEnd = -1;
  /** Where the payload of that reply begins in the channel's buffer. */
  replyAt = 0;
  /** Bytes of that payload. */
  replyLength = 0;

  constructor(socket: UnixSocket, memory: ClientMemory, options: LinkOptions) {
    this.socket = socket;
    this.#memory = memory;
    this.#options = options;
    socket.setReceiveTimeout(SLICE_MS);
    socket.setSendTimeout(SLICE_MS);
    socket.setBufferSize(4 * 2 ** 20);
    this.channel = new Channel(socket.fd);
    this.#sender = new ClientSender(this.channel.io, socket.fd, this.#readiness, () => {
      this.#receiveNow();
    });
    this.#pending = new PendingReplies((waiting) => this.#readiness.keepAlive(waiting));
    this.#readiness.add(socket.fd, POLL.IN, 0);
    this.#readiness.keepAlive(false);
    this.#readiness.notify(this.#onReady);
  }

  /** Why the link is of no more use, undefined while it is. */
  get lost(): Fault | undefined {
    return this.#lost;
  }

  /** Takes over the twin socket, on which the server's commands come from now on. */
  adoptTwin(fd: number): void {
    const socket = new UnixSocket(fd);
    socket.setReceiveTimeout(SLICE_MS);
    socket.setSendTimeout(SLICE_MS);
    this.#twin = { socket, channel: new Channel(fd) };
    this.#readiness.add(fd, POLL.IN, 1);
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
    this.#dropReply();
  }

  /**
   * The event loop need not know of the replies to synchronous calls, and what it is told of takes
   * the server's send longer: it looks again when it has its turn.
   */
  #unwatch(): void {
    this.#watched = false;
    this.#readiness.remove(this.socket.fd);
    setImmediate(this.#rewatch);
  }

  readonly #rewatch = () => {
    if (this.#watched || this.#lost !== undefined) return;
    this.#watched = true;
    this.#readiness.add(this.socket.fd, POLL.IN, 0);
  };

  #dropReply(): void {
    if (this.#replyEnd < 0) return;
    this.channel.head = this.#replyEnd;
    this.#replyEnd = -1;
  }

  #newId(): number {
    const id = this.#nextId;
    this.#nextId = (id + 1) & 0xffff;
    return id;
  }

  /**
   * Sends the request whose payload has `length` bytes and receives its reply: see
   * {@link replyAt}. Descriptors that come with the reply are closed.
   *
   * @throws {Fault} the errno of an error reply; ETIMEDOUT, ECONNRESET
   */
  call(command: number, length: number, fds?: readonly number[]): void {
    const id = this.#newId();
    this.#syncFault = undefined;
    this.#syncId = id;
    if (this.#watched && !this.#pending.any) this.#unwatch();
    this.#send(id, command, length, MESSAGE.COMMAND, fds);
    let end = 0;
    for (;;) {
      if (this.channel.available > 0 || this.#pending.receiving) this.#serveReceived();
      if (this.#syncId < 0) break;
      if (this.#fillSync()) continue;
      if (end === 0) end = performance.now() + this.#options.timeoutMs;
      else if (performance.now() > end) this.#abandon(id, command);
    }
    if (this.#syncFault !== undefined) throw this.#syncFault;
  }

  /**
   * As {@link call}.
   *
   * @returns the descriptors that came with the reply; the caller's to close
   */
  callForFds(command: number, length: number): number[] {
    this.#wantsFds = true;
    try {
      this.call(command, length);
      return this.channel.takeFds(this.replyLength + HEADER_SIZE);
    } finally {
      this.#wantsFds = false;
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
      this.#syncId = -1;
      throw this.#lose(error);
    }
  }

  /** Gives up waiting for a reply, which is thrown away when it comes. */
  #abandon(id: number, command: number): never {
    this.#syncId = -1;
    this.#pending.forget(id, command);
    throw timedOut(command, this.#options.timeoutMs);
  }

  /** Receives for a synchronous call; false when nothing came for a while. */
  #fillSync(): boolean {
    const { channel } = this;
    const { pollUs } = this.#options;
    let result: number = -ERRNO.EAGAIN;
    if (this.#twin !== undefined) {
      const ready = pollReadable(this.socket.fd, this.#twin.socket.fd, SLICE_MS);
      if ((ready & 2) !== 0) this.#serveTwin();
      if ((ready & 1) !== 0) result = this.#tryFill();
    } else if (this.#wantsFds || this.#pending.any) {
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
    this.#rewatch();
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
    this.#readiness.notify(this.#onReady);
  };

  /** Serves what is there, without waiting for more. */
  #receiveNow(): void {
    try {
      this.#dropReply();
      if (this.#twin !== undefined && pollOne(this.#twin.socket.fd, POLL.IN, 0) !== 0)
        this.#serveTwin();
      for (let turn = 0; turn < RECEIVES_A_TURN; turn++) {
        this.#serveReceived();
        if (this.#replyEnd >= 0) break;
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
    while (this.#replyEnd < 0) {
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
    if (channel.tail === channel.rx.length && this.#replyEnd < 0) channel.compact();
  }

  /** Takes a reply; false when some of it is still to come. */
  #serveReply(at: number, size: number): boolean {
    const { channel } = this;
    const id = channel.rxView.getUint16(at, true);
    const command = channel.rxView.getUint16(at + 2, true);
    if (id !== this.#syncId) return this.#pending.take(channel, id, command, size);
    if (size > channel.rx.length)
      throw new Fault('EPROTO', `a reply of ${size} bytes to ${commandName(command)}`);
    if (channel.available < size) return false;
    this.#syncId = -1;
    this.replyAt = at + HEADER_SIZE;
    this.replyLength = size - HEADER_SIZE;
    this.#replyEnd = at + size;
    const failed = (channel.rxView.getUint32(at + 8, true) & MESSAGE.ERROR) !== 0;
    if (failed) this.#syncFault = refusal(command, channel.rxView.getUint32(at + 12, true));
    if (failed || !this.#wantsFds) for (const fd of channel.takeFds(size)) closeFd(fd);
    return true;
  }

  #serveCommand(): void {
    // The answer must not go into the middle of a request.
    this.#sender.flush();
    this.#memory.serve(this.channel, this.socket.fd);
  }

  #serveTwin(): void {
    if (this.#twin === undefined) return;
    const { socket, channel } = this.#twin;
    const result = channel.fill(MSG.DONTWAIT);
    if (result === 0)
      throw this.#lose(new Fault('ECONNRESET', 'the server closed the twin socket'));
    while (channel.available >= HEADER_SIZE) this.#memory.serve(channel, socket.fd);
  }

  /** Fails everything that waits. @returns the fault to throw */
  #lose(error: unknown): Fault {
    if (this.#lost !== undefined) return this.#lost;
    this.#lost = lostFault(toFault(error));
    this.#syncId = -1;
    this.#pending.fail(this.#lost);
    this.close();
    return this.#lost;
  }

  /** Closes the connection; what waits is refused. Idempotent. */
  close(): void {
    this.#lost ??= new Fault('ENOTCONN', 'the connection is closed');
    this.#pending.fail(this.#lost);
    this.#sender.close();
    this.#readiness.close();
    this.channel.close();
    this.socket.close();
    this.#twin?.channel.close();
    this.#twin?.socket.close();
    this.#twin = undefined;
  }
}
