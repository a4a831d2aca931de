/**
 * A vfio-user client that knows nothing but bytes: it sends whatever it is told to, well formed or
 * not, and gives back what came, with blocking reads that end at a deadline.
 *
 * It shares no code with src/vfio-user: it is the independent witness of the conformance suite.
 */
import {
  closeFd,
  connectUnix,
  receiveOnce,
  SystemError,
  sendOnce,
  shutdownWrite,
  waitReadable,
  waitWritable,
} from './libc.ts';
import { CMD, HEADER_SIZE, type HeaderChange, message, type Piece, version } from './wire.ts';

/** Time for an answer of a server that lives, in milliseconds; generous, never measured. */
export const PATIENCE_MS = 10_000;

/** One received message, reply or command. */
export interface Message {
  readonly id: number;
  readonly command: number;
  readonly size: number;
  readonly flags: number;
  readonly error: number;
  readonly payload: Uint8Array;
  /** The payload's fields. */
  readonly view: DataView;
  readonly fds: readonly number[];
}

/** The server closed the connection, perhaps inside a message. */
export class ConnectionClosed extends Error {}
/** Nothing, or not the whole message, came in time. */
export class NoAnswer extends Error {}

/** One connection to a server, from its first byte. */
export class RawClient {
  readonly fd: number;
  #open = true;
  #nextId = 1;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Connects and sends nothing. */
  static connect(path: string): RawClient {
    return new RawClient(connectUnix(path));
  }

  /** Connects and negotiates 0.1 with `capabilities`. */
  static negotiate(path: string, capabilities: object = { max_msg_fds: 16 }): RawClient {
    const client = RawClient.connect(path);
    try {
      const reply = client.call(CMD.VERSION, version(0, 1, { capabilities }));
      if (reply.error !== 0) throw new Error(`negotiation refused: errno ${reply.error}`);
      for (const fd of reply.fds) closeFd(fd);
    } catch (error) {
      client.close();
      throw error;
    }
    return client;
  }

  /**
   * Sends all bytes; descriptors go with the first of them.
   * @throws {ConnectionClosed} when the server closed the connection before it took them
   */
  send(bytes: Uint8Array, fds: readonly number[] = []): void {
    let at = 0;
    let rights = fds;
    while (at < bytes.length) {
      let sent: number;
      try {
        sent = sendOnce(this.fd, bytes.subarray(at), rights);
      } catch (error) {
        if (isHangUp(error)) throw new ConnectionClosed('closed while sending');
        throw error;
      }
      if (sent === 0 && !waitWritable(this.fd, PATIENCE_MS))
        throw new NoAnswer(`the server took ${at} of ${bytes.length} bytes`);
      at += sent;
      if (sent > 0) rights = [];
    }
  }

  /**
   * The next whole message.
   * @throws {ConnectionClosed} when the server closed instead
   * @throws {NoAnswer} when it did not come in time
   */
  receive(timeoutMs = PATIENCE_MS): Message {
    const fds: number[] = [];
    const header = this.#receiveExactly(HEADER_SIZE, fds, timeoutMs);
    const head = new DataView(header.buffer);
    const size = head.getUint32(4, true);
    if (size < HEADER_SIZE || size > 64 * 2 ** 20) throw new Error(`a message of size ${size}`);
    const payload = this.#receiveExactly(size - HEADER_SIZE, fds, timeoutMs);
    return {
      id: head.getUint16(0, true),
      command: head.getUint16(2, true),
      size,
      flags: head.getUint32(8, true),
      error: head.getUint32(12, true),
      payload,
      view: new DataView(payload.buffer),
      fds,
    };
  }

  #receiveExactly(count: number, fds: number[], timeoutMs: number): Uint8Array {
    const bytes = new Uint8Array(count);
    const deadline = Date.now() + timeoutMs;
    let at = 0;
    while (at < count) {
      let got: ReturnType<typeof receiveOnce>;
      try {
        got = receiveOnce(this.fd, count - at);
      } catch (error) {
        if (isHangUp(error)) throw new ConnectionClosed('closed while receiving');
        throw error;
      }
      if (got === undefined) {
        if (!waitReadable(this.fd, Math.max(0, deadline - Date.now())))
          throw new NoAnswer(`${at} of ${count} bytes came in ${timeoutMs} ms`);
        continue;
      }
      if (got.bytes.length === 0)
        throw new ConnectionClosed(`closed after ${at} of ${count} bytes`);
      bytes.set(got.bytes, at);
      fds.push(...got.fds);
      at += got.bytes.length;
    }
    return bytes;
  }

  /** A message id that the last one had not. */
  nextId(): number {
    this.#nextId = (this.#nextId % 0xffff) + 1;
    return this.#nextId;
  }

  /** Sends a command and gives back the next message. */
  call(
    command: number,
    payload: Piece = [],
    options: HeaderChange & { readonly fds?: readonly number[] } = {},
  ): Message {
    this.send(message(command, payload, { id: this.nextId(), ...options }), options.fds ?? []);
    return this.receive();
  }

  /** True when the server closes the connection within the time given; nothing else may come. */
  closedByServer(timeoutMs = PATIENCE_MS): boolean {
    try {
      this.receive(timeoutMs);
    } catch (error) {
      if (error instanceof ConnectionClosed) return true;
      if (error instanceof NoAnswer) return false;
      throw error;
    }
    return false;
  }

  /** Ends the sending direction only. */
  shutdownWrite(): void {
    shutdownWrite(this.fd);
  }

  /** Closes the connection. Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeFd(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

const EPIPE = 32;
const ECONNRESET = 104;

function isHangUp(error: unknown): boolean {
  return error instanceof SystemError && (error.errno === EPIPE || error.errno === ECONNRESET);
}
