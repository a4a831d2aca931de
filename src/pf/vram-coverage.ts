import type { VramObject } from './ports.ts';

/** Bytes of the pieces in which is remembered what came. */
const BLOCK_SIZE = 64 * 2 ** 10;

/**
 * Which parts of a VF's VRAM a stream brought, so that the others can be made zero: a stream that was
 * begun while its VF ran leaves out what is zero.
 */
export class VramCoverage {
  readonly #vram: VramObject;
  readonly #seen: Uint8Array;

  constructor(vram: VramObject) {
    this.#vram = vram;
    this.#seen = new Uint8Array(Math.ceil(vram.size / BLOCK_SIZE));
  }

  /** `[offset, offset+length)` is about to be written; a block that is not whole begins as zero. */
  arriving(offset: number, length: number): void {
    const end = offset + length;
    const first = Math.floor(offset / BLOCK_SIZE);
    const last = Math.floor((end - 1) / BLOCK_SIZE);
    if (first * BLOCK_SIZE < offset) this.#begin(first);
    if ((last + 1) * BLOCK_SIZE > end) this.#begin(last);
    this.#seen.fill(1, first, last + 1);
  }

  /** Makes zero what did not come. */
  clearTheRest(): void {
    const seen = this.#seen;
    for (let from = seen.indexOf(0); from !== -1; ) {
      const next = seen.indexOf(1, from);
      const to = next === -1 ? seen.length : next;
      this.#clear(from * BLOCK_SIZE, Math.min(to * BLOCK_SIZE, this.#vram.size));
      from = next === -1 ? -1 : seen.indexOf(0, next);
    }
  }

  #begin(block: number): void {
    if (this.#seen[block] !== 0) return;
    const start = block * BLOCK_SIZE;
    this.#vram.view(start, Math.min(BLOCK_SIZE, this.#vram.size - start)).fill(0);
  }

  #clear(start: number, end: number): void {
    if (this.#vram.clearRange !== undefined) return this.#vram.clearRange(start, end - start);
    for (let at = start; at < end; at += BLOCK_SIZE)
      this.#vram.view(at, Math.min(BLOCK_SIZE, end - at)).fill(0);
  }
}
