/** MEM_SET. */
import { MEM_SET } from '../../xe/commands/blt.ts';
import { addressOf48, fieldOf } from '../../xe/commands/blt-fields.ts';
import type { Transfer, TransferContext } from '../engine/contracts.ts';
import { type RowPlace, RowsFill } from './rows-fill.ts';
import type { Matrix } from './rows-transfer.ts';

/** Bytes of width of a matrix: 18 bits of the field. */
export const MATRIX_WIDTH_MASK = 2 ** 18 - 1;

const FILL_MODE = 0;
const EVICT_MODE = 1;

class Fill extends RowsFill {
  readonly #value: number;

  constructor(context: TransferContext, matrix: Matrix, place: RowPlace, value: number) {
    super(context, matrix, place);
    this.#value = value;
  }

  protected override fill(bytes: Uint8Array): void {
    bytes.fill(this.#value);
  }
}

/** Decodes MEM_SET. Fast clears write what other fills write. */
export function startMemSet(dwords: Uint32Array, context: TransferContext): Transfer | undefined {
  const mode = fieldOf(dwords, MEM_SET.MODE);
  if (mode !== FILL_MODE && mode !== EVICT_MODE) return undefined;
  const isMatrix = (fieldOf(dwords, MEM_SET.FILL_TYPE) & 1) !== 0;
  const field = fieldOf(dwords, MEM_SET.WIDTH);
  const width = (isMatrix ? field & MATRIX_WIDTH_MASK : field) + 1;
  const pitch = isMatrix ? fieldOf(dwords, MEM_SET.PITCH) + 1 : width;
  const height = isMatrix ? fieldOf(dwords, MEM_SET.HEIGHT) + 1 : 1;
  // Evicting caches changes no memory.
  const matrix = { width, height: mode === EVICT_MODE ? 0 : height };
  const address = addressOf48(dwords, MEM_SET.DST_ADDRESS);
  return new Fill(context, matrix, { address, pitch }, fieldOf(dwords, MEM_SET.DATA));
}
