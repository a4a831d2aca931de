/** A context's image in the GGTT: what is read when it is put on, and written when it is taken off. */
import { dataView, TWO_32 } from '../../base/int.ts';
import { MI_COMMANDS, miHeader, miOpcode } from '../../xe/commands/mi.ts';
import { REGISTER_ACCESS } from '../../xe/commands/mi-fields.ts';
import { ENGINE_REG } from '../../xe/engine-registers.ts';
import {
  BB_PER_CTX,
  CTX_CTRL,
  contextControlHas,
  INDIRECT_CTX,
  INDIRECT_RING_REG,
  INDIRECT_RING_REG_COUNT,
  LRC_DESC,
  LRC_FIRST_COMMAND,
  LRC_PPHWSP_SIZE,
  LRC_REG,
  LRC_REG_COUNT,
  LRC_STATE_COUNT,
  lrcAddress,
  RING,
  ringSize,
} from '../../xe/lrc.ts';
import { type BatchLevels, LEVEL } from './batch-levels.ts';
import type { ContextRef, GpuMemory } from './contracts.ts';
import type { EngineRegisters } from './registers.ts';

/** Registers that one MI_LOAD_REGISTER_IMM of an image holds at most. */
const LRI_REGISTERS = 126;
const LRI_POSTED = 1 << 12;
/** What ends the engine's state: MI_BATCH_BUFFER_END with "end context". */
const END_OF_CONTEXT = (miHeader('MI_BATCH_BUFFER_END') | 1) >>> 0;
/** Dwords that the engine's own state may take. */
const ENGINE_STATE_COUNT = LRC_STATE_COUNT - LRC_REG_COUNT;
/** Bits 47:12 of a root page table's address, as halves of the descriptor. */
const PDP_HIGH = 0x000f_ffff;
const PDP_LOW = 0xffff_f000;

/** What {@link LrcImage.save} writes beside the registers. */
export interface SavedContext {
  /** Bytes from the start of the ring. */
  readonly head: number;
  /** How often HEAD came round since the context was put on. */
  readonly wraps: number;
  /** Address in the batch, 0 in the ring. */
  readonly batch: number;
  readonly ctxTimestamp: number;
}

/** The image of one context. */
export class LrcImage {
  /** GGTT address of the PPHWSP. */
  readonly address: number;
  readonly contextControl: number;
  readonly ringStart: number;
  readonly ringCtl: number;
  /** Bytes of the ring; HEAD and TAIL count from its start. */
  readonly ringSize: number;
  readonly head: number;
  readonly tail: number;
  /** GGTT address of TAIL. */
  readonly tailAddress: number;
  /** Physical address of the root page table; undefined for a context without a PPGTT. */
  readonly pdp0: number | undefined;
  readonly ctxTimestamp: number;
  /** GGTT addresses for interrupts; 0 where there is none. */
  readonly intMaskAddress: number;
  readonly intStatusAddress: number;
  readonly intSourceAddress: number;
  readonly #ggtt: GpuMemory;
  readonly #headAddress: number;
  readonly #headWraps: number;
  readonly #regs: Uint32Array;

  private constructor(
    ggtt: GpuMemory,
    ref: ContextRef,
    regs: Uint32Array,
    ring: { address: number; words: Uint32Array; at: RingLayout },
  ) {
    const reg = (index: number) => regs[index] as number;
    const ringReg = (index: number) => ring.words[index] as number;
    this.#ggtt = ggtt;
    this.#regs = regs;
    this.address = lrcAddress(ref.low);
    this.contextControl = reg(LRC_REG.CTX_CONTEXT_CONTROL);
    this.ringStart = (ringReg(ring.at.RING_START) & RING.START) >>> 0;
    this.ringCtl = ringReg(ring.at.RING_CTL);
    this.ringSize = ringSize(this.ringCtl);
    const head = ringReg(ring.at.RING_HEAD);
    this.head = head & RING.HEAD_ADDR;
    this.#headWraps = head & RING.HEAD_WRAP;
    this.#headAddress = ring.address + ring.at.RING_HEAD * 4;
    this.tail = ringReg(ring.at.RING_TAIL) & RING.TAIL_ADDR;
    this.tailAddress = ring.address + ring.at.RING_TAIL * 4;
    this.pdp0 =
      (ref.low & LRC_DESC.PRIVILEGE) === 0
        ? undefined
        : (reg(LRC_REG.CTX_PDP0_UDW) & PDP_HIGH) * TWO_32 +
          ((reg(LRC_REG.CTX_PDP0_LDW) & PDP_LOW) >>> 0);
    const time = reg(LRC_REG.CTX_TIMESTAMP_UDW) * TWO_32 + reg(LRC_REG.CTX_TIMESTAMP);
    this.ctxTimestamp = time <= Number.MAX_SAFE_INTEGER ? time : time % TWO_32;
    this.intMaskAddress = reg(LRC_REG.CTX_INT_MASK_ENABLE_PTR);
    this.intStatusAddress = reg(LRC_REG.CTX_INT_STATUS_REPORT_PTR);
    this.intSourceAddress = reg(LRC_REG.CTX_INT_SRC_REPORT_PTR);
  }

  /** Reads an image. @returns undefined when it cannot be read or makes no sense */
  static read(ggtt: GpuMemory, ref: ContextRef): LrcImage | undefined {
    if ((ref.low & LRC_DESC.VALID) === 0) return undefined;
    const state = lrcAddress(ref.low) + LRC_PPHWSP_SIZE;
    const regs = new Uint32Array(LRC_REG_COUNT);
    if (!ggtt.read(state, new Uint8Array(regs.buffer))) return undefined;
    const first = regs[LRC_FIRST_COMMAND] as number;
    if (first >>> 29 !== 0 || miOpcode(first) !== MI_COMMANDS.MI_LOAD_REGISTER_IMM.opcode)
      return undefined;
    let ring = { address: state, words: regs, at: LRC_RING };
    const control = regs[LRC_REG.CTX_CONTEXT_CONTROL] as number;
    if (contextControlHas(control, CTX_CTRL.INDIRECT_RING_STATE_ENABLE)) {
      const address = regs[LRC_REG.CTX_INDIRECT_RING_STATE] as number;
      const words = new Uint32Array(INDIRECT_RING_REG_COUNT);
      if (!ggtt.read(address, new Uint8Array(words.buffer))) return undefined;
      ring = { address, words, at: INDIRECT_RING_REG };
    }
    const image = new LrcImage(ggtt, ref, regs, ring);
    const { head, tail, ringSize: size, ringCtl } = image;
    if ((ringCtl & RING.CTL_VALID) === 0 || head >= size || tail >= size) return undefined;
    return image;
  }

  /** Loads what a context saved, unless its restore is inhibited. */
  restoreRegisters(registers: EngineRegisters): void {
    this.#restorePointers(registers);
    if (contextControlHas(this.contextControl, CTX_CTRL.ENGINE_CTX_RESTORE_INHIBIT)) return;
    const words = new Uint32Array(ENGINE_STATE_COUNT);
    const address = this.address + LRC_PPHWSP_SIZE + LRC_REG_COUNT * 4;
    // An image that ends before its last page has no engine state either.
    if (!this.#ggtt.read(address, new Uint8Array(words.buffer))) return;
    for (let at = 0; at < words.length; ) {
      const header = words[at] as number;
      if (miOpcode(header) !== MI_COMMANDS.MI_LOAD_REGISTER_IMM.opcode || header >>> 29 !== 0)
        return;
      const isOwn = (header & REGISTER_ACCESS.CS_MMIO) !== 0;
      const end = Math.min(at + (header & 0xff) + 2, words.length - 1);
      for (at++; at < end; at += 2) {
        const offset = (words[at] as number) & REGISTER_ACCESS.OFFSET;
        const value = words[at + 1] as number;
        if (isOwn) registers.restoreOwn(offset, value);
        else registers.restoreElsewhere(offset, value);
      }
    }
  }

  /** Puts the batches that a context restore executes on top of where the context stands. */
  pushRestoreBatches(levels: BatchLevels): void {
    const perContext = this.#regs[LRC_REG.CTX_BB_PER_CTX_PTR] as number;
    if ((perContext & BB_PER_CTX.VALID) !== 0)
      levels.push((perContext & BB_PER_CTX.ADDRESS) >>> 0, LEVEL.PRIVILEGED);
    const indirect = this.#regs[LRC_REG.CTX_CS_INDIRECT_CTX] as number;
    const size = (indirect & INDIRECT_CTX.SIZE) * INDIRECT_CTX.UNIT;
    const address = (indirect & INDIRECT_CTX.ADDRESS) >>> 0;
    if (size > 0) levels.push(address, LEVEL.PRIVILEGED, address + size);
  }

  /** Writes what hardware writes when a context is taken off. */
  save(registers: EngineRegisters, context: SavedContext): void {
    const { head, batch, ctxTimestamp } = context;
    const wraps = this.#headWraps + context.wraps * RING.HEAD_WRAP_UNIT;
    this.#ggtt.writeU32(this.#headAddress, ((wraps & RING.HEAD_WRAP) | head) >>> 0);
    const inhibit = CTX_CTRL.ENGINE_CTX_RESTORE_INHIBIT;
    this.#write(LRC_REG.CTX_CONTEXT_CONTROL, (this.contextControl & ~inhibit) >>> 0);
    this.#write(LRC_REG.CTX_BB_ADDR, batch % TWO_32);
    this.#write(LRC_REG.CTX_BB_ADDR_UDW, Math.floor(batch / TWO_32));
    this.#write(LRC_REG.CTX_TIMESTAMP, ctxTimestamp % TWO_32);
    this.#write(LRC_REG.CTX_TIMESTAMP_UDW, Math.floor(ctxTimestamp / TWO_32));
    const state = engineState(registers);
    const bytes = new Uint8Array(state.length * 4);
    const view = dataView(bytes);
    for (const [index, word] of state.entries()) view.setUint32(index * 4, word, true);
    this.#ggtt.write(this.address + LRC_PPHWSP_SIZE + LRC_REG_COUNT * 4, bytes);
  }

  #write(index: number, value: number): void {
    this.#ggtt.writeU32(this.address + LRC_PPHWSP_SIZE + index * 4, value);
  }

  #restorePointers(registers: EngineRegisters): void {
    const { own } = registers;
    own[ENGINE_REG.RING_INT_STATUS_RPT_PTR / 4] = this.intStatusAddress;
    own[ENGINE_REG.RING_INT_SRC_RPT_PTR / 4] = this.intSourceAddress;
    own[ENGINE_REG.CS_CTX_ASID / 4] = this.#regs[LRC_REG.CTX_ASID] as number;
  }
}

/** Where the ring's registers stand in a block of registers. */
type RingLayout = Readonly<Record<'RING_HEAD' | 'RING_TAIL' | 'RING_START' | 'RING_CTL', number>>;

const LRC_RING: RingLayout = {
  RING_HEAD: LRC_REG.CTX_RING_HEAD,
  RING_TAIL: LRC_REG.CTX_RING_TAIL,
  RING_START: LRC_REG.CTX_RING_START,
  RING_CTL: LRC_REG.CTX_RING_CTL,
};

/** The engine's own state as the commands that load it. */
function engineState(registers: EngineRegisters): number[] {
  const words: number[] = [];
  append(words, [...registers.savedOwn()], REGISTER_ACCESS.CS_MMIO);
  append(words, [...registers.savedElsewhere()], 0);
  words.push(END_OF_CONTEXT);
  return words;
}

function append(
  words: number[],
  pairs: readonly (readonly [offset: number, value: number])[],
  flags: number,
): void {
  for (let at = 0; at < pairs.length; at += LRI_REGISTERS) {
    const some = pairs.slice(at, at + LRI_REGISTERS);
    const header = miHeader('MI_LOAD_REGISTER_IMM') | flags | LRI_POSTED | (some.length * 2 - 1);
    words.push(header >>> 0, ...some.flat());
  }
}
