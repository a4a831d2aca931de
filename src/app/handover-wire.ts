/**
 * Messages between a serving process and the one that takes over from it: a socket of their own, JSON
 * or bytes in frames, descriptors beside the frame that names them.
 */
import { Fault } from '../base/fault.ts';
import { closeFd } from '../sys/descriptor.ts';
import { systemFault } from '../sys/libc.ts';
import { MSG, SocketIo } from '../sys/socket-io.ts';
import type { UnixSocket } from '../sys/unix-socket.ts';

/** Version of these messages; both must be the same. */
export const HANDOVER_VERSION = 1;

/** Bytes of a frame's header: its kind and the length of its body. */
const HEADER = 8;
const KIND = { JSON: 1, BYTES: 2 } as const;
/** A frame's body has at most so many bytes. */
const MAX_BODY = 64 * 2 ** 20;
/** Descriptors beside one frame; more are spread over several. */
export const MAX_FRAME_FDS = 200;

/** A received frame; its descriptors are the receiver's to close. */
export interface Frame {
  readonly json: Readonly<Record<string, unknown>> | undefined;
  readonly bytes: Uint8Array;
  readonly fds: number[];
}

/** One end. Calls block; a peer that says nothing for the socket's time-out is given up. */
export class HandoverWire implements Disposable {
  readonly #socket: UnixSocket;
  readonly #io: SocketIo;

  /** Takes over a connected socket. */
  constructor(socket: UnixSocket, timeoutMs: number) {
    this.#socket = socket;
    socket.setSendTimeout(timeoutMs);
    socket.setReceiveTimeout(timeoutMs);
    socket.setBufferSize(4 * 2 ** 20);
    this.#io = new SocketIo(socket.fd, HEADER);
  }

  /** The descriptor, borrowed. */
  get fd(): number {
    return this.#socket.fd;
  }

  /** Sends an object, with borrowed descriptors beside it. @throws {Fault} EPIPE, EAGAIN ... */
  sendJson(object: object, fds: readonly number[] = []): void {
    this.#send(KIND.JSON, [new TextEncoder().encode(JSON.stringify(object))], fds);
  }

  /** Sends bytes, from where they lie. @throws {Fault} EPIPE, EAGAIN ... */
  sendBytes(parts: readonly Uint8Array[]): void {
    for (const part of parts)
      for (let at = 0; at < part.length; at += MAX_BODY)
        this.#send(KIND.BYTES, [part.subarray(at, at + MAX_BODY)], []);
  }

  #send(kind: number, parts: readonly Uint8Array[], fds: readonly number[]): void {
    const { txView } = this.#io;
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    txView.setUint32(0, kind, true);
    txView.setUint32(4, length, true);
    // The header alone, so that no descriptor can end up beside another frame.
    this.#must(this.#io.send(HEADER, 0, fds));
    for (let sent = 0; sent < length; ) sent += this.#must(this.#io.sendGather(0, parts, sent, 0));
  }

  #must(result: number): number {
    if (result < 0) throw systemFault(-result, 'send to the other process');
    return result;
  }

  /**
   * Waits for a frame.
   *
   * @returns undefined when the other process has closed its end or is gone
   * @throws {Fault} EAGAIN after the time-out, EPROTO for what is no frame
   */
  receive(): Frame | undefined {
    const fds: number[] = [];
    try {
      if (!this.#fill(HEADER, (at, length) => this.#io.receive(at, length, MSG.WAITALL), fds))
        return undefined;
      const kind = this.#io.rxView.getUint32(0, true);
      const length = this.#io.rxView.getUint32(4, true);
      if (length > MAX_BODY || (kind !== KIND.JSON && kind !== KIND.BYTES))
        throw new Fault('EPROTO', `a frame of kind ${kind} with ${length} bytes`);
      const bytes = new Uint8Array(length);
      if (!this.#body(bytes)) throw new Fault('ECONNRESET', 'a frame that ends in the middle');
      if (kind === KIND.BYTES) return { json: undefined, bytes, fds };
      return { json: JSON.parse(new TextDecoder().decode(bytes)), bytes, fds };
    } catch (error) {
      for (const fd of fds) closeFd(fd);
      throw error;
    }
  }

  #fill(length: number, read: (at: number, length: number) => number, fds: number[]): boolean {
    for (let done = 0; done < length; ) {
      const result = read(done, length - done);
      if (this.#io.hasFds) fds.push(...this.#io.takeFds());
      if (result === 0) return false;
      if (result < 0) throw systemFault(-result, 'receive from the other process');
      done += result;
    }
    return true;
  }

  #body(bytes: Uint8Array): boolean {
    for (let done = 0; done < bytes.length; ) {
      const { length } = this.#socket.receive(bytes.subarray(done));
      if (length === 0) return false;
      done += length;
    }
    return true;
  }

  /** Idempotent. */
  close(): void {
    this.#io.close();
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
