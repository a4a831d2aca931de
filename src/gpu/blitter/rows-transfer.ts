/** Work that goes through rows of bytes from first to last. */
import type { GpuMemory, StepEnd, Transfer, TransferContext } from '../engine/contracts.ts';

/** Bytes that are moved at once. */
const PIECE_SIZE = 128 * 1024;

/** Rows of bytes of a command. */
export interface Matrix {
  /** Bytes of a row. */
  readonly width: number;
  readonly height: number;
}

/** A matrix whose rows lie together, with nothing between them on any side, is one row. */
export function joinedRows(matrix: Matrix, ...pitches: readonly number[]): Matrix {
  const { width, height } = matrix;
  if (pitches.some((pitch) => pitch !== width)) return matrix;
  return { width: width * height, height: 1 };
}

/** Goes through rows of bytes; progress is in bytes. */
export abstract class RowsTransfer implements Transfer {
  progress = 0;
  faulted: GpuMemory | undefined;
  readonly #matrix: Matrix;
  readonly #context: TransferContext;

  constructor(context: TransferContext, matrix: Matrix) {
    this.#context = context;
    this.#matrix = matrix;
  }

  /** A step begins: what was remembered of memory may be wrong by now. */
  protected abstract begin(): void;

  /**
   * Moves up to `length` bytes from byte `x` of a row on.
   *
   * @returns how many; 0 after a fault, with `faulted` set
   */
  protected abstract move(row: number, x: number, length: number): number;

  step(budget: number): StepEnd {
    const { width, height } = this.#matrix;
    const total = width * height;
    const end = Math.min(total, this.progress + Math.max(budget, 1));
    this.begin();
    while (this.progress < end) {
      const row = Math.floor(this.progress / width);
      const x = this.progress - row * width;
      const moved = this.move(row, x, Math.min(width - x, end - this.progress, PIECE_SIZE));
      if (moved === 0) return 'fault';
      this.progress += moved;
      this.#context.copied(moved);
      if (this.#context.isLate()) break;
    }
    return this.progress < total ? 'more' : 'done';
  }
}
