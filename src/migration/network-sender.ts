/** Sends the bytes of a stream over several connections, and again what a cut connection lost. */
import { crc32 } from 'node:zlib';
import type { Fault } from '../base/fault.ts';
import type { BlockPool } from './block-pool.ts';
import { WINDOW_MAX_BLOCKS, WINDOW_MAX_SIZE } from './network-assembler.ts';
import { cutBlocks } from './network-blocks.ts';
import { type Compressor, looksCompressible } from './network-compression.ts';
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
/** Blocks that are compressed at the same time; Node's pool has four threads. */
const JOBS_MAX = 4;
/** A block that got no smaller than this part of itself is sent as it is. */
const WORTH = 0.9;
/** After a guess that was wrong, so many blocks are not tried; doubled each time up to the limit. */
const BACKOFF_MIN = 8;
const BACKOFF_MAX = 256;
/** Assumed speed of compressing before it was tried, bytes a millisecond. */
const COMPRESS_RATE_GUESS = 200_000;
/** Compressing is not tried while it is slower than this part of the connections. */
const COMPRESS_LEAST = 1 / 3;
/** When it was too slow, it is tried again after this time: the machine may have had other work. */
const COMPRESS_RETRY_MS = 2000;
/** Blocks on a way slower than this (bytes a millisecond) are small, so that each is soon ready. */
const SLOW_RATE = 500_000;
const SLOW_BLOCK_SIZE = 256 * 2 ** 10;

interface Block {
  readonly from: number;
  readonly rawLength: number;
  readonly crc: number;
  /** Undefined for zeros. */
  readonly raw: Uint8Array | undefined;
  encoding: number;
  payload: Uint8Array | undefined;
  /** True while it is on its way. */
  busy: boolean;
  compressing: boolean;
  /** True when there is nothing more to try. */
  judged: boolean;
}

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
  #blocks: Block[] = [];
  #connections: readonly NetworkConnection[] = [];
  #roundTripMs = 0;
  #compressor: Compressor | undefined;
  #file = 0;
  #written = 0;
  #unconfirmed = 0;
  #fault: Fault | undefined;
  #waiters: Array<() => void> = [];
  #timer: NodeJS.Timeout | undefined;
  #jobs = 0;
  /** Of all jobs together, bytes a millisecond. */
  #compressRate = COMPRESS_RATE_GUESS;
  #compressedAt = 0;
  /** Time of the longest jobs, milliseconds. */
  #jobMs = 0;
  #skip = 0;
  #backoff = BACKOFF_MIN;
  readonly #counts = { streamBytes: 0, wireBytes: 0, zeroBytes: 0, compressedBytes: 0 };

  constructor({ pool, limit }: SenderOptions) {
    this.#pool = pool;
    this.#limit = limit;
  }

  /** Bytes of the stream taken so far. */
  get written(): number {
    return this.#written;
  }

  get counts(): SenderCounts {
    return { ...this.#counts };
  }

  /** The connections are there, again: what they lost goes out once more. */
  attach(connections: readonly NetworkConnection[], compressor: Compressor | undefined): void {
    this.#connections = connections;
    this.#compressor = compressor;
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
    const isThere = ({ from, rawLength }: Block) =>
      from + rawLength <= applied ||
      ranges.some(([start, end]) => start <= from && from + rawLength <= end);
    const first = this.#blocks[0];
    if (first === undefined || (ranges.length === 0 && !isThere(first))) return;
    const kept: Block[] = [];
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
        this.#compressAhead();
        if (waitMs > 0) this.#pumpIn(waitMs);
        return;
      }
      const block = this.#blocks.find(({ busy, compressing }) => !busy && !compressing);
      if (block === undefined) {
        if (this.#jobs > 0 || this.#blocks.length === 0) this.#pace.starved();
        return;
      }
      this.#send(connection, block);
    }
  }

  #isFull(more: number): boolean {
    if (this.#blocks.length >= WINDOW_MAX_BLOCKS) return true;
    return this.#unconfirmed + more > this.#pace.window(this.#roundTripMs + this.#jobMs);
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

  #send(connection: NetworkConnection, block: Block): void {
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

  /**
   * While the connections are full there is time: blocks that look as if they got smaller are
   * compressed, as long as enough others are ready to keep the connections busy meanwhile.
   */
  #compressAhead(): void {
    const { wireRate } = this.#pace;
    if (this.#compressor === undefined || wireRate === 0) return;
    if (this.#compressRate < wireRate * COMPRESS_LEAST) {
      if (performance.now() - this.#compressedAt < COMPRESS_RETRY_MS) return;
      this.#compressRate = COMPRESS_RATE_GUESS;
    }
    let ready = 0;
    for (const { busy, compressing, payload } of this.#blocks)
      if (!busy && !compressing) ready += payload?.length ?? 0;
    const needed = wireRate * this.#jobMs;
    // The last ones have the longest to wait.
    for (let at = this.#blocks.length - 1; at >= 0; at--) {
      const block = this.#blocks[at];
      if (this.#jobs >= JOBS_MAX) return;
      if (block === undefined || block.busy || block.judged || block.raw === undefined) continue;
      if (ready - block.rawLength < needed) return;
      if (this.#skip > 0) {
        this.#skip--;
        block.judged = true;
      } else if (looksCompressible(block.raw)) {
        ready -= block.rawLength;
        void this.#compress(this.#compressor, block, block.raw);
      } else block.judged = true;
    }
  }

  async #compress(compressor: Compressor, block: Block, raw: Uint8Array): Promise<void> {
    block.judged = true;
    block.compressing = true;
    const jobs = ++this.#jobs;
    const started = performance.now();
    const payload = await compressor.compress(raw).catch(() => undefined);
    const ms = Math.max(performance.now() - started, 0.01);
    this.#jobs--;
    this.#compressedAt = performance.now();
    this.#compressRate = this.#compressRate * 0.8 + ((jobs * raw.length) / ms) * 0.2;
    this.#jobMs = Math.max(ms, this.#jobMs * 0.9);
    block.compressing = false;
    if (payload !== undefined && payload.length < raw.length * WORTH) {
      block.payload = payload;
      block.encoding = compressor.encoding;
      this.#counts.compressedBytes += raw.length;
      this.#backoff = BACKOFF_MIN;
    } else {
      this.#skip = this.#backoff;
      this.#backoff = Math.min(this.#backoff * 2, BACKOFF_MAX);
    }
    this.pump();
  }

  #settle({ rawLength, payload, raw }: Block): void {
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
