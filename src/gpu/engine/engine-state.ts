/**
 * The engine's own state in a context's image: registers as the commands that load them, which is how
 * hardware keeps them.
 */
import { MI_COMMANDS, miHeader, miOpcode } from '../../xe/commands/mi.ts';
import { REGISTER_ACCESS } from '../../xe/commands/mi-fields.ts';
import { LRC_REG_COUNT, LRC_STATE_COUNT } from '../../xe/lrc.ts';
import type { GpuMemory } from './contracts.ts';
import { type EngineRegisters, OWN_REGISTER_LIMIT } from './registers.ts';

const FORCE_POSTED = 1 << 12;
const LENGTH = 0xff;
/** What ends the state: MI_BATCH_BUFFER_END with "end context". */
const END_OF_CONTEXT = (miHeader('MI_BATCH_BUFFER_END') | 1) >>> 0;

/** The state of the context at hand, and the dwords of it that hold all registers of the engine. */
const words = new Uint32Array(LRC_STATE_COUNT - LRC_REG_COUNT);
const bytes = new Uint8Array(words.buffer);
const FIRST_LOOK = 2 * OWN_REGISTER_LIMIT + 2;

/**
 * Loads what {@link saveEngineState} wrote, up to the first dword that is something else.
 *
 * @param address GGTT address of the state; nothing is loaded where there is no memory
 */
export function loadEngineState(
  ggtt: GpuMemory,
  address: number,
  registers: EngineRegisters,
): void {
  if (!ggtt.read(address, bytes.subarray(0, FIRST_LOOK * 4))) return;
  const own = loadRegisters(0, FIRST_LOOK, registers);
  if (own === undefined || words[own] === END_OF_CONTEXT) return;
  if (ggtt.read(address, bytes)) loadRegisters(own, words.length, registers);
}

/** Writes the registers that a context keeps. */
export function saveEngineState(
  ggtt: GpuMemory,
  address: number,
  registers: EngineRegisters,
): void {
  const own = saveRegisters(0, REGISTER_ACCESS.CS_MMIO, registers.saveOwn(words, 1));
  const end = saveRegisters(own, 0, registers.saveElsewhere(words, own + 1));
  words[end] = END_OF_CONTEXT;
  ggtt.write(address, bytes.subarray(0, (end + 1) * 4));
}

/** Puts the header before `count` registers. @returns index behind them */
function saveRegisters(at: number, flags: number, count: number): number {
  if (count === 0) return at;
  words[at] = miHeader('MI_LOAD_REGISTER_IMM') | flags | FORCE_POSTED | (count * 2 - 1);
  return at + 1 + count * 2;
}

/** Loads the registers of one command. @returns index behind it; undefined when there is none */
function loadRegisters(at: number, limit: number, registers: EngineRegisters): number | undefined {
  const header = words[at] as number;
  if (header >>> 29 !== 0 || miOpcode(header) !== MI_COMMANDS.MI_LOAD_REGISTER_IMM.opcode)
    return undefined;
  const isOwn = (header & REGISTER_ACCESS.CS_MMIO) !== 0;
  const end = at + (header & LENGTH) + 2;
  if (end > limit) return undefined;
  for (let index = at + 1; index < end; index += 2) {
    const offset = (words[index] as number) & REGISTER_ACCESS.OFFSET;
    const value = words[index + 1] as number;
    if (isOwn) registers.restoreOwn(offset, value);
    else registers.restoreElsewhere(offset, value);
  }
  return end;
}
