/**
 * The registers of one context on an engine, as commands see them.
 *
 * What a context writes belongs to it alone and goes into its image; other contexts and other VFs
 * never see it.
 */
import {
  CS_GPR_COUNT,
  ENGINE_REG,
  ENGINE_REGISTERS_SIZE,
  inRanges,
  MASKED_ENGINE_REGISTERS,
  MASKED_GT_REGISTERS,
  PR_CTR_CTRL,
  REMAP_RANGE,
  USER_ENGINE_REGISTERS,
  USER_RENDER_REGISTERS,
} from '../../xe/engine-registers.ts';
import { GUC_CLASS } from '../../xe/guc/vf-actions.ts';
import type { EngineInstance } from './contracts.ts';

/** Registers outside the engine that a context keeps at most; more are dropped. */
const GT_REGISTER_LIMIT = 96;
/** Registers of the engine that a context keeps beside those that each one has. */
const EXTRA_REGISTER_LIMIT = 80;

const WORDS = ENGINE_REGISTERS_SIZE / 4;
/** First dword of the GPRs in {@link EngineRegisters.own}. */
export const GPR_WORD = ENGINE_REG.CS_GPR / 4;
const GPR_WORDS = CS_GPR_COUNT * 2;

/** How a register of an engine behaves. */
const KIND = { STORED: 0, MASKED: 1, SPECIAL: 2 } as const;

/** Registers that the streamer answers by itself, or that a write does something to. */
const SPECIAL: readonly number[] = [
  ENGINE_REG.RING_TAIL,
  ENGINE_REG.RING_HEAD,
  ENGINE_REG.RING_START,
  ENGINE_REG.RING_CTL,
  ENGINE_REG.RING_ACTHD,
  ENGINE_REG.RING_ACTHD_UDW,
  ENGINE_REG.ENGINE_ID,
  ENGINE_REG.RING_BBADDR,
  ENGINE_REG.RING_BBADDR_UDW,
  ENGINE_REG.PR_CTR_CTRL,
  ENGINE_REG.RING_CURRENT_LRCA,
  ENGINE_REG.RING_CONTEXT_CONTROL,
  ENGINE_REG.PTBP_LDW,
  ENGINE_REG.PTBP_UDW,
  ENGINE_REG.RING_TIMESTAMP,
  ENGINE_REG.RING_TIMESTAMP_UDW,
  ENGINE_REG.RING_CTX_TIMESTAMP,
  ENGINE_REG.RING_CTX_TIMESTAMP_UDW,
];

const kinds = new Uint8Array(WORDS);
for (const offset of MASKED_ENGINE_REGISTERS) kinds[offset / 4] = KIND.MASKED;
for (const offset of SPECIAL) kinds[offset / 4] = KIND.SPECIAL;

const writableByUser = new Uint8Array(WORDS);
for (let word = 0; word < WORDS; word++)
  writableByUser[word] = inRanges(USER_ENGINE_REGISTERS, word * 4) ? 1 : 0;

const maskedElsewhere = new Set(MASKED_GT_REGISTERS);

/** Registers that every context saves; the others only once they were written. */
const ALWAYS_SAVED: readonly number[] = [
  ...Array.from({ length: GPR_WORDS }, (_, word) => ENGINE_REG.CS_GPR + word * 4),
  ENGINE_REG.PR_CTR_CTRL,
];

/** Registers of the engine that a context keeps at most. */
export const OWN_REGISTER_LIMIT = ALWAYS_SAVED.length + EXTRA_REGISTER_LIMIT;

const alwaysSaved = new Uint8Array(WORDS);
for (const offset of ALWAYS_SAVED) alwaysSaved[offset / 4] = 1;

/** What the streamer does for special registers. */
export interface SpecialRegisters {
  /** @param offset from the engine's MMIO base */
  readSpecial(offset: number): number;
  writeSpecial(offset: number, value: number): void;
}

/** Register file of a context on an engine. */
export class EngineRegisters {
  /** Registers of the engine, by dword from its MMIO base. */
  readonly own = new Uint32Array(WORDS);
  readonly #engine: EngineInstance;
  readonly #special: SpecialRegisters;
  readonly #written = new Set<number>();
  readonly #elsewhere = new Map<number, number>();

  constructor(engine: EngineInstance, special: SpecialRegisters) {
    this.#engine = engine;
    this.#special = special;
    this.own[ENGINE_REG.PR_CTR_CTRL / 4] = PR_CTR_CTRL.STOP;
  }

  /**
   * Absolute offset of a register that a command names.
   *
   * @param csMmio the offset counts from the engine's MMIO base
   * @param remap registers of RCS0 mean those of this engine
   */
  resolve(offset: number, csMmio: boolean, remap: boolean): number {
    const base = this.#engine.mmioBase;
    if (csMmio) return base + offset;
    if (remap && offset >= REMAP_RANGE.first && offset <= REMAP_RANGE.last)
      return base + offset - REMAP_RANGE.first;
    return offset;
  }

  /** Reads a register by its absolute offset; zero where there is none. */
  read(offset: number): number {
    const own = offset - this.#engine.mmioBase;
    if (own < 0 || own >= ENGINE_REGISTERS_SIZE) return this.#elsewhere.get(offset) ?? 0;
    if (kinds[own >>> 2] === KIND.SPECIAL) return this.#special.readSpecial(own);
    return this.own[own >>> 2] as number;
  }

  /** True when a batch without privilege may write the register. */
  userMayWrite(offset: number): boolean {
    const own = offset - this.#engine.mmioBase;
    if (own >= 0 && own < ENGINE_REGISTERS_SIZE) return writableByUser[own >>> 2] === 1;
    return this.#engine.engineClass === GUC_CLASS.RENDER && inRanges(USER_RENDER_REGISTERS, offset);
  }

  /**
   * Writes a register by its absolute offset.
   *
   * @param keep bits that stay as they are, from the byte write disables of a command
   */
  write(offset: number, value: number, keep = 0): void {
    const own = offset - this.#engine.mmioBase;
    if (own < 0 || own >= ENGINE_REGISTERS_SIZE) return this.#writeElsewhere(offset, value, keep);
    const word = own >>> 2;
    const kind = kinds[word];
    const old = this.own[word] as number;
    const merged = ((value & ~keep) | (old & keep)) >>> 0;
    if (kind === KIND.SPECIAL) return this.#special.writeSpecial(own, merged);
    if (word < GPR_WORD || word >= GPR_WORD + GPR_WORDS) {
      if (!this.#written.has(own) && this.#written.size >= EXTRA_REGISTER_LIMIT) return;
      this.#written.add(own);
    }
    this.own[word] = kind === KIND.MASKED ? maskedWrite(old, merged) : merged;
  }

  /**
   * Writes the registers of the engine that an image has to hold: pairs of offset from the MMIO base
   * and value, from index `at` of `words` on.
   *
   * @returns how many, {@link OWN_REGISTER_LIMIT} at most
   */
  saveOwn(words: Uint32Array, at: number): number {
    let index = at;
    for (const offset of ALWAYS_SAVED) {
      words[index++] = offset;
      words[index++] = this.own[offset >>> 2] as number;
    }
    for (const offset of this.#written) {
      words[index++] = offset;
      words[index++] = this.own[offset >>> 2] as number;
    }
    return (index - at) / 2;
  }

  /** The same for registers elsewhere: pairs of absolute offset and value. */
  saveElsewhere(words: Uint32Array, at: number): number {
    let index = at;
    for (const [offset, value] of this.#elsewhere) {
      words[index++] = offset;
      words[index++] = value;
    }
    return (index - at) / 2;
  }

  /** Puts back a value from an image, as it is. */
  restoreOwn(offset: number, value: number): void {
    if (offset < 0 || offset >= ENGINE_REGISTERS_SIZE) return;
    const word = offset >>> 2;
    if (alwaysSaved[word] === 0) {
      if (kinds[word] === KIND.SPECIAL || this.#written.size >= EXTRA_REGISTER_LIMIT) return;
      this.#written.add(offset);
    }
    this.own[word] = value;
  }

  /** The same for registers elsewhere. */
  restoreElsewhere(offset: number, value: number): void {
    if (this.#elsewhere.size < GT_REGISTER_LIMIT) this.#elsewhere.set(offset, value);
  }

  #writeElsewhere(offset: number, value: number, keep: number): void {
    const old = this.#elsewhere.get(offset);
    if (old === undefined && this.#elsewhere.size >= GT_REGISTER_LIMIT) return;
    const merged = ((value & ~keep) | ((old ?? 0) & keep)) >>> 0;
    this.#elsewhere.set(
      offset,
      maskedElsewhere.has(offset) ? maskedWrite(old ?? 0, merged) : merged,
    );
  }
}

/** A write to a register whose upper half masks its lower half; the mask reads as zero. */
function maskedWrite(old: number, value: number): number {
  const mask = value >>> 16;
  return (old & ~mask & 0xffff) | (value & mask);
}
