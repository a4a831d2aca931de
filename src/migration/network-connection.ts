/** One connection of a migration between hosts: frames in, frames out, and whether it still lives. */
import type { Socket } from 'node:net';
import { Fault } from '../base/fault.ts';
import type { BlockPool } from './block-pool.ts';
import {
  encodeMessage,
  FRAME_TYPE,
  type FrameHandler,
  FrameParser,
  type FrameType,
} from './network-frame.ts';
import { networkFault } from './network-socket.ts';

/** A side that has nothing to say says so this often. */
const PING_INTERVAL_MS = 1000;

/** What a connection tells its owner. */
export interface ConnectionEvents {
  readonly onFrame: FrameHandler;
  /** The connection is over, once. */
  readonly onClose: (fault: Fault) => void;
  /** More can be sent without waiting. */
  readonly onDrain?: () => void;
}

/** A connection that cuts itself when its peer is silent or speaks nonsense. */
export class NetworkConnection {
  readonly #socket: Socket;
  readonly #events: ConnectionEvents;
  readonly #parser: FrameParser;
  #closed = false;
  #heardAt = performance.now();
  #watch: NodeJS.Timeout | undefined;
  /** Time that a PING took to come back, milliseconds; 0 before the first. */
  roundTripMs = 0;

  /** @param pool gives the memory that DATA is received into */
  constructor(socket: Socket, pool: BlockPool, events: ConnectionEvents) {
    this.#socket = socket;
    this.#events = events;
    this.#parser = new FrameParser(
      (header, payload) => this.#take(header, payload),
      () => pool.take(),
    );
    socket.on('data', (bytes) => this.#hear(bytes as Buffer));
    socket.on('drain', () => events.onDrain?.());
    socket.on('error', (error) => this.close(networkFault(error, 'the peer')));
    socket.on('close', () => this.close(new Fault('ECONNRESET', 'the peer closed the connection')));
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Bytes that wait to be handed to the system. */
  get pending(): number {
    return this.#socket.writableLength;
  }

  /**
   * Begins to ask whether the peer is there, and cuts the connection when it is silent for
   * `silenceMs`.
   */
  watch(silenceMs: number): void {
    this.#heardAt = performance.now();
    this.#watch ??= setInterval(() => {
      if (performance.now() - this.#heardAt > silenceMs)
        this.close(new Fault('ETIMEDOUT', `the peer was silent for ${silenceMs} ms`));
      else this.message(FRAME_TYPE.PING, Math.floor(performance.now() * 1000));
    }, PING_INTERVAL_MS);
  }

  /** Sends a frame without stream data. */
  message(type: FrameType, offset = 0, payload?: Uint8Array): void {
    this.send(encodeMessage(type, offset, payload));
  }

  /** Sends bytes; they must stay as they are until the system has them. */
  send(bytes: Uint8Array): void {
    if (!this.#closed) this.#socket.write(bytes);
  }

  /** Puts what is sent until {@link uncork} into as few packets as possible. */
  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  /** Sends what is left and then ends; the peer may still be heard. */
  finish(): void {
    if (!this.#closed) this.#socket.end();
  }

  /** Cuts the connection. Idempotent. */
  close(fault: Fault = new Fault('ECONNABORTED', 'the connection was ended')): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#watch);
    this.#socket.destroy();
    this.#events.onClose(fault);
  }

  #hear(bytes: Buffer): void {
    if (this.#closed) return;
    this.#heardAt = performance.now();
    try {
      this.#parser.push(bytes);
    } catch (error) {
      if (!(error instanceof Fault)) throw error;
      this.close(error);
    }
  }

  #take(...[header, payload]: Parameters<FrameHandler>): void {
    // What came behind a frame that ended the connection is not looked at.
    if (this.#closed) return;
    const { type, offset } = header;
    if (type === FRAME_TYPE.PING) this.message(FRAME_TYPE.PONG, offset);
    else if (type === FRAME_TYPE.PONG) this.#noteRoundTrip(offset);
    else this.#events.onFrame(header, payload);
  }

  #noteRoundTrip(sentAtUs: number): void {
    const ms = performance.now() - sentAtUs / 1000;
    if (ms >= 0) this.roundTripMs = this.roundTripMs === 0 ? ms : (this.roundTripMs * 3 + ms) / 4;
  }
}
