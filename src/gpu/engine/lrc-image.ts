/** A context's image in the GGTT: what is read when it is put on, and written when it is taken off. */
import { TWO_32 } from '../../base/int.ts';
import { MI_COMMANDS, miOpcode } from '../../xe/commands/mi.ts';
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
  lrcAddress,
  RING,
  ringSize,
} from '../../xe/lrc.ts';
import { type BatchLevels, LEVEL } from './batch-levels.ts';
import type { ContextRef, GpuMemory } from './contracts.ts';
import { loadEngineState, saveEngineState } from './engine-state.ts';
import type { EngineRegisters } from './registers.ts';

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
  readonly #engineState: number;
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
    this.#engineState = this.address + LRC_PPHWSP_SIZE + LRC_REG_COUNT * 4;
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
    loadEngineState(this.#ggtt, this.#engineState, registers);
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
    saveEngineState(this.#ggtt, this.#engineState, registers);
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
