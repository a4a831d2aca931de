/** Cuts the bytes of a stream into blocks: of zeros, which need not travel, and of all others. */

/** Zeros are looked for in pieces of this size. */
const PIECE = 64 * 2 ** 10;
const ZEROS = Buffer.alloc(PIECE);

/** Part of the bytes that were cut. */
export interface BlockRange {
  readonly from: number;
  readonly to: number;
  /** True when all of it is zero. */
  readonly zero: boolean;
}

/**
 * Cuts `bytes` into ranges of at most `most` bytes, in order. Costs one comparison of memory, which
 * ends at the first byte that is not zero.
 *
 * @param most a multiple of 64 KiB
 */
export function* cutBlocks(bytes: Uint8Array, most: number): Generator<BlockRange, void, void> {
  let from = 0;
  let zero = false;
  for (let at = 0; at < bytes.length; at += PIECE) {
    const end = Math.min(at + PIECE, bytes.length);
    const isZero = ZEROS.compare(bytes, at, end, 0, end - at) === 0;
    if (at > from && (isZero !== zero || end - from > most)) {
      yield { from, to: at, zero };
      from = at;
    }
    zero = isZero;
  }
  if (from < bytes.length) yield { from, to: bytes.length, zero };
}

/** A block of a stream that a sender holds until the target has applied it. */
export interface SentBlock {
  /** Where in the stream it begins, and how many bytes of it it stands for. */
  readonly from: number;
  readonly rawLength: number;
  readonly crc: number;
  /** Undefined for zeros. */
  readonly raw: Uint8Array | undefined;
  /** One of ENCODING. */
  encoding: number;
  payload: Uint8Array | undefined;
  /** True while it is on its way. */
  busy: boolean;
  compressing: boolean;
  /** True when there is nothing more to try. */
  judged: boolean;
}
