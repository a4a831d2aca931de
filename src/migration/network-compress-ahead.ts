/**
 * Compressing blocks while they wait for the connections: only where it is likely to pay, so that
 * what does not get smaller goes as fast as without. The rules are in docs/network.md.
 */
import type { SentBlock } from './network-blocks.ts';
import { type Compressor, looksCompressible } from './network-compression.ts';

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

/** What compresses the blocks of one sender. */
export class CompressAhead {
  /** Undefined while nothing is to be compressed. */
  compressor: Compressor | undefined;
  readonly #onReady: () => void;
  #jobs = 0;
  /** Of all jobs together, bytes a millisecond. */
  #rate = COMPRESS_RATE_GUESS;
  #compressedAt = 0;
  /** Time of the longest jobs, milliseconds. */
  #jobMs = 0;
  #skip = 0;
  #backoff = BACKOFF_MIN;
  #compressedBytes = 0;

  /** @param onReady called whenever a block can be sent that could not while it was compressed */
  constructor(onReady: () => void) {
    this.#onReady = onReady;
  }

  /** True while blocks are compressed. */
  get busy(): boolean {
    return this.#jobs > 0;
  }

  /** Milliseconds that compressing a block takes at most, as of late. */
  get jobMs(): number {
    return this.#jobMs;
  }

  /** Bytes of the stream that got smaller. */
  get compressedBytes(): number {
    return this.#compressedBytes;
  }

  /**
   * While the connections are full there is time: blocks that look as if they got smaller are
   * compressed, as long as enough others are ready to keep the connections busy meanwhile.
   *
   * @param blocks in the order of the stream
   * @param wireRate of the connections, bytes a millisecond; 0 while it is not known
   */
  work(blocks: readonly SentBlock[], wireRate: number): void {
    if (this.compressor === undefined || wireRate === 0) return;
    if (this.#rate < wireRate * COMPRESS_LEAST) {
      if (performance.now() - this.#compressedAt < COMPRESS_RETRY_MS) return;
      this.#rate = COMPRESS_RATE_GUESS;
    }
    let ready = 0;
    for (const { busy, compressing, payload } of blocks)
      if (!busy && !compressing) ready += payload?.length ?? 0;
    const needed = wireRate * this.#jobMs;
    // The last ones have the longest to wait.
    for (let at = blocks.length - 1; at >= 0; at--) {
      const block = blocks[at];
      if (this.#jobs >= JOBS_MAX) return;
      if (block === undefined || block.busy || block.judged || block.raw === undefined) continue;
      if (ready - block.rawLength < needed) return;
      if (this.#skip > 0) {
        this.#skip--;
        block.judged = true;
      } else if (looksCompressible(block.raw)) {
        ready -= block.rawLength;
        void this.#compress(this.compressor, block, block.raw);
      } else block.judged = true;
    }
  }

  async #compress(compressor: Compressor, block: SentBlock, raw: Uint8Array): Promise<void> {
    block.judged = true;
    block.compressing = true;
    const jobs = ++this.#jobs;
    const started = performance.now();
    const payload = await compressor.compress(raw).catch(() => undefined);
    const ms = Math.max(performance.now() - started, 0.01);
    this.#jobs--;
    this.#compressedAt = performance.now();
    this.#rate = this.#rate * 0.8 + ((jobs * raw.length) / ms) * 0.2;
    this.#jobMs = Math.max(ms, this.#jobMs * 0.9);
    block.compressing = false;
    if (payload !== undefined && payload.length < raw.length * WORTH) {
      block.payload = payload;
      block.encoding = compressor.encoding;
      this.#compressedBytes += raw.length;
      this.#backoff = BACKOFF_MIN;
    } else {
      this.#skip = this.#backoff;
      this.#backoff = Math.min(this.#backoff * 2, BACKOFF_MAX);
    }
    this.#onReady();
  }
}
