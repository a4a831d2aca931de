/** GGTT-addressed memory of the PF's driver for messages with indirect data (xe_guc_buf.c). */
import { Fault } from '../../base/fault.ts';
import type { GucBuffer } from '../../pf/ports.ts';

/** Bytes that a GT has for this. */
export const GUC_BUFFER_CACHE_SIZE = 8 * 2 ** 20;
/** Buffers begin at multiples of this. */
const GRANULE = 64;

/** The buffers of one GT: first fit in a fixed range of the GGTT. */
export class PfBuffers {
  readonly #base: number;
  #buffers: Array<{ readonly start: number; readonly bytes: Uint8Array }> = [];

  /** @param base GGTT address of the range */
  constructor(base: number) {
    this.#base = base;
  }

  /** Reserves zeroed memory. @throws {Fault} ENOBUFS for a size that is 0, too big or not left */
  reserve(size: number): GucBuffer {
    if (!Number.isSafeInteger(size) || size <= 0 || size > GUC_BUFFER_CACHE_SIZE)
      throw new Fault('ENOBUFS', `there is no GuC buffer of ${size} bytes`);
    let start = 0;
    let index = 0;
    for (; index < this.#buffers.length; index++) {
      const next = this.#buffers[index] as { start: number; bytes: Uint8Array };
      if (next.start - start >= size) break;
      start = Math.ceil((next.start + next.bytes.length) / GRANULE) * GRANULE;
    }
    if (start + size > GUC_BUFFER_CACHE_SIZE)
      throw new Fault('ENOBUFS', `${size} bytes of GuC buffer are not left`);
    const entry = { start, bytes: new Uint8Array(size) };
    this.#buffers.splice(index, 0, entry);
    return {
      ggttAddress: this.#base + start,
      bytes: entry.bytes,
      release: () => {
        this.#buffers = this.#buffers.filter((other) => other !== entry);
      },
    };
  }

  /** The bytes at `[address, address+length)`, undefined unless they lie in one buffer. */
  at(address: number, length: number): Uint8Array | undefined {
    const offset = address - this.#base;
    const buffer = this.#buffers.find(
      ({ start, bytes }) => offset >= start && offset + length <= start + bytes.length,
    );
    return buffer?.bytes.subarray(offset - buffer.start, offset - buffer.start + length);
  }
}
