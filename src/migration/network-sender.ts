/** Sends the bytes of a stream over several connections, and again what a cut connection lost. */
import { crc32 } from 'node:zlib';
import type { Fault } from '../base/fault.ts';
import type { BlockPool } from './block-pool.ts';
import { WINDOW_MAX_BLOCKS, WINDOW_MAX_SIZE } from './network-assembler.ts';
import { cutBlocks, type SentBlock } from './network-blocks.ts';
import { CompressAhead } from './network-compress-ahead.ts';
import type { Compressor } from './network-compression.ts';
import type { NetworkConnection } from './network-connection.ts';
import {
  BLOCK_MAX_SIZE,
  ENCODING,
  encodeFrameHeader,
  FRAME_HEADER_SIZE,
  FRAME_TYPE,
} from './network-frame.ts';
import type { Welcome } from './network-messages.ts';
import { NetworkPace } from './network-pace.ts';
import type { TokenBucket } from './token-bucket.ts';

/** A connection is given no more while so many bytes wait in it. */
const PENDING_MAX = 2 ** 20;
/** Blocks on a way slower than this (bytes a millisecond) are small, so that each is soon ready. */
const SLOW_RATE = 500_000;
const SLOW_BLOCK_SIZE = 256 * 2 ** 10;

/** What a sender has done. */
export interface SenderCounts {
  /** Bytes of the stream that were taken. */
  readonly streamBytes: number;
  /** Bytes that went out, headers and what was sent again included. */
  readonly wireBytes: number;
  readonly zeroBytes: number;
  /** Bytes of the stream that went compressed. */
  readonly compressedBytes: number;
}

/** What a sender works with. */
export interface SenderOptions {
  readonly pool: BlockPool;
  readonly limit?: TokenBucket | undefined;
}

/** The window of one session's streams. A stream is what goes into one data file of the target. */
export class NetworkSender {
  readonly #pool: BlockPool;
  readonly #limit: TokenBucket | undefined;
  readonly #pace = new NetworkPace(WINDOW_MAX_SIZE);
  /** In the order of the stream; a confirmed block is not here any more. */
  #blocks: SentBlock[] = [];
  #connections: readonly NetworkConnection[] = [];
  #roundTripMs = 0;
  readonly #compression = new CompressAhead(() => this.pump());
  #file = 0;
  #written = 0;
  #unconfirmed = 0;
  #fault: Fault | undefined;
  #waiters: Array<() => void> = [];
  #timer: NodeJS.Timeout | undefined;
  readonly #counts = { streamBytes: 0, wireBytes: 0, zeroBytes: 0 };

  constructor({ pool, limit }: SenderOptions) {
    this.#pool = pool;
    this.#limit = limit;
  }

  /** Bytes of the stream taken so far. */
  get written(): number {
    return this.#written;
  }

  get counts(): SenderCounts {
    return { ...this.#counts, compressedBytes: this.#compression.compressedBytes };
  }

  /** The connections are there, again: what they lost goes out once more. */
  attach(connections: readonly NetworkConnection[], compressor: Compressor | undefined): void {
    this.#connections = connections;
    this.#compression.compressor = compressor;
    for (const block of this.#blocks) block.busy = false;
    this.#pace.idle();
    this.pump();
  }

  /** The connections are gone. */
  detach(): void {
    this.#connections = [];
  }

  /** A new stream begins. */
  open(): void {
    this.#drop();
    this.#file = (this.#file + 1) % 256;
    this.#written = 0;
    this.#fault = undefined;
  }

  /** Nothing more of this stream is sent; who writes gets `fault`. */
  fail(fault: Fault): void {
    this.#fault ??= fault;
    this.#drop();
    this.#wake();
  }

  /**
   * Takes the next bytes of the stream; resolves when they are copied.
   * @throws {Fault} what the stream, or the way to the target, failed with
   */
  async write(bytes: Uint8Array): Promise<void> {
    const { wireRate } = this.#pace;
    const most = wireRate > 0 && wireRate < SLOW_RATE ? SLOW_BLOCK_SIZE : BLOCK_MAX_SIZE;
    for (const { from, to, zero } of cutBlocks(bytes, most)) {
      while (this.#fault === undefined && this.#isFull(to - from))
        await new Promise<void>((resolve) => this.#waiters.push(resolve));
      if (this.#fault !== undefined) throw this.#fault;
      this.#take(bytes.subarray(from, to), zero);
      this.pump();
    }
  }

  /** The target has applied everything below `applied`, and holds `ranges` above it. */
  confirm(
    applied: number,
    roundTripMs: number,
    ranges: readonly (readonly [number, number])[] = [],
  ): void {
    this.#roundTripMs = roundTripMs;
    const isThere = ({ from, rawLength }: SentBlock) =>
      from + rawLength <= applied ||
      ranges.some(([start, end]) => start <= from && from + rawLength <= end);
    const first = this.#blocks[0];
    if (first === undefined || (ranges.length === 0 && !isThere(first))) return;
    const kept: SentBlock[] = [];
    for (const block of this.#blocks)
      if (isThere(block)) this.#settle(block);
      else kept.push(block);
    this.#blocks = kept;
    if (kept.length === 0) this.#pace.idle();
    this.#wake();
    this.pump();
  }

  /** A session goes on: nothing that the target has is sent again. */
  resume({ file, applied, held }: Pick<Welcome, 'file' | 'applied' | 'held'>): void {
    // The target has closed the file: all of it was applied, and only the answer was lost.
    if (file !== this.#file) this.confirm(this.#written, this.#roundTripMs);
    else this.confirm(applied, this.#roundTripMs, held);
  }

  /** Sends what may be sent now. */
  pump(): void {
    if (this.#connections.length === 0) return;
    for (;;) {
      const connection = this.#connectionWithRoom();
      const waitMs = this.#limit?.waitMs() ?? 0;
      if (connection === undefined || waitMs > 0) {
        this.#compression.work(this.#blocks, this.#pace.wireRate);
        if (waitMs > 0) this.#pumpIn(waitMs);
        return;
      }
      const block = this.#blocks.find(({ busy, compressing }) => !busy && !compressing);
      if (block === undefined) {
        if (this.#compression.busy || this.#blocks.length === 0) this.#pace.starved();
        return;
      }
      this.#send(connection, block);
    }
  }

  #isFull(more: number): boolean {
    if (this.#blocks.length >= WINDOW_MAX_BLOCKS) return true;
    return (
      this.#unconfirmed + more > this.#pace.window(this.#roundTripMs + this.#compression.jobMs)
    );
  }

  #take(bytes: Uint8Array, zero: boolean): void {
    let raw: Uint8Array | undefined;
    if (!zero) {
      raw = this.#pool.take().subarray(0, bytes.length);
      raw.set(bytes);
    }
    this.#blocks.push({
      from: this.#written,
      rawLength: bytes.length,
      crc: raw === undefined ? 0 : crc32(raw),
      raw,
      encoding: zero ? ENCODING.ZERO : ENCODING.RAW,
      payload: raw,
      busy: false,
      compressing: false,
      judged: zero,
    });
    this.#written += bytes.length;
    this.#unconfirmed += bytes.length;
    this.#counts.streamBytes += bytes.length;
    if (zero) this.#counts.zeroBytes += bytes.length;
  }

  #connectionWithRoom(): NetworkConnection | undefined {
    let best: NetworkConnection | undefined;
    for (const connection of this.#connections)
      if (connection.pending < (best?.pending ?? PENDING_MAX)) best = connection;
    return best;
  }

  #send(connection: NetworkConnection, block: SentBlock): void {
    const { from, rawLength, crc, encoding, payload } = block;
    const length = payload?.length ?? 0;
    const head = new Uint8Array(FRAME_HEADER_SIZE);
    encodeFrameHeader(
      { type: FRAME_TYPE.DATA, encoding, file: this.#file, length, rawLength, offset: from, crc },
      head,
    );
    block.busy = true;
    block.judged = true;
    connection.cork();
    connection.send(head);
    if (payload !== undefined) connection.send(payload);
    connection.uncork();
    const bytes = FRAME_HEADER_SIZE + length;
    this.#counts.wireBytes += bytes;
    this.#limit?.spend(bytes);
  }

  #settle({ rawLength, payload, raw }: SentBlock): void {
    this.#unconfirmed -= rawLength;
    this.#pace.confirmed(rawLength, FRAME_HEADER_SIZE + (payload?.length ?? 0));
    if (raw !== undefined) this.#pool.give(raw);
  }

  #pumpIn(waitMs: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.pump();
    }, waitMs);
  }

  /** The memory of these blocks may still be read by a socket or a compression: it is let go. */
  #drop(): void {
    this.#blocks = [];
    this.#unconfirmed = 0;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}
