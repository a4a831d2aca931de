/** Ranges kept before a set stops to be exact; a stream in order needs one. */
const RANGES_MAX = 4096;

/** A range of bytes, `end` not included. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Which bytes of something were seen, as ranges that neither touch nor overlap, in order. */
export class RangeSet {
  #ranges: ByteRange[] = [];
  #exact = true;

  /** False when there were more ranges than are kept: {@link gaps} is then not known. */
  get exact(): boolean {
    return this.#exact;
  }

  /** Where the last range ends; 0 when there is none. */
  get end(): number {
    return this.#ranges.at(-1)?.end ?? 0;
  }

  /**
   * Adds `[start, end)`.
   * @returns true when some of it was there before
   */
  add(start: number, end: number): boolean {
    if (end <= start || !this.#exact) return false;
    const ranges = this.#ranges;
    const first = this.#firstEndingAt(start);
    let after = first;
    let overlaps = false;
    let merged: ByteRange = { start, end };
    for (; after < ranges.length; after++) {
      const range = ranges[after];
      if (range === undefined || range.start > end) break;
      overlaps ||= range.start < end && range.end > start;
      merged = {
        start: Math.min(merged.start, range.start),
        end: Math.max(merged.end, range.end),
      };
    }
    ranges.splice(first, after - first, merged);
    if (ranges.length > RANGES_MAX) {
      this.#exact = false;
      this.#ranges = [];
    }
    return overlaps;
  }

  /** What is missing of `[0, size)`. */
  gaps(size: number): ByteRange[] {
    const gaps: ByteRange[] = [];
    let at = 0;
    for (const { start, end } of this.#ranges) {
      if (at >= size) break;
      if (start > at) gaps.push({ start: at, end: Math.min(start, size) });
      at = end;
    }
    if (at < size) gaps.push({ start: at, end: size });
    return gaps;
  }

  /** Index of the first range that ends at or after `position`. */
  #firstEndingAt(position: number): number {
    let [low, high] = [0, this.#ranges.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#ranges[middle]?.end ?? 0) < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
