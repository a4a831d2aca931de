/** Comparing blocks with what was sent of them: the part that runs in any thread. */
import type { BlockDigest } from '../../sys/block-digest.ts';
import { PAGE_SIZE } from '../../sys/mapping.ts';
import { nextData } from '../../sys/memfd.ts';
import { MAPPED, PageMap } from '../../sys/page-map.ts';
import { BLOCK, BLOCK_SIZE, type BlockTable, CONTROL, ELSEWHERE } from './block-table.ts';

/** Blocks that a thread takes at a time: 4 MiB, a fraction of a millisecond. */
const STEP = 64;
const PAGES_PER_BLOCK = BLOCK_SIZE / PAGE_SIZE;

/** Which blocks a pass compares. */
export type ScanScope =
  /** Those that count as sent: finds what changed while the VF runs. */
  | 'sent'
  /** All of them, also to take back those that are as they were sent: nothing may write any more. */
  | 'all';

/** How a pass finds what changed. */
export type ScanFind =
  /** Only blocks that are, or were, in the page table of anybody else are compared. */
  | 'page-tables'
  /** Each block is compared. */
  | 'digests';

/** One pass, in words that cross threads. */
export interface ScanOrder {
  readonly scope: ScanScope;
  readonly find: ScanFind;
}

/** Compares the blocks of one VRAM object. */
export class BlockScanner {
  readonly #table: BlockTable;
  readonly #address: number;
  readonly #fd: number;
  readonly #digest: BlockDigest;
  readonly #zero: bigint;
  /** {@link MAPPED} of the blocks at hand. */
  readonly #found = new Uint8Array(STEP);
  #pageMap: PageMap | undefined;

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
  step(order: ScanOrder): boolean {
    const { control, blocks } = this.#table;
    if (Atomics.load(control, CONTROL.STOP) !== 0) return false;
    const first = Atomics.add(control, CONTROL.NEXT, STEP);
    if (first >= blocks) return false;
    const end = Math.min(first + STEP, blocks);
    if (order.find === 'page-tables') this.#look(first, end);
    else this.#found.fill(MAPPED.UNKNOWN);
    this.#compare(first, end, order.scope === 'all');
    return true;
  }

  /** Notes whether a block that was just sent is in another page table. */
  noteMapped(block: number): void {
    this.#readPageMap(block, block + 1);
    if (this.#found[0] === MAPPED.ELSEWHERE) this.#table.mapped[block] = ELSEWHERE.NOW;
  }

  /** Notes which of the blocks are in another page table, and which are not any more. */
  #look(first: number, end: number): void {
    const { mapped, control } = this.#table;
    this.#readPageMap(first, end);
    for (let block = first; block < end; block++) {
      const found = this.#found[block - first];
      if (found === MAPPED.ELSEWHERE) mapped[block] = ELSEWHERE.NOW;
      else if (found === MAPPED.HERE_ALONE && mapped[block] === ELSEWHERE.NOW) {
        mapped[block] = ELSEWHERE.ONCE;
        Atomics.store(control, CONTROL.VANISHED, 1);
      }
    }
  }

  #readPageMap(first: number, end: number): void {
    this.#pageMap ??= new PageMap();
    const address = this.#address + first * BLOCK_SIZE;
    this.#pageMap.read(address, PAGES_PER_BLOCK, end - first, this.#found);
  }

  /** Holes are not touched: reading one would fill it. */
  #compare(first: number, end: number, all: boolean): void {
    const { digests, state, data, mapped, control } = this.#table;
    let found = 0;
    let compared = 0;
    let dataAt = -1;
    for (let block = first; block < end; block++) {
      if (!all && state[block] !== BLOCK.CLEAN) continue;
      const alone = this.#found[block - first] === MAPPED.HERE_ALONE;
      // Whoever wrote it, other than the device, would have it in a page table.
      if (alone && mapped[block] === ELSEWHERE.NEVER && state[block] === BLOCK.CLEAN) continue;
      const at = block * BLOCK_SIZE;
      if (data[block] === 0) {
        if (dataAt < at) dataAt = nextData(this.#fd, at);
        if (dataAt < at + BLOCK_SIZE) data[block] = 1;
      }
      if (data[block] === 1) compared++;
      const now = data[block] === 0 ? this.#zero : this.#digest(this.#address + at, BLOCK_SIZE);
      if (now === digests[block]) {
        if (all) state[block] = BLOCK.CLEAN;
      } else if (state[block] === BLOCK.CLEAN) {
        state[block] = BLOCK.DIRTY;
        found++;
      }
    }
    Atomics.add(control, CONTROL.FOUND, found);
    Atomics.add(control, CONTROL.COMPARED, compared);
  }

  /** Lets go of what it took itself. Idempotent. */
  close(): void {
    this.#pageMap?.close();
    this.#pageMap = undefined;
  }
}
