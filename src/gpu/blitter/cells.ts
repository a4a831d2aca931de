/** Work on a rectangle in pieces that are small enough for one turn. */
import { alignDown } from '../../base/int.ts';
import type { GpuMemory, StepEnd, Transfer, TransferContext } from '../engine/contracts.ts';
import type { ByteRect, Rows } from './surface.ts';
import { SPAN_SIZE } from './tiling.ts';

/** Bytes and rows of a piece: whole pages of each tiling. */
const CELL_WIDTH = 4096;
const CELL_HEIGHT = 32;
/** Pages of tilings begin at multiples of these. */
const GRID_WIDTH = 512;

/** How a rectangle is cut. */
export interface CellGrid {
  readonly rect: ByteRect;
  readonly originX: number;
  readonly originY: number;
  readonly width: number;
  readonly height: number;
  readonly columns: number;
  readonly count: number;
}

/**
 * Cuts a rectangle.
 *
 * @param shiftX,shiftY from the rectangle's coordinates to those whose pages are not to be cut
 */
export function cellGrid(rect: ByteRect, shiftX: number, shiftY: number): CellGrid {
  const originX = alignDown(rect.x1 + shiftX, GRID_WIDTH) - shiftX;
  const originY = alignDown(rect.y1 + shiftY, CELL_HEIGHT) - shiftY;
  return gridOf(rect, originX, originY, CELL_WIDTH, CELL_HEIGHT);
}

/** Cuts a rectangle into its rows. */
export function rowGrid(rect: ByteRect): CellGrid {
  return gridOf(rect, rect.x1, rect.y1, Math.max(rect.x2 - rect.x1, 1), 1);
}

function gridOf(
  rect: ByteRect,
  originX: number,
  originY: number,
  width: number,
  height: number,
): CellGrid {
  const empty = rect.x2 <= rect.x1 || rect.y2 <= rect.y1;
  const columns = Math.ceil((rect.x2 - originX) / width);
  const count = empty ? 0 : columns * Math.ceil((rect.y2 - originY) / height);
  return { rect, originX, originY, width, height, columns, count };
}

/** One piece, cut to the rectangle. */
export function cellOf(grid: CellGrid, index: number): ByteRect {
  const { rect, originX, originY, width, height, columns } = grid;
  const x = originX + (index % columns) * width;
  const y = originY + Math.floor(index / columns) * height;
  return {
    x1: Math.max(x, rect.x1),
    y1: Math.max(y, rect.y1),
    x2: Math.min(x + width, rect.x2),
    y2: Math.min(y + height, rect.y2),
  };
}

/** Room for the rows of any piece, at any place in a span. */
export function cellRows({ rect, width, height }: CellGrid): Rows {
  const wide = Math.min(width, Math.max(rect.x2 - rect.x1, 0));
  const pitch = alignDown(wide, SPAN_SIZE) + 2 * SPAN_SIZE;
  const bytes = new Uint8Array(pitch * Math.min(height, Math.max(rect.y2 - rect.y1, 0)));
  return { bytes, words: new Uint32Array(bytes.buffer), pitch };
}

/** Does one piece after the other; progress is in pieces. */
export abstract class CellsTransfer implements Transfer {
  progress = 0;
  faulted: GpuMemory | undefined;
  readonly #context: TransferContext;
  readonly #grid: CellGrid;

  constructor(context: TransferContext, grid: CellGrid) {
    this.#context = context;
    this.#grid = grid;
  }

  /** Does a piece, all of it or none that would show. @returns false on a fault */
  protected abstract cell(index: number): boolean;

  step(budget: number): StepEnd {
    this.faulted = undefined;
    const grid = this.#grid;
    for (let left = Math.max(budget, 1); this.progress < grid.count; this.progress++) {
      if (left <= 0 || this.#context.isLate()) return 'more';
      if (!this.cell(this.progress)) {
        this.faulted = this.#context.ppgtt;
        return 'fault';
      }
      const { x1, y1, x2, y2 } = cellOf(grid, this.progress);
      const bytes = (x2 - x1) * (y2 - y1);
      this.#context.copied(bytes);
      left -= bytes;
    }
    return 'done';
  }
}
