/**
 * One client of a server: its messages in order, one at a time, each with its reply.
 *
 * The stream is read by {@link Connection.ready} when the loop says so, or by
 * {@link Connection.serveHot} while it is the only one. A command that takes its time leaves the
 * connection busy: what comes behind it waits, other connections do not.
 */
import { ERRNO, errnoName } from '../base/errno.ts';
import { Fault } from '../base/fault.ts';
import { closeFd } from '../sys/descriptor.ts';
import { POLL } from '../sys/poll.ts';
import { MSG } from '../sys/socket-io.ts';
import type { UnixSocket } from '../sys/unix-socket.ts';
import { BodyLost, type BodySource } from './body.ts';
import { encodeVersion } from './capabilities.ts';
import { Channel, type UnreadBytes } from './channel.ts';
import { Dispatcher } from './dispatcher.ts';
import type { DmaSocket } from './dma-messages.ts';
import type { DmaEntry } from './dma-table.ts';
import { MessageBodies, MIG_DATA_HEAD } from './message-bodies.ts';
import type { NegotiatedClient } from './negotiation.ts';
import { commandName, HEADER_SIZE, MESSAGE, VFIO_USER } from './protocol.ts';
import { Replies, type SendPort } from './replies.ts';
import type { HotMember, ServerLoop } from './server-loop.ts';
import { SocketWatch } from './socket-watch.ts';
import { Spinner } from './spinner.ts';

/** Room beside the data of the greatest message: both fixed parts and some. */
const MESSAGE_SLACK = 64;
/** A message this much above the limit is refused and skipped; a greater one ends the connection. */
const SKIPPABLE = 4096;
/** How long a client may leave a half-sent reply in the way of a DMA message. */
const FLUSH_TIMEOUT_MS = 1000;

/** What a connection needs from its server. */
export interface ConnectionHost {
  readonly loop: ServerLoop;
  /**
   * Judges the VERSION message and waits until this client may be served.
   *
   * @throws {Fault} EINVAL, EBUSY
   */
  negotiate(connection: Connection, payload: Uint8Array): Promise<NegotiatedClient>;
  /** The connection has ended; `operation` resolves when its last command has been dealt with. */
  ended(connection: Connection, reason: string, operation: Promise<unknown>): void;
  /** Something failed that is not the client's fault. */
  report(connection: Connection, what: string, error: unknown): void;
  /** A command was refused; the reply carries the errno alone. */
  refused(connection: Connection, command: number, fault: Fault): void;
}

/** A connection as it goes from one process to another. */
export interface ConnectionState {
  readonly socket: number;
  /** Payload of the client's VERSION message. */
  readonly hello: Uint8Array;
  /** Bytes of a refused message that are still to come. */
  readonly skip: number;
  readonly unread: UnreadBytes;
  /** Guest memory. */
  readonly dma: readonly DmaEntry[];
}

/** One client. */
export class Connection implements HotMember, BodySource, DmaSocket, SendPort {
  readonly id: number;
  readonly socket: UnixSocket;
  readonly channel: Channel;
  readonly #host: ConnectionHost;
  readonly #replies: Replies;
  readonly #bodies: MessageBodies;
  readonly #watch: SocketWatch;
  readonly #spinner = new Spinner();
  readonly #tryReceive = () => this.channel.fill(MSG.DONTWAIT, this.#nextFill);
  #client: NegotiatedClient | undefined;
  #dispatcher: Dispatcher | undefined;
  /** Payload of the client's VERSION message. */
  #hello: Uint8Array = new Uint8Array();
  #closed = false;
  #busy = false;
  #operation: Promise<unknown> = Promise.resolve();
  /** Bytes of a refused message that are still to come. */
  #skip = 0;
  /** Limit of the next receive: small where a body goes to its final place. */
  #nextFill: number;
  /** End of the message that is being served in the channel's buffer. */
  #servedTo: number | undefined;

  constructor(host: ConnectionHost, id: number, socket: UnixSocket) {
    this.id = id;
    this.socket = socket;
    this.#host = host;
    socket.setReceiveTimeout(host.loop.quietMs);
    socket.setSendTimeout(host.loop.quietMs);
    this.channel = new Channel(socket.fd);
    this.#nextFill = this.channel.rx.length;
    this.#replies = new Replies(this.channel, socket.fd, this);
    this.#bodies = new MessageBodies(this, this.#replies);
    this.#watch = new SocketWatch(host.loop, socket.fd, this);
    host.loop.join(this);
  }

  get fd(): number {
    return this.socket.fd;
  }

  /** The negotiated client, undefined before. */
  get client(): NegotiatedClient | undefined {
    return this.#client;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get canBlock(): boolean {
    return !this.#busy && !this.#closed;
  }

  get #maxMessage(): number {
    const limit = this.#client?.maxDataXferSize;
    return limit === undefined ? this.channel.rx.length : HEADER_SIZE + limit + MESSAGE_SLACK;
  }

  /** The command under way is of no use once the client is gone, or would never end. */
  get #abandonable(): boolean {
    return (
      this.#client === undefined ||
      this.#bodies.receiving ||
      this.#replies.pending ||
      this.#dispatcher?.reading === true
    );
  }

  ready(events: number): void {
    if (this.#closed) return;
    const hangUp = (events & (POLL.ERR | POLL.HUP)) !== 0;
    if (this.#watch.wake()) return;
    if (!this.#busy) this.#receive();
    else if (!hangUp) this.#watch.setEvents(0);
    else if (this.#abandonable) this.close('the client has gone');
    // Nobody is there to read the replies, but what was asked for is still done, in order.
    else this.#watch.remove();
  }

  serveHot(messages: number, pollUs: number): boolean {
    this.#watch.pause();
    for (let turn = 0; turn < messages; turn++) {
      let result: number = -ERRNO.EAGAIN;
      if (pollUs > 0) result = this.#spinner.spin(this.#tryReceive, result, pollUs);
      if (result === -ERRNO.EAGAIN) result = this.channel.fill(0, this.#nextFill);
      const isServed = this.#received(result);
      if (isServed && !this.#busy && !this.#closed && !this.#host.loop.isWorkDue) continue;
      this.cool();
      return isServed && !this.#closed;
    }
    return true;
  }

  cool(): void {
    this.#watch.resume();
  }

  #receive(): void {
    if (this.#received(this.#tryReceive())) this.#host.loop.touch();
  }

  /** Serves what a receive with this result brought; false when it brought nothing. */
  #received(result: number): boolean {
    if (result > 0) {
      this.#nextFill = this.channel.rx.length;
      this.#process();
      return true;
    }
    if (result === 0) this.close('the client has closed');
    else if (result !== -ERRNO.EAGAIN && result !== -ERRNO.EINTR)
      this.close(`receive: ${errnoName(-result)}`);
    return false;
  }

  /** Serves the messages that are here, until one takes its time. */
  #process(): void {
    const { channel } = this;
    while (!this.#closed && !this.#busy) {
      if (this.#skip > 0) this.#skipSome();
      if (this.#skip > 0 || channel.available < HEADER_SIZE) break;
      const at = channel.head;
      const size = channel.rxView.getUint32(at + 4, true);
      const flags = channel.rxView.getUint32(at + 8, true);
      const isCommand = (flags & MESSAGE.TYPE_MASK) === MESSAGE.COMMAND;
      if (size < HEADER_SIZE || !isCommand || size > this.#maxMessage)
        this.#refuseFrame(size, flags);
      else if (this.#isMigDataWrite(at) && size >= MIG_DATA_HEAD) {
        if (channel.available < MIG_DATA_HEAD) break;
        this.#begin(this.#streamWrite(size, flags));
      } else if (size <= channel.available) this.#serve(at, size, flags);
      else if (size > channel.rx.length)
        this.#begin(this.#bodies.serveLarge(this.#dispatcher, size, flags, this.#maxMessage));
      else break;
    }
    if (!this.#closed && !this.#busy && channel.tail === channel.rx.length) channel.compact();
  }

  #isMigDataWrite(at: number): boolean {
    const command = this.channel.rxView.getUint16(at + 2, true);
    return command === VFIO_USER.MIG_DATA_WRITE && this.#client !== undefined;
  }

  #streamWrite(size: number, flags: number): Promise<void> {
    // The next message is probably another one: its body need not pass through the buffer.
    this.#nextFill = MIG_DATA_HEAD;
    return this.#bodies.streamWrite(this.#client as NegotiatedClient, size, flags);
  }

  #skipSome(): void {
    const count = Math.min(this.#skip, this.channel.available);
    for (const fd of this.channel.takeFds(count)) closeFd(fd);
    this.channel.head += count;
    this.#skip -= count;
  }

  /** Refuses a message whose frame is wrong, at once: its body may never come. */
  #refuseFrame(size: number, flags: number): void {
    if ((flags & MESSAGE.TYPE_MASK) !== MESSAGE.COMMAND)
      return this.close('a reply that nobody waits for');
    const header = this.channel.rxView.getUint32(this.channel.head, true);
    const reason = `a message of ${size} bytes`;
    this.#skip = size;
    const pending = this.#replies.refuse(header, flags, new Fault('EINVAL', reason));
    if (pending !== undefined) this.#begin(pending);
    const skippable = size >= HEADER_SIZE && size <= this.#maxMessage + SKIPPABLE;
    if (this.#client === undefined || !skippable) this.close(reason);
  }

  /** Serves the complete message of `size` bytes at `at` of the channel's buffer. */
  #serve(at: number, size: number, flags: number): void {
    const { channel } = this;
    const { rx, rxView } = channel;
    this.#servedTo = at + size;
    const fds = channel.takeFds(size);
    const pending =
      this.#dispatcher === undefined
        ? this.#handshake(at, size, flags, fds)
        : this.#dispatcher.serve(rx, rxView, at, size, flags, fds);
    if (pending === undefined) this.#served();
    else this.#begin(pending);
  }

  /** The message that was served is used up. */
  #served(): void {
    if (this.#servedTo !== undefined) this.channel.head = this.#servedTo;
    this.#servedTo = undefined;
    this.#bodies.receiving = false;
  }

  /** Lets the loop go on with others until `pending` has settled. */
  #begin(pending: Promise<void>): void {
    this.#busy = true;
    this.#host.loop.busy();
    this.#operation = pending
      .catch((error: unknown) => {
        if (error instanceof BodyLost) return this.close(error.message);
        this.#host.report(this, 'a command', error);
        this.close('an internal error');
      })
      .then(() => {
        this.#busy = false;
        this.#host.loop.idle();
        this.#served();
        this.#continue();
      });
  }

  /** Serves what came while the connection was busy. */
  #continue(): void {
    if (this.#closed) return;
    this.#process();
    while (this.#watch.removed && !this.#busy && !this.#closed)
      if (!this.#received(this.#tryReceive())) this.close('the client has gone');
    if (!this.#busy) this.#watch.setEvents(POLL.IN);
  }

  readable(): Promise<void> {
    return this.#watch.wait(POLL.IN);
  }

  writable(): Promise<void> {
    return this.#watch.wait(POLL.OUT);
  }

  broken(error: unknown): void {
    this.close(error instanceof Error ? error.message : String(error));
  }

  refused(command: number, fault: Fault): void {
    this.#host.refused(this, command, fault);
  }

  flush(): void {
    this.#replies.flush(FLUSH_TIMEOUT_MS);
  }

  scanFrom(): number | undefined {
    if (this.#bodies.receiving || this.#skip > 0) return undefined;
    if (this.#servedTo === undefined) this.channel.rewind();
    return this.#servedTo ?? this.channel.head;
  }

  fail(reason: string): void {
    this.close(reason);
  }

  /**
   * Serves no further message until `until` resolves.
   * @returns once the command under way, if any, has been answered
   */
  async hold(until: Promise<void>): Promise<void> {
    while (this.#busy && !this.#closed) await this.#operation;
    if (!this.#closed) this.#begin(until);
  }

  /**
   * What another process needs to go on with this connection, which must be held; descriptors in it
   * are borrowed.
   * @throws {Fault} EOPNOTSUPP for a client with a second socket
   */
  export(): ConnectionState {
    if (this.#client === undefined || this.#client.hasTwin)
      throw new Fault('EOPNOTSUPP', 'a client with a second socket cannot be handed over');
    return {
      socket: this.socket.fd,
      hello: this.#hello,
      skip: this.#skip,
      unread: this.channel.unread(),
      dma: this.#client.dma.entries,
    };
  }

  /**
   * Goes on with a connection of another process.
   * @param client as {@link ConnectionHost.negotiate} would give it
   */
  import(client: NegotiatedClient, { hello, skip, unread }: ConnectionState): void {
    this.#hello = hello;
    this.#skip = skip;
    this.#adoptClient(client);
    this.channel.takeUnread(unread);
  }

  #adoptClient(client: NegotiatedClient): void {
    this.#client = client;
    this.#dispatcher = new Dispatcher(client, this.channel, this.#replies, (count) =>
      this.#bodies.room(count, this.#maxMessage),
    );
  }

  /** Ends the connection; what it holds is let go, and the server cleans up behind it. Idempotent. */
  close(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.remove();
    this.#host.loop.leave(this);
    // A read of migration data may wait for ever: the end of its session is what ends it.
    const reading = this.#dispatcher?.reading === true;
    this.#host.ended(this, reason, reading ? Promise.resolve() : this.#operation);
    this.channel.close();
    this.#bodies.close();
    this.socket.close();
  }

  async #handshake(at: number, size: number, flags: number, fds: number[]): Promise<void> {
    for (const fd of fds) closeFd(fd);
    const header = this.channel.rxView.getUint32(at, true);
    const payload = this.channel.rx.slice(at + HEADER_SIZE, at + size);
    try {
      if (header >>> 16 !== VFIO_USER.VERSION)
        throw new Fault('EINVAL', `${commandName(header >>> 16)} before VFIO_USER_VERSION`);
      const client = await this.#host.negotiate(this, payload);
      this.#hello = payload;
      this.#adoptClient(client);
      const reply = encodeVersion(client.minor, client.capabilities, client.named);
      this.channel.tx.set(reply, HEADER_SIZE);
      await this.#replies.answer(header, flags, reply.length, undefined, client.replyFds);
      client.replied();
    } catch (error) {
      await this.#replies.refuse(header, flags, error);
      this.broken(error);
    }
  }
}
