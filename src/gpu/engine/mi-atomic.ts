/** MI_ATOMIC: a read-modify-write of one element in memory. */
import { ATOMIC } from '../../xe/commands/mi-fields.ts';
import type { CommandStreamer } from './command-streamer.ts';
import { commandAddress } from './operands.ts';
import { type CommandHandler, OUTCOME, type Outcome } from './outcome.ts';
import { GPR_WORD } from './registers.ts';

const MASK_64 = 0xffff_ffff_ffff_ffffn;
const ADDRESS_MASK = { dword: 0xffff_fffc, qword: 0xffff_fff8, octword: 0xffff_fff0 } as const;
/** GPRs of operands and result when they are not in the command: two each, for octwords. */
const OPERAND1_WORD = GPR_WORD;
const OPERAND2_WORD = GPR_WORD + 4;
const RESULT_WORD = GPR_WORD + 8;
/** Dwords of operands in the command, from the first on: operand 1 and 2 by turns. */
const INLINE_DWORDS = 8;
/** Dwords of a command with operands. */
const INLINE_LENGTH = 11;

/** Operands of the command at hand, four dwords each. */
const operand1 = new Uint32Array(4);
const operand2 = new Uint32Array(4);
const element = new Uint32Array(4);
const elementBytes = new Uint8Array(element.buffer);
const qwordBytes = elementBytes.subarray(0, 8);

/** MI_ATOMIC. */
export const atomic: CommandHandler = (streamer, words, at, length) => {
  const header = words[at] as number;
  const opcode = (header >>> ATOMIC.OPCODE_SHIFT) & 0xff;
  const operation = opcode & 0x1f;
  if (length < 3 || operation === 0 || operation > ATOMIC.OP.PREDEC) return OUTCOME.HANG;
  takeOperands(streamer, words, at, length);
  const isReturned = (header & ATOMIC.RETURN_DATA) !== 0;
  switch (opcode & ~0x1f) {
    case 0:
      return dwordAtomic(streamer, words, at, operation, isReturned);
    case ATOMIC.QWORD:
      return qwordAtomic(streamer, words, at, operation, isReturned);
    case ATOMIC.OCTWORD:
      if (operation !== ATOMIC.OP.CMP_WR) return OUTCOME.HANG;
      return octwordAtomic(streamer, words, at, isReturned);
    default:
      return OUTCOME.HANG;
  }
};

function takeOperands(
  streamer: CommandStreamer,
  words: Uint32Array,
  at: number,
  length: number,
): void {
  const header = words[at] as number;
  if ((header & ATOMIC.INLINE_DATA) !== 0) {
    for (let index = 0; index < INLINE_DWORDS; index++) {
      const operand = index % 2 === 0 ? operand1 : operand2;
      operand[index >>> 1] = length >= INLINE_LENGTH ? (words[at + 3 + index] as number) : 0;
    }
    return;
  }
  const { own } = streamer.registers;
  for (let index = 0; index < 4; index++) {
    operand1[index] = own[OPERAND1_WORD + index] as number;
    operand2[index] = own[OPERAND2_WORD + index] as number;
  }
}

function dwordAtomic(
  streamer: CommandStreamer,
  words: Uint32Array,
  at: number,
  operation: number,
  isReturned: boolean,
): Outcome {
  const memory = streamer.space(((words[at] as number) & ATOMIC.GGTT) !== 0);
  const address = commandAddress(words, at + 1, ADDRESS_MASK.dword);
  if (memory.run(address, 4, 'atomic') === undefined) return streamer.failed(memory);
  const old = memory.readU32(address);
  if (old === undefined) return streamer.failed(memory);
  const value = dwordResult(operation, old, operand1[0] as number, operand2[0] as number);
  const outcome = streamer.store(memory, address, value >>> 0);
  if (outcome === OUTCOME.NEXT && isReturned) streamer.registers.own[RESULT_WORD] = old;
  return outcome;
}

function dwordResult(operation: number, old: number, first: number, second: number): number {
  switch (operation) {
    case ATOMIC.OP.AND:
      return old & first;
    case ATOMIC.OP.OR:
      return old | first;
    case ATOMIC.OP.XOR:
      return old ^ first;
    case ATOMIC.OP.MOVE:
      return first;
    case ATOMIC.OP.INC:
      return old + 1;
    case ATOMIC.OP.DEC:
    case ATOMIC.OP.PREDEC:
      return old - 1;
    case ATOMIC.OP.ADD:
      return old + first;
    case ATOMIC.OP.SUB:
      return old - first;
    case ATOMIC.OP.RSUB:
      return first - old;
    case ATOMIC.OP.IMAX:
      return Math.max(old | 0, first | 0);
    case ATOMIC.OP.IMIN:
      return Math.min(old | 0, first | 0);
    case ATOMIC.OP.UMAX:
      return Math.max(old, first);
    case ATOMIC.OP.UMIN:
      return Math.min(old, first);
    default:
      return old === first ? second : old;
  }
}

function qwordAtomic(
  streamer: CommandStreamer,
  words: Uint32Array,
  at: number,
  operation: number,
  isReturned: boolean,
): Outcome {
  const memory = streamer.space(((words[at] as number) & ATOMIC.GGTT) !== 0);
  const address = commandAddress(words, at + 1, ADDRESS_MASK.qword);
  if (memory.run(address, 8, 'atomic') === undefined) return streamer.failed(memory);
  if (!memory.read(address, qwordBytes)) return streamer.failed(memory);
  const old = toBig(element);
  const low = element[0] as number;
  const high = element[1] as number;
  const value = qwordResult(operation, old, toBig(operand1), toBig(operand2)) & MASK_64;
  element[0] = Number(value & 0xffff_ffffn);
  element[1] = Number(value >> 32n);
  const outcome = streamer.storeBytes(memory, address, qwordBytes);
  if (outcome === OUTCOME.NEXT && isReturned) {
    streamer.registers.own[RESULT_WORD] = low;
    streamer.registers.own[RESULT_WORD + 1] = high;
  }
  return outcome;
}

function qwordResult(operation: number, old: bigint, first: bigint, second: bigint): bigint {
  const signed = (value: bigint) => BigInt.asIntN(64, value);
  switch (operation) {
    case ATOMIC.OP.AND:
      return old & first;
    case ATOMIC.OP.OR:
      return old | first;
    case ATOMIC.OP.XOR:
      return old ^ first;
    case ATOMIC.OP.MOVE:
      return first;
    case ATOMIC.OP.INC:
      return old + 1n;
    case ATOMIC.OP.DEC:
    case ATOMIC.OP.PREDEC:
      return old - 1n;
    case ATOMIC.OP.ADD:
      return old + first;
    case ATOMIC.OP.SUB:
      return old - first;
    case ATOMIC.OP.RSUB:
      return first - old;
    case ATOMIC.OP.IMAX:
      return signed(old) > signed(first) ? old : first;
    case ATOMIC.OP.IMIN:
      return signed(old) < signed(first) ? old : first;
    case ATOMIC.OP.UMAX:
      return old > first ? old : first;
    case ATOMIC.OP.UMIN:
      return old < first ? old : first;
    default:
      return old === first ? second : old;
  }
}

function octwordAtomic(
  streamer: CommandStreamer,
  words: Uint32Array,
  at: number,
  isReturned: boolean,
): Outcome {
  const memory = streamer.space(((words[at] as number) & ATOMIC.GGTT) !== 0);
  const address = commandAddress(words, at + 1, ADDRESS_MASK.octword);
  if (memory.run(address, 16, 'atomic') === undefined) return streamer.failed(memory);
  if (!memory.read(address, elementBytes)) return streamer.failed(memory);
  const old = element.slice();
  const isEqual = old.every((word, index) => word === operand1[index]);
  if (isEqual) element.set(operand2);
  const outcome = streamer.storeBytes(memory, address, elementBytes);
  if (outcome === OUTCOME.NEXT && isReturned) streamer.registers.own.set(old, RESULT_WORD);
  return outcome;
}

function toBig(halves: Uint32Array): bigint {
  return (BigInt(halves[1] as number) << 32n) | BigInt(halves[0] as number);
}
