/** Rows of bytes that a command fills. */
import type { TransferContext } from '../engine/contracts.ts';
import { BlitMemory } from './blit-memory.ts';
import { joinedRows, type Matrix, RowsTransfer } from './rows-transfer.ts';

/** Where rows lie. */
export interface RowPlace {
  /** Of the first byte. */
  readonly address: number;
  /** Bytes from a row to the next. */
  readonly pitch: number;
}

/** Fills rows, whatever with. */
export abstract class RowsFill extends RowsTransfer {
  readonly #memory: BlitMemory;
  readonly #place: RowPlace;

  constructor(context: TransferContext, matrix: Matrix, place: RowPlace) {
    super(context, joinedRows(matrix, place.pitch));
    this.#memory = new BlitMemory(context.ppgtt, context.flatCcs);
    this.#place = place;
  }

  /** Fills `bytes`, which begin at byte `x` of a row. */
  protected abstract fill(bytes: Uint8Array, x: number): void;

  protected override begin(): void {
    this.faulted = undefined;
  }

  protected override move(row: number, x: number, length: number): number {
    const { memory } = this.#memory;
    const address = this.#place.address + row * this.#place.pitch + x;
    const run = this.#memory.writable(address, length);
    if (run !== undefined) {
      this.fill(run.bytes, x);
      if (run.direct || memory.write(address, run.bytes)) return run.bytes.length;
    }
    this.faulted = memory;
    return 0;
  }
}
