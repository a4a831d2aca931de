/**
 * XY_BLOCK_COPY_BLT and XY_FAST_COPY_BLT: rectangles of pixels between layouts.
 *
 * Source and destination may overlap: the outcome is that of a copy by way of another place.
 */
import {
  BLT_COLOR_DEPTH_SIZES,
  FAST_COPY_COLOR_DEPTH_SIZES,
  XY_BLOCK_COPY_BLT,
  XY_FAST_COPY_BLT,
} from '../../xe/commands/blt.ts';
import { fieldOf, signedFieldOf } from '../../xe/commands/blt-fields.ts';
import type { Transfer, TransferContext } from '../engine/contracts.ts';
import { BlitMemory } from './blit-memory.ts';
import { type CellGrid, CellsTransfer, cellGrid, cellOf, cellRows, rowGrid } from './cells.ts';
import { MatrixCopy } from './mem-copy.ts';
import type { RowPlace } from './rows-fill.ts';
import type { Matrix } from './rows-transfer.ts';
import { type ByteRect, type Rows, Surface } from './surface.ts';
import { SPAN_SIZE } from './tiling.ts';
import { type XySurface, xySurface } from './xy-surface.ts';

interface Copy {
  readonly src: XySurface;
  readonly dst: XySurface;
  /** Of the destination. */
  readonly rect: ByteRect;
  /** The destination is not to be compressed afterwards. */
  readonly resolve: boolean;
}

/** Copies by way of rows of its own. */
class CellsCopy extends CellsTransfer {
  readonly #grid: CellGrid;
  readonly #rows: Rows;
  readonly #src: Surface;
  readonly #dst: Surface;
  /** From the destination's coordinates to the source's. */
  readonly #dx: number;
  readonly #dy: number;
  /** Undefined when the two do not overlap, else whether the last rows go first. */
  readonly #backward: boolean | undefined;

  constructor(context: TransferContext, copy: Copy, src: Surface, dst: Surface, overlap: boolean) {
    const dx = copy.src.x - copy.dst.x;
    const dy = copy.src.y - copy.dst.y;
    const shift = copy.dst.layout.tiling === undefined;
    const grid = overlap ? rowGrid(copy.rect) : cellGrid(copy.rect, shift ? dx : 0, shift ? dy : 0);
    super(context, grid);
    this.#grid = grid;
    this.#rows = cellRows(grid);
    this.#src = src;
    this.#dst = dst;
    this.#dx = dx;
    this.#dy = dy;
    this.#backward = overlap ? isLater(copy) : undefined;
  }

  protected override cell(index: number): boolean {
    const last = this.#grid.count - 1;
    const cell = cellOf(this.#grid, this.#backward === true ? last - index : index);
    const rows = this.#rows;
    if (!this.#src.read(shifted(cell, this.#dx, this.#dy), rows)) return false;
    realign(rows, cell, (cell.x1 + this.#dx) % SPAN_SIZE);
    // What was written of a row must not be read again when the rest of it faults.
    if (this.#backward !== undefined && !this.#dst.probe(cell)) return false;
    return this.#dst.write(cell, rows);
  }
}

function shifted({ x1, y1, x2, y2 }: ByteRect, dx: number, dy: number): ByteRect {
  return { x1: x1 + dx, y1: y1 + dy, x2: x2 + dx, y2: y2 + dy };
}

function overlaps(src: Surface, from: ByteRect, dst: Surface, to: ByteRect): boolean {
  const [srcFirst, srcEnd] = src.bounds(from);
  const [dstFirst, dstEnd] = dst.bounds(to);
  return srcFirst < dstEnd && dstFirst < srcEnd;
}

/** True when the destination lies behind the source. */
function isLater({ src, dst }: Copy): boolean {
  if (src.layout.address !== dst.layout.address) return dst.layout.address > src.layout.address;
  return dst.y === src.y ? dst.x > src.x : dst.y > src.y;
}

/** Moves rows that were read from `skew` bytes into a span to where the destination has them. */
function realign({ bytes, pitch }: Rows, { x1, y1, x2, y2 }: ByteRect, skew: number): void {
  const wanted = x1 % SPAN_SIZE;
  if (wanted === skew) return;
  for (let row = 0; row < y2 - y1; row++)
    bytes.copyWithin(row * pitch + wanted, row * pitch + skew, row * pitch + skew + x2 - x1);
}

function startCopy(context: TransferContext, copy: Copy): Transfer {
  const { rect, resolve } = copy;
  const { ppgtt, flatCcs } = context;
  const src = new Surface(new BlitMemory(ppgtt, flatCcs), copy.src.layout);
  const dst = new Surface(new BlitMemory(ppgtt, flatCcs, resolve), copy.dst.layout);
  const matrix = {
    width: Math.max(rect.x2 - rect.x1, 0),
    height: rect.x2 > rect.x1 ? Math.max(rect.y2 - rect.y1, 0) : 0,
  };
  const overlap = matrix.height > 0 && overlaps(src, sized(matrix, copy.src), dst, rect);
  const tiled = src.layout.tiling !== undefined || dst.layout.tiling !== undefined;
  if (tiled || overlap) return new CellsCopy(context, copy, src, dst, overlap);
  const side = ({ layout, x, y }: XySurface): RowPlace => ({
    address: layout.address + y * layout.pitch + x,
    pitch: layout.pitch,
  });
  return new MatrixCopy(context, matrix, side(copy.src), side(copy.dst), resolve);
}

function sized({ width, height }: Matrix, { x, y }: XySurface): ByteRect {
  return { x1: x, y1: y, x2: x + width, y2: y + height };
}

/** The destination's rectangle in bytes, from corners in pixels. */
function rectOf(
  dwords: Uint32Array,
  fields: typeof XY_BLOCK_COPY_BLT | typeof XY_FAST_COPY_BLT,
  pixelSize: number,
  dst: XySurface,
): ByteRect {
  const width = signedFieldOf(dwords, fields.X2) - signedFieldOf(dwords, fields.dst.X1);
  const height = signedFieldOf(dwords, fields.Y2) - signedFieldOf(dwords, fields.dst.Y1);
  return sized({ width: width * pixelSize, height }, dst);
}

/** Decodes XY_BLOCK_COPY_BLT. Of surfaces with several samples it knows no layout. */
export function startBlockCopy(
  dwords: Uint32Array,
  context: TransferContext,
): Transfer | undefined {
  const fields = XY_BLOCK_COPY_BLT;
  const pixelSize = BLT_COLOR_DEPTH_SIZES[fieldOf(dwords, fields.COLOR_DEPTH)];
  const special = fieldOf(dwords, fields.SPECIAL_MODE);
  if (pixelSize === undefined || special > 2 || fieldOf(dwords, fields.MULTISAMPLES) !== 0)
    return undefined;
  const src = xySurface(dwords, fields.src, pixelSize, 1);
  const dst = xySurface(dwords, fields.dst, pixelSize, 1);
  if (src === undefined || dst === undefined) return undefined;
  const rect = rectOf(dwords, fields, pixelSize, dst);
  return startCopy(context, { src, dst, rect, resolve: special !== 0 });
}

/** Decodes XY_FAST_COPY_BLT. */
export function startFastCopy(dwords: Uint32Array, context: TransferContext): Transfer | undefined {
  const fields = XY_FAST_COPY_BLT;
  const pixelSize = FAST_COPY_COLOR_DEPTH_SIZES[fieldOf(dwords, fields.COLOR_DEPTH)];
  if (pixelSize === undefined) return undefined;
  const src = xySurface(dwords, fields.src, pixelSize, 0);
  const dst = xySurface(dwords, fields.dst, pixelSize, 0);
  if (src === undefined || dst === undefined) return undefined;
  const rect = rectOf(dwords, fields, pixelSize, dst);
  return startCopy(context, { src, dst, rect, resolve: false });
}
