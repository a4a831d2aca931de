/** Replies on a connection, one at a time. */
import { type Fault, toFault } from '../base/fault.ts';
import type { Channel } from './channel.ts';
import { Outgoing } from './outgoing.ts';
import { HEADER_SIZE, MESSAGE } from './protocol.ts';

/** The connection as far as sending is concerned. */
export interface SendPort {
  readonly closed: boolean;
  /** Resolves when the socket takes more, or the connection is gone. */
  writable(): Promise<void>;
  /** The peer takes nothing any more. */
  broken(error: unknown): void;
  /** A command is refused. */
  refused(command: number, fault: Fault): void;
}

/** Writes the headers of replies and sends them; what the socket does not take now goes later. */
export class Replies {
  readonly #view: DataView;
  readonly #outgoing: Outgoing;
  readonly #port: SendPort;

  constructor(channel: Channel, fd: number, port: SendPort) {
    this.#view = channel.txView;
    this.#outgoing = new Outgoing(channel.io, fd);
    this.#port = port;
  }

  /** True while a reply is half out. */
  get pending(): boolean {
    return this.#outgoing.pending;
  }

  /**
   * Sends the reply whose payload begins behind the header's place in the channel's buffer.
   *
   * @param header id and command of the request, as one word
   * @param flags the request's flags
   * @param length bytes of the payload in the buffer
   * @param tail the rest of the payload
   * @param fds descriptors to go along, borrowed
   * @returns nothing when all is out, else a promise of that
   */
  answer(
    header: number,
    flags: number,
    length: number,
    tail?: readonly Uint8Array[],
    fds?: readonly number[],
  ): void | Promise<void> {
    let size = HEADER_SIZE + length;
    if (tail !== undefined) for (const part of tail) size += part.length;
    return this.#send(header, flags, MESSAGE.REPLY, 0, size, HEADER_SIZE + length, tail, fds);
  }

  /** Sends the errno of `error`: a bare header. Otherwise as {@link answer}. */
  refuse(header: number, flags: number, error: unknown): void | Promise<void> {
    const fault = toFault(error);
    this.#port.refused(header >>> 16, fault);
    const reply = MESSAGE.REPLY | MESSAGE.ERROR;
    return this.#send(header, flags, reply, fault.errno, HEADER_SIZE, HEADER_SIZE);
  }

  #send(
    header: number,
    flags: number,
    replyFlags: number,
    errno: number,
    size: number,
    head: number,
    tail?: readonly Uint8Array[],
    fds?: readonly number[],
  ): void | Promise<void> {
    if ((flags & MESSAGE.NO_REPLY) !== 0 || this.#port.closed) return undefined;
    this.#view.setUint32(0, header, true);
    this.#view.setUint32(4, size, true);
    this.#view.setUint32(8, replyFlags, true);
    this.#view.setUint32(12, errno, true);
    try {
      if (this.#outgoing.send(head, tail, fds)) return undefined;
    } catch (error) {
      this.#port.broken(error);
      return undefined;
    }
    return this.#drain();
  }

  async #drain(): Promise<void> {
    try {
      while (!this.#port.closed && !this.#outgoing.push(0)) await this.#port.writable();
    } catch (error) {
      this.#port.broken(error);
    }
  }

  /** Sends the rest of a reply, waiting for the socket. @throws {Fault} ETIMEDOUT, EPIPE ... */
  flush(timeoutMs: number): void {
    this.#outgoing.flush(timeoutMs);
  }
}
