import type { GgttPort, VramObject } from '../../src/pf/ports.ts';

const GGTT_START = 0x80_0000;
const GGTT_END = 0xfee0_0000;

/** The golden model's GGTT. */
export class FakeGgtt implements GgttPort {
  readonly start = GGTT_START;
  readonly end = GGTT_END;
  readonly ptes = new Map<number, [low: number, high: number]>();
  readonly #regions = new Map<number, { start: number; size: number }>();
  /** Called with each write of PTEs. */
  onWrite: (() => void) | undefined;

  assign(vfid: number, start: number, size: number): void {
    this.#regions.set(vfid, { start, size });
    this.clear(vfid);
  }

  release(vfid: number): void {
    this.#regions.delete(vfid);
  }

  clear(vfid: number): void {
    const { start, size } = this.#regions.get(vfid) as { start: number; size: number };
    // No more than tests look at: a fair share has hundreds of thousands of PTEs.
    const end = start + Math.min(size, 2 ** 21);
    for (let at = start; at < end; at += 4096) this.ptes.set(at, [vfid << 2, 0]);
  }

  readPtes(start: number, into: Uint32Array): void {
    for (let n = 0; n < into.length / 2; n++) {
      const [low, high] = this.ptes.get(start + 4096 * n) ?? [0, 0];
      into[2 * n] = low;
      into[2 * n + 1] = high;
    }
  }

  writePtes(start: number, from: Uint32Array): void {
    for (let n = 0; n < from.length / 2; n++)
      this.ptes.set(start + 4096 * n, [from[2 * n] as number, from[2 * n + 1] as number]);
    this.onWrite?.();
  }
}

/** A VF's VRAM. */
export class FakeVram implements VramObject {
  readonly size: number;
  #bytes: Uint8Array | undefined;

  constructor(size: number) {
    this.size = size;
  }

  /** Made when first looked at: a VF's share may be gigabytes. */
  get bytes(): Uint8Array {
    this.#bytes ??= new Uint8Array(this.size);
    return this.#bytes;
  }

  view(offset: number, length: number): Uint8Array {
    if (offset < 0 || length > 2 ** 29 || offset + length > this.size)
      throw new RangeError(`view(${offset}, ${length})`);
    return this.bytes.subarray(offset, offset + length);
  }

  clear(): void {
    this.#bytes?.fill(0);
  }
}
