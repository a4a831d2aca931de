/** The part of a ring or batch that is being executed: commands as dwords, a page at most. */
import type { GpuMemory } from './contracts.ts';

/** Zeros in a row that are skipped together, dwords. */
const MANY_ZEROS = 64;
const PAGE = 4096;
/** Longest command of which all dwords are needed: MI_STORE_DATA_IMM. */
const GATHER_WORDS = 1032;

const EMPTY = new Uint32Array(0);
const gathered = new Uint32Array(GATHER_WORDS);
const gatheredBytes = new Uint8Array(gathered.buffer);

/** A window over commands. Its fields are public because they are read for every command. */
export class InstructionWindow {
  words: Uint32Array = EMPTY;
  /** Index of the next command, and of the first dword behind the window. */
  at = 0;
  limit = 0;
  /** Address of dword 0. */
  #base = 0;
  #memory: GpuMemory | undefined;
  #direct = true;
  #stale = false;

  /** Address of the next command; only while the window was not dropped. */
  get address(): number {
    return this.#base + this.at * 4;
  }

  /** True when there is a window. */
  get isOpen(): boolean {
    return this.#memory !== undefined;
  }

  /**
   * Opens the window at `address` (4-byte aligned) for at most `bytes`.
   *
   * @returns false on a fault of `memory`
   */
  open(memory: GpuMemory, address: number, bytes: number): boolean {
    const run = memory.run(address, Math.min(bytes, PAGE - (address % PAGE)), 'read');
    if (run === undefined || run.bytes.length < 4) return false;
    const { bytes: found } = run;
    const count = found.length >>> 2;
    this.words =
      found.byteOffset % 4 === 0
        ? new Uint32Array(found.buffer, found.byteOffset, count)
        : new Uint32Array(found.slice(0, count * 4).buffer);
    this.#direct = run.direct && found.byteOffset % 4 === 0;
    this.#memory = memory;
    this.#base = address;
    this.#stale = false;
    this.at = 0;
    this.limit = count;
    return true;
  }

  /** Goes to `address` without opening anew. @returns false when it is not in the window */
  jump(memory: GpuMemory, address: number): boolean {
    if (memory !== this.#memory || this.#stale || address < this.#base) return false;
    const at = (address - this.#base) / 4;
    if (at >= this.limit) return false;
    this.at = at;
    return true;
  }

  /**
   * Goes past the zero at hand, and past those behind it when they are many: batches of drivers
   * have megabytes of them.
   * @returns how many
   */
  skipZeros(): number {
    const { words, at, limit } = this;
    let end = at + 1;
    while (end < limit && words[end] === 0) end++;
    const count = end - at < MANY_ZEROS ? 1 : end - at;
    this.at = at + count;
    return count;
  }

  /** Forgets the window. */
  drop(): void {
    this.words = EMPTY;
    this.#memory = undefined;
    this.at = 0;
    this.limit = 0;
  }

  /** A command has written to memory: what the window holds may be a copy that is stale now. */
  wrote(): void {
    if (this.#direct || this.#memory === undefined) return;
    this.#stale = true;
    this.limit = Math.min(this.limit, this.at + 1);
  }
}

/**
 * Brings together a command that does not lie in one piece. Valid until the next call.
 *
 * @param first dwords from `address` on; the rest begins at `then`
 * @param length at most that of the longest command that is executed
 * @returns undefined on a fault of `memory`
 */
export function gatherCommand(
  memory: GpuMemory,
  address: number,
  first: number,
  then: number,
  length: number,
): Uint32Array | undefined {
  if (!memory.read(address, gatheredBytes.subarray(0, first * 4))) return undefined;
  if (length > first && !memory.read(then, gatheredBytes.subarray(first * 4, length * 4)))
    return undefined;
  return gathered;
}
