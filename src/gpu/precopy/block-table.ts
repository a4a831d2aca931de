/**
 * What is known of each block of a VF's VRAM while it is pre-copied, in memory that the threads
 * share.
 *
 * The stream's reader at the other end holds zeros before the first packet. So a block whose digest
 * is that of zeros counts as sent from the beginning, and blocks that nobody ever wrote need neither
 * be looked at nor be sent.
 */

/** Bytes of a block: what is compared and sent as one. */
export const BLOCK_SIZE = 64 * 2 ** 10;

/** Values of {@link BlockTable.state}. */
export const BLOCK = {
  /** As it was sent, as far as known. */
  CLEAN: 0,
  /** Changed after it was sent. */
  DIRTY: 1,
  /** Not sent yet, perhaps zero. */
  INITIAL: 2,
} as const;

/** Values of {@link BlockTable.mapped}: whether a block is in anybody else's page table. */
export const ELSEWHERE = {
  /** It was not seen there since the pre-copy began. */
  NEVER: 0,
  /** It was when last looked at. */
  NOW: 1,
  /** It was, and is not any more. */
  ONCE: 2,
} as const;

/** Indices into {@link BlockTable.control}. */
export const CONTROL = {
  /** The next block that a scanning thread takes. */
  NEXT: 0,
  /** Not 0: the scanning threads give up. */
  STOP: 1,
  /** Blocks that were found changed in this pass. */
  FOUND: 2,
  /** Blocks that were compared in this pass. */
  COMPARED: 3,
  /** Not 0: a block that was in another page table is in none any more. */
  VANISHED: 4,
} as const;

/** The shared memory of one table. */
export interface BlockTableMemory {
  readonly blocks: number;
  readonly digests: SharedArrayBuffer;
  readonly states: SharedArrayBuffer;
  readonly data: SharedArrayBuffer;
  readonly mapped: SharedArrayBuffer;
  readonly control: SharedArrayBuffer;
}

/** The blocks of one VRAM object. */
export class BlockTable {
  readonly memory: BlockTableMemory;
  /** Count of blocks; VRAM is a multiple of 2 MiB. */
  readonly blocks: number;
  /** Digest of each block as it was sent last. */
  readonly digests: BigUint64Array;
  /** {@link BLOCK} of each block. */
  readonly state: Uint8Array;
  /** 1 for a block that is known to take memory; others may be holes. */
  readonly data: Uint8Array;
  /** {@link ELSEWHERE} of each block. */
  readonly mapped: Uint8Array;
  readonly control: Int32Array;

  constructor(memory: BlockTableMemory) {
    this.memory = memory;
    this.blocks = memory.blocks;
    this.digests = new BigUint64Array(memory.digests);
    this.state = new Uint8Array(memory.states);
    this.data = new Uint8Array(memory.data);
    this.mapped = new Uint8Array(memory.mapped);
    this.control = new Int32Array(memory.control);
  }

  /** A table for `size` bytes in which every block counts as sent with digest `zero`. */
  static create(size: number, zero: bigint): BlockTable {
    const blocks = Math.ceil(size / BLOCK_SIZE);
    const table = new BlockTable({
      blocks,
      digests: new SharedArrayBuffer(blocks * 8),
      states: new SharedArrayBuffer(blocks),
      data: new SharedArrayBuffer(blocks),
      mapped: new SharedArrayBuffer(blocks),
      control: new SharedArrayBuffer(4 * Object.keys(CONTROL).length),
    });
    table.digests.fill(zero);
    return table;
  }
}
