/** Comparing blocks with what was sent of them: the part that runs in any thread. */
import type { BlockDigest } from '../../sys/block-digest.ts';
import { nextData } from '../../sys/memfd.ts';
import { BLOCK, BLOCK_SIZE, type BlockTable, CONTROL } from './block-table.ts';

/** Blocks that a thread takes at a time: 4 MiB, a fraction of a millisecond. */
const STEP = 64;

/** Which blocks a pass compares. */
export type ScanScope =
  /** Those that count as sent: finds what changed while the VF runs. */
  | 'sent'
  /** All of them, also to take back those that are as they were sent: nothing may write any more. */
  | 'all';

/** Compares the blocks of one VRAM object. */
export class BlockScanner {
  readonly #table: BlockTable;
  readonly #address: number;
  readonly #fd: number;
  readonly #digest: BlockDigest;
  readonly #zero: bigint;

  /**
   * @param address native address of the first byte
   * @param fd the descriptor behind it, which begins with that byte; for finding holes
   * @param zero digest of a block of zeros
   */
  constructor(
    table: BlockTable,
    { address, fd }: { readonly address: number; readonly fd: number },
    digest: BlockDigest,
    zero: bigint,
  ) {
    this.#table = table;
    this.#address = address;
    this.#fd = fd;
    this.#digest = digest;
    this.#zero = zero;
  }

  /**
   * Compares the next few blocks of the pass under way.
   * @returns false when none is left, or the pass was called off
   */
  step(scope: ScanScope): boolean {
    const { control, blocks } = this.#table;
    if (Atomics.load(control, CONTROL.STOP) !== 0) return false;
    const first = Atomics.add(control, CONTROL.NEXT, STEP);
    if (first >= blocks) return false;
    const found = this.#compare(first, Math.min(first + STEP, blocks), scope === 'all');
    Atomics.add(control, CONTROL.FOUND, found);
    return true;
  }

  /** Holes are not touched: reading one would fill it. @returns blocks that were found changed */
  #compare(first: number, end: number, all: boolean): number {
    const { digests, state, data } = this.#table;
    let found = 0;
    let dataAt = -1;
    for (let block = first; block < end; block++) {
      if (!all && state[block] !== BLOCK.CLEAN) continue;
      const at = block * BLOCK_SIZE;
      if (data[block] === 0) {
        if (dataAt < at) dataAt = nextData(this.#fd, at);
        if (dataAt < at + BLOCK_SIZE) data[block] = 1;
      }
      const now = data[block] === 0 ? this.#zero : this.#digest(this.#address + at, BLOCK_SIZE);
      if (now === digests[block]) {
        if (all) state[block] = BLOCK.CLEAN;
      } else if (state[block] === BLOCK.CLEAN) {
        state[block] = BLOCK.DIRTY;
        found++;
      }
    }
    return found;
  }
}
