/**
 * The nesting of a ring and its batches: level 0 is the ring, each level above remembers where the
 * one below goes on.
 */

/** Batches in each other at most, with nesting switched on in RING_MI_MODE. */
export const MAX_LEVEL = 8;
/** The same without. */
export const MAX_LEVEL_LEGACY = 2;

/** Properties of a level, as a bit mask because positions hold them. */
export const LEVEL = { PPGTT: 1, PRIVILEGED: 2 } as const;
const LEVEL_MASK = LEVEL.PPGTT | LEVEL.PRIVILEGED;

const TOP = MAX_LEVEL + 2;

/** The levels of one context. Level 0 counts in bytes from the start of the ring. */
export class BatchLevels {
  /** The level that executes. */
  level = 0;
  readonly #ip = new Float64Array(TOP + 1);
  readonly #flags = new Uint8Array(TOP + 1);
  readonly #end = new Float64Array(TOP + 1).fill(Number.POSITIVE_INFINITY);

  constructor() {
    this.#flags[0] = LEVEL.PRIVILEGED;
  }

  /** Where the level that executes stands. */
  get ip(): number {
    return this.#ip[this.level] as number;
  }

  set ip(value: number) {
    this.#ip[this.level] = value;
  }

  /** Where `level` goes on: bytes from the start of the ring for level 0, else an address. */
  ipOf(level: number): number {
    return this.#ip[level] as number;
  }

  /** Properties of the level that executes. */
  get flags(): number {
    return this.#flags[this.level] as number;
  }

  /** Where the level ends by itself, if it does. */
  get end(): number {
    return this.#end[this.level] as number;
  }

  /** Begins a batch in this one. */
  push(address: number, flags: number, end = Number.POSITIVE_INFINITY): void {
    this.level++;
    this.chain(address, flags, end);
  }

  /** Goes on in another batch of the same level. */
  chain(address: number, flags: number, end = Number.POSITIVE_INFINITY): void {
    this.#ip[this.level] = address;
    this.#flags[this.level] = flags;
    this.#end[this.level] = end;
  }

  /** Ends the level that executes. */
  pop(): void {
    this.level--;
  }

  /** Address and properties of the batches up to `level`, three dwords each. */
  save(level: number): number[] {
    const dwords: number[] = [];
    for (let at = 1; at <= level; at++) {
      const ip = this.#ip[at] as number;
      dwords.push(this.#flags[at] as number, ip % 0x1_0000_0000, Math.floor(ip / 0x1_0000_0000));
    }
    return dwords;
  }

  /** Puts back what {@link save} gave. */
  restore(dwords: readonly number[]): void {
    for (let at = 0; at < dwords.length; at += 3) {
      const [flags, low, high] = dwords.slice(at, at + 3) as [number, number, number];
      this.push(high * 0x1_0000_0000 + low, flags & LEVEL_MASK);
    }
  }
}
