/** Where in a file the bytes of a resource lie. */
export interface Extent {
  /** First byte of the resource, and one past the last. */
  readonly start: number;
  readonly end: number;
  /** Where `start` lies in the stream. */
  readonly position: number;
}

/** The bytes of one resource, which may come in any order; what comes later covers what was there. */
export class ExtentMap {
  readonly #extents: Extent[] = [];

  /** The parts, in order and without overlap. */
  get extents(): readonly Extent[] {
    return this.#extents;
  }

  /** Bytes of all parts. */
  get bytes(): number {
    return this.#extents.reduce((sum, { start, end }) => sum + end - start, 0);
  }

  /** One past the last byte; 0 when there is none. */
  get end(): number {
    return this.#extents.at(-1)?.end ?? 0;
  }

  /** Puts `size` bytes at `start` of the resource, which lie at `position` in the stream. */
  put(start: number, size: number, position: number): void {
    if (size === 0) return;
    const end = start + size;
    const added: Extent = { start, end, position };
    if (start >= this.end) {
      this.#extents.push(added);
      return;
    }
    const first = this.#firstEndingAfter(start);
    const pieces: Extent[] = [];
    let after = first;
    for (; after < this.#extents.length; after++) {
      const old = this.#extents[after];
      if (old === undefined || old.start >= end) break;
      if (old.start < start) pieces.push({ ...old, end: start });
      if (old.end > end)
        pieces.push({ start: end, end: old.end, position: old.position + end - old.start });
    }
    pieces.push(added);
    pieces.sort((a, b) => a.start - b.start);
    this.#extents.splice(first, after - first, ...pieces);
  }

  /** Index of the first part that ends after `position`. */
  #firstEndingAfter(position: number): number {
    let [low, high] = [0, this.#extents.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#extents[middle]?.end ?? 0) <= position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** A part of a resource that one or both of two maps have. */
export interface SharedPart {
  readonly start: number;
  readonly end: number;
  /** Where each of the two has it in its stream, if it has it. */
  readonly a: number | undefined;
  readonly b: number | undefined;
}

/** The parts of two lists of extents, cut so that each lies in one extent of each list or in none. */
export function* sideBySide(
  left: readonly Extent[],
  right: readonly Extent[],
): Generator<SharedPart> {
  let [i, j, at] = [0, 0, 0];
  for (;;) {
    while ((left[i]?.end ?? Infinity) <= at) i++;
    while ((right[j]?.end ?? Infinity) <= at) j++;
    const [a, b] = [left[i], right[j]];
    if (a === undefined && b === undefined) return;
    const start = Math.max(at, Math.min(a?.start ?? Infinity, b?.start ?? Infinity));
    const inA = a !== undefined && a.start <= start;
    const inB = b !== undefined && b.start <= start;
    const end = Math.min(
      inA ? a.end : (a?.start ?? Infinity),
      inB ? b.end : (b?.start ?? Infinity),
    );
    yield {
      start,
      end,
      a: inA ? a.position + start - a.start : undefined,
      b: inB ? b.position + start - b.start : undefined,
    };
    at = end;
  }
}
