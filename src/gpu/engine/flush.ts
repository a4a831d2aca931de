/** Commands that flush and then write or interrupt: MI_FLUSH_DW, PIPE_CONTROL, COMPUTE_WALKER. */
import { TWO_32 } from '../../base/int.ts';
import {
  COMPUTE_WALKER,
  FLUSH_DW,
  PIPE_CONTROL,
  POST_SYNC,
  REGISTER_ACCESS,
} from '../../xe/commands/mi-fields.ts';
import type { CommandStreamer } from './command-streamer.ts';
import type { GpuMemory } from './contracts.ts';
import { ENGINE_INTERRUPT, raiseEngineInterrupt } from './interrupt.ts';
import { predicateResult } from './mi-registers.ts';
import { commandAddress } from './operands.ts';
import { type CommandHandler, OUTCOME, type Outcome } from './outcome.ts';

const POST_SYNC_MASK = 3;
const ADDRESS_DWORD = 0xffff_fffc;
const ADDRESS_QWORD = 0xffff_fff8;
/** Bytes of the status page that Store Data Index can name. */
const INDEX_MASK = 0xfff;

const words = new Uint32Array(8);
const wordBytes = new Uint8Array(words.buffer);
const qword = wordBytes.subarray(0, 8);

/** MI_USER_INTERRUPT. */
export const userInterrupt: CommandHandler = (streamer) => {
  raiseEngineInterrupt(streamer, ENGINE_INTERRUPT.MI_USER);
  return OUTCOME.NEXT;
};

/** MI_FLUSH_DW. */
export const flushDw: CommandHandler = (streamer, command, at, length) => {
  const header = command[at] as number;
  if ((header & FLUSH_DW.TLB_INVALIDATE) !== 0) streamer.ppgtt.invalidate();
  const operation = (header >>> FLUSH_DW.POST_SYNC_SHIFT) & POST_SYNC_MASK;
  if (operation !== POST_SYNC.NONE) {
    if (length < 4) return OUTCOME.HANG;
    const isIndex = (header & FLUSH_DW.STORE_INDEX) !== 0;
    const isGgtt = ((command[at + 1] as number) & FLUSH_DW.ADDRESS_GGTT) !== 0;
    const address = commandAddress(command, at + 1, FLUSH_DW.ADDRESS);
    if (streamer.privileged || !(isIndex || isGgtt)) {
      const outcome =
        length === 4 && operation === POST_SYNC.IMMEDIATE
          ? streamer.store(
              streamer.space(isGgtt || isIndex),
              isIndex ? statusPage(streamer, address) : address,
              command[at + 3] as number,
            )
          : postSync(
              streamer,
              operation,
              streamer.space(isGgtt || isIndex),
              isIndex ? statusPage(streamer, address) : address,
              command,
              at + 3,
            );
      if (outcome !== OUTCOME.NEXT) return outcome;
    }
  }
  if ((header & FLUSH_DW.NOTIFY) !== 0)
    raiseEngineInterrupt(streamer, ENGINE_INTERRUPT.FLUSH_COMPLETE);
  return OUTCOME.NEXT;
};

/** PIPE_CONTROL. */
export const pipeControl: CommandHandler = (streamer, command, at, length) => {
  if (length < 6) return OUTCOME.HANG;
  const header = command[at] as number;
  if ((header & PIPE_CONTROL.PREDICATE_ENABLE) !== 0 && streamer.noop) return OUTCOME.NEXT;
  const flags = command[at + 1] as number;
  if ((flags & PIPE_CONTROL.TLB_INVALIDATE) !== 0) streamer.ppgtt.invalidate();
  const operation = (flags >>> PIPE_CONTROL.POST_SYNC_SHIFT) & POST_SYNC_MASK;
  if (operation !== POST_SYNC.NONE) {
    const outcome = pipePostSync(streamer, command, at, flags, operation);
    if (outcome !== OUTCOME.NEXT) return outcome;
  }
  if ((flags & PIPE_CONTROL.NOTIFY) !== 0)
    raiseEngineInterrupt(streamer, ENGINE_INTERRUPT.FLUSH_COMPLETE);
  return OUTCOME.NEXT;
};

function pipePostSync(
  streamer: CommandStreamer,
  command: Uint32Array,
  at: number,
  flags: number,
  operation: number,
): Outcome {
  if ((flags & PIPE_CONTROL.LRI_POST_SYNC) !== 0) {
    const register = (command[at + 2] as number) & REGISTER_ACCESS.OFFSET;
    if (streamer.privileged || streamer.registers.userMayWrite(register))
      streamer.registers.write(register, command[at + 4] as number);
    return OUTCOME.NEXT;
  }
  const isIndex = (flags & PIPE_CONTROL.STORE_DATA_INDEX) !== 0;
  const isGgtt = (flags & PIPE_CONTROL.GGTT) !== 0;
  if (!streamer.privileged && (isIndex || isGgtt)) return OUTCOME.NEXT;
  const address = commandAddress(command, at + 2, ADDRESS_DWORD);
  return postSync(
    streamer,
    operation,
    streamer.space(isGgtt || isIndex),
    isIndex ? statusPage(streamer, address) : address,
    command,
    at + 4,
  );
}

/** COMPUTE_WALKER: no threads run, its post-sync operation is done. */
export const computeWalker: CommandHandler = (streamer, command, at, length) => {
  if (length <= COMPUTE_WALKER.POST_SYNC_DATA + 1) return OUTCOME.HANG;
  streamer.arbitrationPoint();
  const header = command[at] as number;
  if ((header & COMPUTE_WALKER.PREDICATE_ENABLE) !== 0 && !predicateResult(streamer))
    return OUTCOME.NEXT;
  const operation = (command[at + COMPUTE_WALKER.POST_SYNC] as number) & POST_SYNC_MASK;
  const address = commandAddress(command, at + COMPUTE_WALKER.POST_SYNC_ADDRESS, ADDRESS_QWORD);
  if (operation === POST_SYNC.TIMESTAMP) {
    // Start of the walker in the context's and in global time, then its end in both.
    const { special } = streamer;
    for (let half = 0; half < 2; half++) {
      putQword(half * 4, special.ctxTimestamp);
      putQword(half * 4 + 2, special.now);
    }
    return streamer.storeBytes(streamer.ppgtt, address, wordBytes);
  }
  const data = at + COMPUTE_WALKER.POST_SYNC_DATA;
  return postSync(streamer, operation, streamer.ppgtt, address, command, data);
};

function postSync(
  streamer: CommandStreamer,
  operation: number,
  memory: GpuMemory,
  address: number,
  command: Uint32Array,
  immediate: number,
): Outcome {
  switch (operation) {
    case POST_SYNC.IMMEDIATE:
      words[0] = command[immediate] as number;
      words[1] = command[immediate + 1] as number;
      break;
    case POST_SYNC.TIMESTAMP:
      putQword(0, streamer.special.now);
      break;
    case POST_SYNC.PS_DEPTH_COUNT:
      putQword(0, 0);
      break;
    default:
      return OUTCOME.NEXT;
  }
  return streamer.storeBytes(memory, address, qword);
}

function putQword(index: number, value: number): void {
  words[index] = value % TWO_32;
  words[index + 1] = Math.floor(value / TWO_32);
}

function statusPage(streamer: CommandStreamer, index: number): number {
  return streamer.image.address + (index & INDEX_MASK);
}
