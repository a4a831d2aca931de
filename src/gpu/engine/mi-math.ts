/**
 * MI_MATH: the command streamer's 64-bit ALU, on halves because a bigint costs an allocation.
 *
 * Source: drivers/gpu/drm/xe/instructions/xe_alu_commands.h; Intel's PRM, "MI_MATH".
 */
import { TWO_32 } from '../../base/int.ts';
import { ALU, ALU_OPERAND } from '../../xe/commands/mi-fields.ts';
import { CS_GPR_COUNT } from '../../xe/engine-registers.ts';
import type { CommandStreamer } from './command-streamer.ts';
import { type CommandHandler, OUTCOME, type Outcome } from './outcome.ts';
import { GPR_WORD } from './registers.ts';

const GPR_WORDS = CS_GPR_COUNT * 2;
const OPERAND_MASK = 0x3ff;
const ALL_ONES = 0xffff_ffff;
const SHIFT_MASK = 63;

/** Indices of the ALU's own registers behind the GPRs: low and high half of each. */
const SRCA = 0;
const SRCB = 2;
const ACCU = 4;
const ZF = 6;
const CF = 8;
const alu = new Uint32Array(10);
/** The GPRs before a command that may fault. */
const before = new Uint32Array(GPR_WORDS);

/** MI_MATH. */
export const math: CommandHandler = (streamer, words, at, length) => {
  const { own } = streamer.registers;
  const end = at + length;
  alu.fill(0);
  let mayFault = false;
  for (let index = at + 1; index < end; index++) {
    const opcode = (words[index] as number) >>> 20;
    if (opcode === ALU.LOADIND || opcode === ALU.STOREIND) mayFault = true;
  }
  if (mayFault) before.set(own.subarray(GPR_WORD, GPR_WORD + GPR_WORDS));
  for (let index = at + 1; index < end; index++) {
    const outcome = step(streamer, own, words[index] as number);
    if (outcome === OUTCOME.NEXT) continue;
    // Whoever repeats the command after a fault has to find the registers as they were.
    if (mayFault) own.set(before, GPR_WORD);
    return outcome;
  }
  return OUTCOME.NEXT;
};

function step(streamer: CommandStreamer, own: Uint32Array, instruction: number): Outcome {
  const first = (instruction >>> 10) & OPERAND_MASK;
  const second = instruction & OPERAND_MASK;
  switch (instruction >>> 20) {
    case ALU.NOOP:
    case ALU.FENCE_RD:
    case ALU.FENCE_WR:
      return OUTCOME.NEXT;
    case ALU.LOAD:
      return loadSource(own, first, second, 0);
    case ALU.LOADINV:
      return loadSource(own, first, second, ALL_ONES);
    case ALU.LOAD0:
      return setSource(first, 0, 0);
    case ALU.LOAD1:
      return setSource(first, ALL_ONES, ALL_ONES);
    case ALU.STORE:
      return storeResult(own, first, second, 0);
    case ALU.STOREINV:
      return storeResult(own, first, second, ALL_ONES);
    case ALU.LOADIND:
      return loadIndirect(streamer, own, first, second);
    case ALU.STOREIND:
      return storeIndirect(streamer, own, first, second);
    default:
      return compute(instruction >>> 20);
  }
}

function setSource(operand: number, low: number, high: number): Outcome {
  if (operand !== ALU_OPERAND.SRCA && operand !== ALU_OPERAND.SRCB) return OUTCOME.HANG;
  const source = operand === ALU_OPERAND.SRCA ? SRCA : SRCB;
  alu[source] = low;
  alu[source + 1] = high;
  return OUTCOME.NEXT;
}

function loadSource(own: Uint32Array, operand: number, from: number, invert: number): Outcome {
  const at = operandWord(from);
  if (at < 0) return OUTCOME.HANG;
  const values = from < CS_GPR_COUNT ? own : alu;
  return setSource(operand, (values[at] as number) ^ invert, (values[at + 1] as number) ^ invert);
}

function storeResult(own: Uint32Array, register: number, from: number, invert: number): Outcome {
  const at = operandWord(from);
  if (register >= CS_GPR_COUNT || at < 0) return OUTCOME.HANG;
  const values = from < CS_GPR_COUNT ? own : alu;
  const target = GPR_WORD + register * 2;
  own[target] = (values[at] as number) ^ invert;
  own[target + 1] = (values[at + 1] as number) ^ invert;
  return OUTCOME.NEXT;
}

/** Index of an operand in the registers (a GPR) or in {@link alu}; negative for none. */
function operandWord(operand: number): number {
  if (operand < CS_GPR_COUNT) return GPR_WORD + operand * 2;
  switch (operand) {
    case ALU_OPERAND.ACCU:
      return ACCU;
    case ALU_OPERAND.ZF:
      return ZF;
    case ALU_OPERAND.CF:
      return CF;
    default:
      return -1;
  }
}

/** The address in an operand, below 2^48; negative for none. */
function operandAddress(own: Uint32Array, operand: number): number {
  const at = operandWord(operand);
  if (at < 0) return -1;
  const values = operand < CS_GPR_COUNT ? own : alu;
  const low = (values[at] as number) & ~3;
  return ((values[at + 1] as number) & 0xffff) * TWO_32 + (low >>> 0);
}

function loadIndirect(
  streamer: CommandStreamer,
  own: Uint32Array,
  register: number,
  from: number,
): Outcome {
  const address = operandAddress(own, from);
  if (register >= CS_GPR_COUNT || address < 0) return OUTCOME.HANG;
  const low = streamer.ppgtt.readU32(address);
  const high = low === undefined ? undefined : streamer.ppgtt.readU32(address + 4);
  if (low === undefined || high === undefined) return streamer.failed(streamer.ppgtt);
  own[GPR_WORD + register * 2] = low;
  own[GPR_WORD + register * 2 + 1] = high;
  return OUTCOME.NEXT;
}

function storeIndirect(
  streamer: CommandStreamer,
  own: Uint32Array,
  to: number,
  register: number,
): Outcome {
  const address = operandAddress(own, to);
  if (register >= CS_GPR_COUNT || address < 0) return OUTCOME.HANG;
  const word = GPR_WORD + register * 2;
  const outcome = streamer.store(streamer.ppgtt, address, own[word] as number);
  if (outcome !== OUTCOME.NEXT) return outcome;
  return streamer.store(streamer.ppgtt, address + 4, own[word + 1] as number);
}

/** Computes ACCU, ZF and CF from SRCA and SRCB. */
function compute(opcode: number): Outcome {
  const aLow = alu[SRCA] as number;
  const aHigh = alu[SRCA + 1] as number;
  const bLow = alu[SRCB] as number;
  const bHigh = alu[SRCB + 1] as number;
  let carry = false;
  switch (opcode) {
    case ALU.ADD: {
      const low = aLow + bLow;
      const high = aHigh + bHigh + (low >= TWO_32 ? 1 : 0);
      carry = high >= TWO_32;
      setAccu(low, high);
      break;
    }
    case ALU.SUB: {
      const low = aLow - bLow;
      const high = aHigh - bHigh - (low < 0 ? 1 : 0);
      carry = high < 0;
      setAccu(low, high);
      break;
    }
    case ALU.AND:
      setAccu(aLow & bLow, aHigh & bHigh);
      break;
    case ALU.OR:
      setAccu(aLow | bLow, aHigh | bHigh);
      break;
    case ALU.XOR:
      setAccu(aLow ^ bLow, aHigh ^ bHigh);
      break;
    case ALU.SHL:
      shiftLeft(aLow, aHigh, bLow & SHIFT_MASK);
      break;
    case ALU.SHR:
      shiftRight(aLow, aHigh, bLow & SHIFT_MASK, 0);
      break;
    case ALU.SAR:
      shiftRight(aLow, aHigh, bLow & SHIFT_MASK, aHigh >> 31);
      break;
    default:
      return OUTCOME.HANG;
  }
  const zero = alu[ACCU] === 0 && alu[ACCU + 1] === 0 ? ALL_ONES : 0;
  alu[ZF] = zero;
  alu[ZF + 1] = zero;
  alu[CF] = carry ? ALL_ONES : 0;
  alu[CF + 1] = alu[CF] as number;
  return OUTCOME.NEXT;
}

function setAccu(low: number, high: number): void {
  alu[ACCU] = low;
  alu[ACCU + 1] = high;
}

function shiftLeft(low: number, high: number, by: number): void {
  if (by === 0) setAccu(low, high);
  else if (by >= 32) setAccu(0, low << (by - 32));
  else setAccu(low << by, (high << by) | (low >>> (32 - by)));
}

function shiftRight(low: number, high: number, by: number, sign: number): void {
  if (by === 0) setAccu(low, high);
  else if (by === 32) setAccu(high, sign);
  else if (by > 32) setAccu((high >>> (by - 32)) | (sign << (64 - by)), sign);
  else setAccu((low >>> by) | (high << (32 - by)), (high >>> by) | (sign << (32 - by)));
}
