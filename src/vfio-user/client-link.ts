/**
 * A client's end of a connection: requests go out in order, replies find theirs, and what the
 * server asks meanwhile is answered.
 *
 * A synchronous call sends, then receives until its reply is there; asynchronous ones are completed
 * by the event loop, and by synchronous calls that come across their replies.
 */
import { ERRNO, errnoName, knownErrno } from '../base/errno.ts';
import { Fault } from '../base/fault.ts';
import { closeFd } from '../sys/descriptor.ts';
import { POLL, pollOne, pollReadable } from '../sys/poll.ts';
import { Readiness } from '../sys/readiness.ts';
import { MSG } from '../sys/socket-io.ts';
import { UnixSocket } from '../sys/unix-socket.ts';
import { Channel } from './channel.ts';
import type { ClientMemory } from './client-memory.ts';
import { Outgoing } from './outgoing.ts';
import { commandName, HEADER_SIZE, MESSAGE } from './protocol.ts';
import { Spinner } from './spinner.ts';

/** A blocking receive or send looks up this often. */
const SLICE_MS = 20;
const LOST_HINT = 'the server is gone; look at its log, start it again and connect anew';

/** How long a call may take, and how it waits. */
export interface LinkOptions {
  /** Time for a reply, milliseconds. */
  readonly timeoutMs: number;
  /** Microseconds to spin for a reply before blocking. */
  readonly pollUs: number;
}

/** Where the body of a reply goes instead of into the small buffer. */
export interface BodySink {
  /** Bytes of the payload before the body, which is all that {@link begin} sees. */
  readonly fixed: number;
  /**
   * Judges the fixed part.
   *
   * @param length bytes of the body
   * @returns native address of room for the body
   * @throws {Fault} EPROTO when the reply cannot be right
   */
  begin(view: DataView, at: number, length: number): { address: number; bytes: Uint8Array };
}

/** A reply's payload, and the descriptors that came with it. */
export interface Reply {
  readonly payload: Uint8Array;
  readonly view: DataView;
  readonly fds: readonly number[];
}

/** One request whose reply is awaited. */
interface Pending {
  readonly id: number;
  readonly command: number;
  readonly sink: BodySink | undefined;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (fault: Fault) => void;
  timer: NodeJS.Timeout | undefined;
}

/** The body of a reply that is on its way to its sink. */
interface Incoming {
  readonly pending: Pending;
  readonly reply: Reply;
  address: number;
  bytes: Uint8Array;
  left: number;
}

const NO_FDS: readonly number[] = [];

/** The link. */
export class ClientLink {
  readonly socket: UnixSocket;
  readonly channel: Channel;
  readonly #outgoing: Outgoing;
  readonly #options: LinkOptions;
  readonly #memory: ClientMemory;
  readonly #readiness = new Readiness();
  readonly #spinner = new Spinner();
  readonly #tryFill = () => this.channel.fill(MSG.DONTWAIT);
  readonly #pending = new Map<number, Pending>();
  #incoming: Incoming | undefined;
  #twin: { readonly socket: UnixSocket; readonly channel: Channel } | undefined;
  #sending: Promise<void> = Promise.resolve();
  #writable: (() => void) | undefined;
  #nextId = 0;
  #lost: Fault | undefined;
  /** Id of the synchronous request under way, -1 for none. */
  #syncId = -1;
  /** Place of the reply of the last synchronous call, until the next use of the link. */
  replyAt = 0;
  /** Bytes of its payload. */
  replyLength = 0;
  #replyEnd = -1;
  #syncFault: Fault | undefined;

  constructor(socket: UnixSocket, memory: ClientMemory, options: LinkOptions) {
    this.socket = socket;
    this.#memory = memory;
    this.#options = options;
    socket.setReceiveTimeout(SLICE_MS);
    socket.setSendTimeout(SLICE_MS);
    socket.setBufferSize(4 * 2 ** 20);
    this.channel = new Channel(socket.fd);
    this.#outgoing = new Outgoing(this.channel.io, socket.fd);
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

  /** @throws {Fault} ENOTCONN when the link is lost */
  #check(): void {
    if (this.#lost !== undefined)
      throw new Fault('ENOTCONN', this.#lost.message, { cause: this.#lost, hint: LOST_HINT });
  }

  #writeHeader(command: number, size: number, flags: number): number {
    const id = this.#nextId;
    this.#nextId = (id + 1) & 0xffff;
    const view = this.channel.txView;
    view.setUint16(0, id, true);
    view.setUint16(2, command, true);
    view.setUint32(4, size, true);
    view.setUint32(8, flags, true);
    view.setUint32(12, 0, true);
    return id;
  }

  /**
   * Sends the request whose payload of `length` bytes stands behind the header's place in the send
   * buffer, and receives its reply; see {@link replyAt}.
   *
   * @throws {Fault} the errno of an error reply; ETIMEDOUT, ECONNRESET, ENOTCONN
   */
  call(command: number, length: number, fds?: readonly number[]): void {
    this.#post(command, length, MESSAGE.COMMAND, fds);
    const { channel } = this;
    const end = performance.now() + this.#options.timeoutMs;
    this.#syncFault = undefined;
    while (this.#syncId >= 0) {
      this.#serveReceived();
      if (this.#syncId < 0) break;
      this.#fillForSync(channel, end);
    }
    if (this.#syncFault !== undefined) throw this.#syncFault;
  }

  /** Sends a request that is not replied to. Otherwise as {@link call}. */
  post(command: number, length: number): void {
    this.#post(command, length, MESSAGE.NO_REPLY);
    this.#syncId = -1;
  }

  #post(command: number, length: number, flags: number, fds?: readonly number[]): void {
    this.#check();
    this.#dropReply();
    // The buffer holds this request's payload: what is half out refers to other memory.
    if (this.#outgoing.pending) this.#flushKeeping(HEADER_SIZE + length);
    this.#syncId = this.#writeHeader(command, HEADER_SIZE + length, flags);
    try {
      if (!this.#outgoing.send(HEADER_SIZE + length, undefined, fds)) this.#flush();
    } catch (error) {
      this.#syncId = -1;
      throw this.#lose(error);
    }
  }
}
