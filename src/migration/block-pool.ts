/** Memory for blocks that is used again and again: fresh memory costs more than the copy into it. */
import { BLOCK_MAX_SIZE } from './network-frame.ts';

/** Blocks that are kept for later use. */
const SPARE_MAX = 128;

/** Blocks of {@link BLOCK_MAX_SIZE} bytes. */
export class BlockPool {
  readonly #spare: Uint8Array[] = [];

  /** A block with whatever was in it before. */
  take(): Uint8Array {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(BLOCK_MAX_SIZE);
  }

  /** Gives a block back; views of it count as the block. */
  give({ buffer, byteLength }: Uint8Array): void {
    if (byteLength === 0 || buffer.byteLength !== BLOCK_MAX_SIZE) return;
    if (this.#spare.length < SPARE_MAX) this.#spare.push(new Uint8Array(buffer));
  }
}
