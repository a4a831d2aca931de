/** MI commands that decide what is executed next: batches, predicates, waiting. */
import { TWO_32 } from '../../base/int.ts';
import {
  ARB_ON_OFF,
  BATCH_BUFFER_START,
  COMPARE,
  CONDITIONAL_END,
  PREDICATE,
  REGISTER_ACCESS,
  SEMAPHORE_WAIT,
  SET_PREDICATE,
} from '../../xe/commands/mi-fields.ts';
import { ENGINE_REG, MI_MODE_NESTED_BATCH_BUFFER } from '../../xe/engine-registers.ts';
import type { CommandStreamer } from './command-streamer.ts';
import { predicateResult } from './mi-registers.ts';
import { commandAddress, compares } from './operands.ts';
import { type CommandHandler, OUTCOME } from './outcome.ts';
import { GPR_WORD } from './registers.ts';

const ADDRESS_DWORD = 0xffff_fffc;
const COMPARE_MASK = 7;

/** MI_ARB_ON_OFF. */
export const arbOnOff: CommandHandler = (streamer, words, at) => {
  streamer.arbitrationOn = ((words[at] as number) & ARB_ON_OFF.ENABLE) !== 0;
  if (streamer.arbitrationOn) streamer.arbitrationPoint();
  return OUTCOME.NEXT;
};

/** A command at which a context may be taken off: MI_ARB_CHECK, drawing, walkers. */
export const arbCheck: CommandHandler = (streamer) => {
  streamer.arbitrationPoint();
  return OUTCOME.NEXT;
};

/** MI_BATCH_BUFFER_START. */
export const batchBufferStart: CommandHandler = (streamer, words, at, length) => {
  const header = words[at] as number;
  if (streamer.noop && (header & BATCH_BUFFER_START.PREDICATION_ENABLE) !== 0) return OUTCOME.NEXT;
  const { own } = streamer.registers;
  const isIndirect = (header & BATCH_BUFFER_START.INDIRECT) !== 0;
  if (!isIndirect && length < 3) return OUTCOME.HANG;
  const address = isIndirect
    ? commandAddress(own, GPR_WORD, ADDRESS_DWORD)
    : commandAddress(words, at + 1, ADDRESS_DWORD);
  const mode = own[ENGINE_REG.RING_MI_MODE / 4] as number;
  streamer.fetch.start(
    address,
    (header & BATCH_BUFFER_START.PPGTT) !== 0 || !streamer.privileged,
    (header & BATCH_BUFFER_START.NESTED) !== 0,
    (mode & MI_MODE_NESTED_BATCH_BUFFER) !== 0,
    length,
  );
  return OUTCOME.JUMP;
};

/** MI_BATCH_BUFFER_END; nothing in the ring. */
export const batchBufferEnd: CommandHandler = (streamer) =>
  streamer.endBatch(false) ? OUTCOME.JUMP : OUTCOME.NEXT;

/** MI_CONDITIONAL_BATCH_BUFFER_END: goes on while the comparison is true. */
export const conditionalBatchBufferEnd: CommandHandler = (streamer, words, at, length) => {
  if (length < 4) return OUTCOME.HANG;
  const header = words[at] as number;
  if ((header & CONDITIONAL_END.PREDICATE_ENABLE) !== 0 && !predicateResult(streamer))
    return OUTCOME.NEXT;
  const memory = streamer.space((header & CONDITIONAL_END.GGTT) !== 0);
  const address = commandAddress(words, at + 2, ADDRESS_DWORD);
  let value = memory.readU32(address);
  if (value === undefined) return streamer.failed(memory);
  if ((header & CONDITIONAL_END.MASK_MODE) !== 0) {
    const mask = memory.readU32(address + 4);
    if (mask === undefined) return streamer.failed(memory);
    value = (value & mask) >>> 0;
  }
  const operation =
    (header & CONDITIONAL_END.COMPARE_SEMAPHORE) !== 0
      ? (header >>> CONDITIONAL_END.COMPARE_SHIFT) & COMPARE_MASK
      : COMPARE.GT;
  if (compares(operation, value, words[at + 1] as number)) return OUTCOME.NEXT;
  const all = (header & CONDITIONAL_END.END_CURRENT_LEVEL) === 0;
  return streamer.endBatch(all) ? OUTCOME.JUMP : OUTCOME.NEXT;
};

/** MI_SEMAPHORE_WAIT, of a dword in memory or a register. */
export const semaphoreWait: CommandHandler = (streamer, words, at, length) => {
  if (length < 4) return OUTCOME.HANG;
  const header = words[at] as number;
  const { registers } = streamer;
  let value: number | undefined;
  if ((header & SEMAPHORE_WAIT.REGISTER_POLL) !== 0) {
    const offset = (words[at + 2] as number) & REGISTER_ACCESS.OFFSET;
    value = registers.read(registers.resolve(offset, false, true));
  } else {
    const memory = streamer.space((header & SEMAPHORE_WAIT.GGTT) !== 0);
    value = memory.readU32(commandAddress(words, at + 2, ADDRESS_DWORD));
    if (value === undefined) return streamer.failed(memory);
  }
  const isIndirect = (header & SEMAPHORE_WAIT.INDIRECT) !== 0;
  const inline = (isIndirect ? registers.own[GPR_WORD] : words[at + 1]) as number;
  const operation = (header >>> SEMAPHORE_WAIT.COMPARE_SHIFT) & COMPARE_MASK;
  if (compares(operation, value, inline)) return OUTCOME.NEXT;
  if (!streamer.special.watchdogExpired) return OUTCOME.WAIT;
  streamer.special.stopWatchdog();
  return OUTCOME.WATCHDOG;
};

/** MI_SET_PREDICATE; not in the batches of a context restore, which are not the context's own. */
export const setPredicate: CommandHandler = (streamer, words, at) => {
  if (!streamer.fetch.restoring) streamer.predicate(isNoop(streamer, words[at] as number));
  return OUTCOME.NEXT;
};

/** Whether commands are NOOPs after a MI_SET_PREDICATE with this header. */
function isNoop(streamer: CommandStreamer, header: number): boolean {
  const { own } = streamer.registers;
  const { MI_PREDICATE_RESULT, MI_PREDICATE_RESULT_2 } = ENGINE_REG;
  const isSet = (offset: number) => ((own[offset / 4] as number) & 1) !== 0;
  // The workload partition of an engine that is not one of several tiles is number 0.
  const partition = (header >>> SET_PREDICATE.WPARID_SHIFT) & SET_PREDICATE.WPARID_MASK;
  if (partition === SET_PREDICATE.WPARID_NOOP_ON_ZERO) return true;
  switch (header & SET_PREDICATE.ENABLE_MASK) {
    case SET_PREDICATE.NOOP_ON_RESULT2_CLEAR:
      return !isSet(MI_PREDICATE_RESULT_2);
    case SET_PREDICATE.NOOP_ON_RESULT2_SET:
      return isSet(MI_PREDICATE_RESULT_2);
    case SET_PREDICATE.NOOP_ON_RESULT_CLEAR:
      return !isSet(MI_PREDICATE_RESULT);
    case SET_PREDICATE.NOOP_ON_RESULT_SET:
      return isSet(MI_PREDICATE_RESULT);
    case SET_PREDICATE.NOOP_ALWAYS:
      return true;
    default:
      return false;
  }
}

/** MI_PREDICATE: compares, combines with the result so far, and keeps that in the register. */
export const predicate: CommandHandler = (streamer, words, at) => {
  const header = words[at] as number;
  const load = (header >>> PREDICATE.LOAD_SHIFT) & 3;
  if (load === PREDICATE.LOAD.KEEP) return OUTCOME.NEXT;
  const combined = combine(
    (header >>> PREDICATE.COMBINE_SHIFT) & 3,
    predicateResult(streamer),
    predicateCompare(streamer, header & 3),
  );
  const result = load === PREDICATE.LOAD.LOADINV ? !combined : combined;
  const register = streamer.engine.mmioBase + ENGINE_REG.MI_PREDICATE_RESULT;
  streamer.registers.write(register, result ? 1 : 0);
  return OUTCOME.NEXT;
};

function combine(operation: number, state: boolean, compared: boolean): boolean {
  switch (operation) {
    case PREDICATE.COMBINE.AND:
      return state && compared;
    case PREDICATE.COMBINE.OR:
      return state || compared;
    case PREDICATE.COMBINE.XOR:
      return state !== compared;
    default:
      return compared;
  }
}

function predicateCompare(streamer: CommandStreamer, operation: number): boolean {
  const { own } = streamer.registers;
  const low = (offset: number) => own[offset / 4] as number;
  const { MI_PREDICATE_SRC0: src0, MI_PREDICATE_SRC1: src1, MI_PREDICATE_DATA: data } = ENGINE_REG;
  switch (operation) {
    case PREDICATE.COMPARE.TRUE:
      return true;
    case PREDICATE.COMPARE.FALSE:
      return false;
    case PREDICATE.COMPARE.SRCS_EQUAL:
      return low(src0) === low(src1) && low(src0 + 4) === low(src1 + 4);
    default: {
      // The difference of the sources, 64 bits wide, is the one in MI_PREDICATE_DATA.
      const difference = low(src0) - low(src1);
      const borrow = difference < 0 ? 1 : 0;
      const high = low(src0 + 4) - low(src1 + 4) - borrow;
      return difference + borrow * TWO_32 === low(data) && high >>> 0 === low(data + 4);
    }
  }
}
