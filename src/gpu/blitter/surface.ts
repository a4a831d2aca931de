/** Rectangles of bytes of a surface, read into and written from plain rows. */
import { alignDown } from '../../base/int.ts';
import { type BlitMemory, PAGE_SIZE } from './blit-memory.ts';
import { SPAN_SIZE, type Tiling } from './tiling.ts';

/** A rectangle in bytes of rows, ends excluded. */
export interface ByteRect {
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
}

/** A surface of a command. */
export interface SurfaceLayout {
  readonly address: number;
  /** Bytes from a row to the next. */
  readonly pitch: number;
  /** Undefined for linear. */
  readonly tiling: Tiling | undefined;
  /** Slice in tiles that are shared by slices. */
  readonly slice: number;
}

/**
 * Rows outside of memory: the byte of column x of the rectangle is at `x % SPAN_SIZE` of the first
 * span of a row, so that whole spans of both sides are aligned.
 */
export interface Rows {
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  /** Bytes of a row, a multiple of {@link SPAN_SIZE}. */
  readonly pitch: number;
  /** What a whole page of them is when all of them are the same all over. */
  readonly page?: Uint8Array;
}

const SPAN_WORDS = SPAN_SIZE / 4;

/** One surface in memory. */
export class Surface {
  readonly layout: SurfaceLayout;
  readonly #memory: BlitMemory;
  readonly #scratch = new Uint8Array(PAGE_SIZE);

  constructor(memory: BlitMemory, layout: SurfaceLayout) {
    this.#memory = memory;
    this.layout = layout;
  }

  /** Reads a rectangle. @returns false on a fault */
  read(rect: ByteRect, rows: Rows): boolean {
    return this.layout.tiling === undefined
      ? this.#linear(rect, rows, false)
      : this.#tiled(this.layout.tiling, rect, rows, false);
  }

  /** Writes a rectangle. @returns false on a fault; what was before it is then written */
  write(rect: ByteRect, rows: Rows): boolean {
    return this.layout.tiling === undefined
      ? this.#linear(rect, rows, true)
      : this.#tiled(this.layout.tiling, rect, rows, true);
  }

  /** True when every page of a rectangle can be written; else a fault is noted. */
  probe({ x1, y1, x2, y2 }: ByteRect): boolean {
    const { address, pitch, tiling } = this.layout;
    const { memory } = this.#memory;
    for (let y = y1; y < y2; y++) {
      if (tiling !== undefined) {
        for (let x = x1; x < x2; x = alignDown(x, tiling.pageWidth) + tiling.pageWidth)
          if (memory.run(this.#pageAddress(tiling, x, y), 1, 'write') === undefined) return false;
        continue;
      }
      const end = address + y * pitch + x2;
      for (let at = address + y * pitch + x1; at < end; at = alignDown(at, PAGE_SIZE) + PAGE_SIZE)
        if (memory.run(at, 1, 'write') === undefined) return false;
    }
    return true;
  }

  /** First and last address that a rectangle may touch. */
  bounds({ x1, y1, x2, y2 }: ByteRect): readonly [first: number, last: number] {
    const { address, pitch, tiling } = this.layout;
    if (tiling === undefined) return [address + y1 * pitch + x1, address + (y2 - 1) * pitch + x2];
    const top = this.#tileAddress(tiling, 0, Math.floor(y1 / tiling.height));
    const across = Math.floor((x2 - 1) / tiling.width);
    const bottom = this.#tileAddress(tiling, across, Math.floor((y2 - 1) / tiling.height));
    return [top, bottom + tiling.size];
  }

  #linear({ x1, y1, x2, y2 }: ByteRect, rows: Rows, write: boolean): boolean {
    const { address, pitch } = this.layout;
    const skew = x1 % SPAN_SIZE;
    for (let y = y1; y < y2; y++) {
      const at = (y - y1) * rows.pitch + skew;
      const part = rows.bytes.subarray(at, at + x2 - x1);
      const place = address + y * pitch + x1;
      if (!(write ? this.#memory.write(place, part) : this.#memory.read(place, part))) return false;
    }
    return true;
  }

  #tileAddress(tiling: Tiling, tileX: number, tileY: number): number {
    const { address, pitch } = this.layout;
    return address + tileY * pitch * tiling.height * tiling.depth + tileX * tiling.size;
  }

  /** Of the page of a tile that byte `x` of row `y` is in. */
  #pageAddress(tiling: Tiling, x: number, y: number): number {
    const tileX = Math.floor(x / tiling.width);
    const tileY = Math.floor(y / tiling.height);
    const span = Math.floor((x - tileX * tiling.width) / SPAN_SIZE);
    const offset =
      (tiling.spanOffsets[span] as number) +
      (tiling.rowOffsets[y - tileY * tiling.height] as number) +
      (tiling.sliceOffsets[this.layout.slice] as number);
    return this.#tileAddress(tiling, tileX, tileY) + alignDown(offset, PAGE_SIZE);
  }

  #tiled(tiling: Tiling, rect: ByteRect, rows: Rows, write: boolean): boolean {
    const { pageWidth, pageHeight } = tiling;
    const firstX = alignDown(rect.x1, pageWidth);
    const firstY = alignDown(rect.y1, pageHeight);
    for (let y = firstY; y < rect.y2; y += pageHeight)
      for (let x = firstX; x < rect.x2; x += pageWidth)
        if (!this.#page(tiling, x, y, rect, rows, write)) return false;
    return true;
  }

  /** The part of a rectangle that lies in the page whose first byte is (`x`, `y`). */
  #page(tiling: Tiling, x: number, y: number, rect: ByteRect, rows: Rows, write: boolean): boolean {
    const address = this.#pageAddress(tiling, x, y);
    const part: PagePart = {
      tiling,
      inPage: (tiling.sliceOffsets[this.layout.slice] as number) % PAGE_SIZE,
      left: Math.max(rect.x1 - x, 0),
      right: Math.min(rect.x2 - x, tiling.pageWidth),
      top: Math.max(rect.y1 - y, 0),
      bottom: Math.min(rect.y2 - y, tiling.pageHeight),
      rows,
      // Where the page's first byte would be in the rows.
      origin: (y - rect.y1) * rows.pitch + x - alignDown(rect.x1, SPAN_SIZE),
    };
    return write ? this.#writePage(address, part) : this.#readPage(address, part);
  }

  #readPage(address: number, part: PagePart): boolean {
    let bytes = this.#memory.readable(address, PAGE_SIZE);
    if (bytes === undefined) return false;
    if (bytes.length < PAGE_SIZE) {
      bytes = this.#scratch;
      if (!this.#memory.read(address, bytes)) return false;
    }
    movePage(part, bytes, false);
    return true;
  }

  #writePage(address: number, part: PagePart): boolean {
    const run = this.#memory.writable(address, PAGE_SIZE);
    if (run === undefined) return false;
    if (run.direct && run.bytes.length === PAGE_SIZE) {
      const { page } = part.rows;
      if (page !== undefined && isWhole(part)) run.bytes.set(page);
      else movePage(part, run.bytes, true);
      return true;
    }
    return eachSpan(part, (at, rowsAt, length) =>
      this.#memory.write(address + at, part.rows.bytes.subarray(rowsAt, rowsAt + length)),
    );
  }
}

/** The part of a rectangle that lies in one page. */
interface PagePart {
  readonly tiling: Tiling;
  /** What the slice adds to an offset in the page. */
  readonly inPage: number;
  /** In bytes and rows of the page's rectangle, ends excluded. */
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
  readonly rows: Rows;
  readonly origin: number;
}

function isWhole({ tiling, left, right, top, bottom }: PagePart): boolean {
  const { pageWidth, pageHeight } = tiling;
  const inside = (right - left) * (bottom - top);
  return inside === PAGE_SIZE && inside === pageWidth * pageHeight;
}

/** Calls `move` for each piece that lies together on both sides, until one fails. */
function eachSpan(
  { tiling, inPage, left, right, top, bottom, rows, origin }: PagePart,
  move: (at: number, rowsAt: number, length: number) => boolean,
): boolean {
  const { spanSize } = tiling;
  for (let y = top; y < bottom; y++) {
    const row = inPage + (tiling.rowOffsets[y] as number);
    for (let x = left; x < right; ) {
      const skew = x % spanSize;
      const length = Math.min(spanSize - skew, right - x);
      const at = row + (tiling.spanOffsets[(x - skew) / SPAN_SIZE] as number) + skew;
      if (!move(at, origin + y * rows.pitch + x, length)) return false;
      x += length;
    }
  }
  return true;
}

/** Moves bytes between a page that is at hand and rows. */
function movePage(part: PagePart, page: Uint8Array, write: boolean): void {
  const { tiling, rows, left, right } = part;
  const wholeSpans = left % SPAN_SIZE === 0 && right % SPAN_SIZE === 0;
  if (tiling.spanSize === SPAN_SIZE && wholeSpans && page.byteOffset % 4 === 0) {
    moveSpans(part, new Uint32Array(page.buffer, page.byteOffset, PAGE_SIZE / 4), write);
    return;
  }
  eachSpan(part, (at, rowsAt, length) => {
    if (length > SPAN_SIZE) {
      if (write) page.set(rows.bytes.subarray(rowsAt, rowsAt + length), at);
      else rows.bytes.set(page.subarray(at, at + length), rowsAt);
    } else if (write) {
      for (let i = 0; i < length; i++) page[at + i] = rows.bytes[rowsAt + i] as number;
    } else {
      for (let i = 0; i < length; i++) rows.bytes[rowsAt + i] = page[at + i] as number;
    }
    return true;
  });
}

/** Moves whole spans of 16 bytes as words. */
function moveSpans(part: PagePart, page: Uint32Array, write: boolean): void {
  const { tiling, rows, left, right, top, bottom, origin } = part;
  const { spanWords, rowWords } = tiling;
  const { words } = rows;
  const slice = part.inPage >>> 2;
  const firstSpan = left / SPAN_SIZE;
  const endSpan = right / SPAN_SIZE;
  const pitch = rows.pitch >>> 2;
  let row = (origin + left) / 4 + top * pitch;
  for (let y = top; y < bottom; y++, row += pitch) {
    const first = slice + (rowWords[y] as number);
    if (write) spansIn(words, row, page, first, spanWords, firstSpan, endSpan);
    else spansOut(page, first, words, row, spanWords, firstSpan, endSpan);
  }
}

function spansIn(
  from: Uint32Array,
  source: number,
  page: Uint32Array,
  row: number,
  spanWords: Uint16Array,
  firstSpan: number,
  endSpan: number,
): void {
  for (let span = firstSpan, at = source; span < endSpan; span++, at += SPAN_WORDS) {
    const target = row + (spanWords[span] as number);
    page[target] = from[at] as number;
    page[target + 1] = from[at + 1] as number;
    page[target + 2] = from[at + 2] as number;
    page[target + 3] = from[at + 3] as number;
  }
}

function spansOut(
  page: Uint32Array,
  row: number,
  to: Uint32Array,
  target: number,
  spanWords: Uint16Array,
  firstSpan: number,
  endSpan: number,
): void {
  for (let span = firstSpan, at = target; span < endSpan; span++, at += SPAN_WORDS) {
    const source = row + (spanWords[span] as number);
    to[at] = page[source] as number;
    to[at + 1] = page[source + 1] as number;
    to[at + 2] = page[source + 2] as number;
    to[at + 3] = page[source + 3] as number;
  }
}
