/** MEM_SET. */
import { MEM_SET } from '../../xe/commands/blt.ts';
import { addressOf48, fieldOf } from '../../xe/commands/blt-fields.ts';
import type { Transfer, TransferContext } from '../engine/contracts.ts';
import { BlitMemory } from './blit-memory.ts';
import { joinedRows, type Matrix, RowsTransfer } from './rows-transfer.ts';

/** Bytes of width of a matrix: 18 bits of the field. */
export const MATRIX_WIDTH_MASK = 2 ** 18 - 1;

const FILL_MODE = 0;
const EVICT_MODE = 1;

class Fill extends RowsTransfer {
  readonly #memory: BlitMemory;
  readonly #address: number;
  readonly #pitch: number;
  readonly #value: number;

  constructor(
    context: TransferContext,
    matrix: Matrix,
    address: number,
    pitch: number,
    value: number,
  ) {
    super(context, matrix);
    this.#memory = new BlitMemory(context.ppgtt, context.flatCcs);
    this.#address = address;
    this.#pitch = pitch;
    this.#value = value;
  }

  protected override begin(): void {
    this.faulted = undefined;
  }

  protected override move(row: number, x: number, length: number): number {
    const address = this.#address + row * this.#pitch + x;
    const run = this.#memory.writable(address, length);
    if (run !== undefined) {
      run.bytes.fill(this.#value);
      if (run.direct || this.#memory.memory.write(address, run.bytes)) return run.bytes.length;
    }
    this.faulted = this.#memory.memory;
    return 0;
  }
}

/** Decodes MEM_SET. Fast clears write what other fills write. */
export function startMemSet(dwords: Uint32Array, context: TransferContext): Transfer | undefined {
  const mode = fieldOf(dwords, MEM_SET.MODE);
  if (mode !== FILL_MODE && mode !== EVICT_MODE) return undefined;
  const matrix = (fieldOf(dwords, MEM_SET.FILL_TYPE) & 1) !== 0;
  const field = fieldOf(dwords, MEM_SET.WIDTH);
  const width = (matrix ? field & MATRIX_WIDTH_MASK : field) + 1;
  const pitch = matrix ? fieldOf(dwords, MEM_SET.PITCH) + 1 : width;
  const height = matrix ? fieldOf(dwords, MEM_SET.HEIGHT) + 1 : 1;
  // Evicting caches changes no memory.
  const rows = joinedRows({ width, height: mode === EVICT_MODE ? 0 : height }, pitch);
  const address = addressOf48(dwords, MEM_SET.DST_ADDRESS);
  return new Fill(context, rows, address, pitch, fieldOf(dwords, MEM_SET.DATA));
}
