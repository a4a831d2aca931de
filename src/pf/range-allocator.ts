import { Fault } from '../base/fault.ts';
import { alignDown, alignUp } from '../base/int.ts';

/** A half-open range of addresses or ids. */
interface Range {
  readonly start: number;
  readonly end: number;
}

/** Hands out ranges of `[start, end)`: GGTT addresses, context ids, doorbell ids. */
export class RangeAllocator {
  readonly #start: number;
  readonly #end: number;
  /** What is handed out, by start. */
  #used: Range[] = [];

  constructor(start: number, end: number) {
    this.#start = start;
    this.#end = end;
  }

  /** All that there is to hand out. */
  get total(): number {
    return this.#end - this.#start;
  }

  /** What is handed out. */
  get used(): number {
    return this.#used.reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /** Sizes of the holes whose both ends are cut to `alignment`. */
  holes(alignment: number): number[] {
    return this.#holes(alignment).map(({ start, end }) => end - start);
  }

  /**
   * Hands out `size` from the top or from the bottom.
   * @throws {Fault} ENOSPC when no hole is large enough
   */
  allocate(size: number, alignment: number, from: 'top' | 'bottom'): number {
    const fits = this.#holes(alignment).filter(({ start, end }) => end - start >= size);
    const hole = from === 'top' ? fits.at(-1) : fits[0];
    if (hole === undefined) throw new Fault('ENOSPC', `no room for ${size} in one piece`);
    const start = from === 'top' ? alignDown(hole.end - size, alignment) : hole.start;
    this.#used.push({ start, end: start + size });
    this.#used.sort((a, b) => a.start - b.start);
    return start;
  }

  /** Takes back what begins at `start`. */
  release(start: number): void {
    this.#used = this.#used.filter((range) => range.start !== start);
  }

  #holes(alignment: number): Range[] {
    const holes: Range[] = [];
    let at = this.#start;
    for (const range of [...this.#used, { start: this.#end, end: this.#end }]) {
      const start = alignUp(at, alignment);
      const end = alignDown(range.start, alignment);
      if (start < end) holes.push({ start, end });
      at = range.end;
    }
    return holes;
  }
}
