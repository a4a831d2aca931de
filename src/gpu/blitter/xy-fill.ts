/** XY_FAST_COLOR_BLT: rectangles of one colour. */
import { BLT_COLOR_DEPTH_SIZES, XY_FAST_COLOR_BLT } from '../../xe/commands/blt.ts';
import { fieldOf, signedFieldOf } from '../../xe/commands/blt-fields.ts';
import type { Transfer, TransferContext } from '../engine/contracts.ts';
import { BlitMemory, PAGE_SIZE } from './blit-memory.ts';
import { type CellGrid, CellsTransfer, cellGrid, cellOf, cellRows } from './cells.ts';
import { RowsFill } from './rows-fill.ts';
import type { Matrix } from './rows-transfer.ts';
import { type ByteRect, type Rows, Surface } from './surface.ts';
import { type XySurface, xySurface } from './xy-surface.ts';

/** Bytes of repeated colour, a multiple of every pixel. */
const PATTERN_SIZE = 48 * 512;

/** Fills rows that lie in a linear surface. */
class LinearFill extends RowsFill {
  readonly #pixelSize: number;
  readonly #pattern: Uint8Array;

  constructor(
    context: TransferContext,
    matrix: Matrix,
    { layout: { address, pitch }, x, y }: XySurface,
    color: Uint8Array,
  ) {
    super(context, matrix, { address: address + y * pitch + x, pitch });
    this.#pixelSize = color.length;
    this.#pattern = repeated(color, PATTERN_SIZE);
  }

  protected override fill(bytes: Uint8Array, x: number): void {
    // Bytes of the first pixel that are not wanted.
    const skew = x % this.#pixelSize;
    const room = PATTERN_SIZE - this.#pixelSize;
    for (let done = 0; done < bytes.length; done += room)
      bytes.set(this.#pattern.subarray(skew, skew + Math.min(room, bytes.length - done)), done);
  }
}

/** Fills a rectangle of a tiled surface. */
class TiledFill extends CellsTransfer {
  readonly #grid: CellGrid;
  readonly #rows: Rows;
  readonly #dst: Surface;

  constructor(context: TransferContext, rect: ByteRect, { layout }: XySurface, color: Uint8Array) {
    const grid = cellGrid(rect, 0, 0);
    super(context, grid);
    this.#grid = grid;
    // Rows begin at a span's first byte and pixels of tiled surfaces divide spans, so the same
    // rows serve every piece.
    this.#rows = { ...cellRows(grid), page: repeated(color, PAGE_SIZE) };
    const { bytes } = this.#rows;
    bytes.set(repeated(color, Math.max(bytes.length, color.length)).subarray(0, bytes.length));
    this.#dst = new Surface(new BlitMemory(context.ppgtt, context.flatCcs), layout);
  }

  protected override cell(index: number): boolean {
    return this.#dst.write(cellOf(this.#grid, index), this.#rows);
  }
}

function repeated(color: Uint8Array, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes.set(color.subarray(0, size));
  for (let done = color.length; done < size; done *= 2)
    bytes.copyWithin(done, 0, Math.min(done, size - done));
  return bytes;
}

/** Decodes XY_FAST_COLOR_BLT. Special operations on metadata are not among what it can do. */
export function startFastColor(
  dwords: Uint32Array,
  context: TransferContext,
): Transfer | undefined {
  const fields = XY_FAST_COLOR_BLT;
  const pixelSize = BLT_COLOR_DEPTH_SIZES[fieldOf(dwords, fields.COLOR_DEPTH)];
  if (pixelSize === undefined || fieldOf(dwords, fields.MULTISAMPLES) !== 0) return undefined;
  if (fieldOf(dwords, fields.SPECIAL_MODE) !== 0) return undefined;
  const dst = xySurface(dwords, fields.dst, pixelSize, 1);
  if (dst === undefined) return undefined;
  const width =
    (signedFieldOf(dwords, fields.X2) - signedFieldOf(dwords, fields.dst.X1)) * pixelSize;
  const height = signedFieldOf(dwords, fields.Y2) - signedFieldOf(dwords, fields.dst.Y1);
  const words = dwords.slice(fields.COLOR, fields.COLOR + 4);
  const color = new Uint8Array(words.buffer, 0, pixelSize);
  if (dst.layout.tiling === undefined) {
    const matrix = { width: Math.max(width, 0), height: width > 0 ? Math.max(height, 0) : 0 };
    return new LinearFill(context, matrix, dst, color);
  }
  const rect = { x1: dst.x, y1: dst.y, x2: dst.x + width, y2: dst.y + height };
  return new TiledFill(context, rect, dst, color);
}
