/** MI commands that move data between registers and memory. */
import { NOOP, REGISTER_ACCESS } from '../../xe/commands/mi-fields.ts';
import { ENGINE_REG } from '../../xe/engine-registers.ts';
import type { CommandStreamer } from './command-streamer.ts';
import { commandAddress } from './operands.ts';
import { type CommandHandler, OUTCOME } from './outcome.ts';

const ADDRESS_DWORD = 0xffff_fffc;
const { CS_MMIO, REMAP, SOURCE_CS_MMIO, SOURCE_REMAP, OFFSET } = REGISTER_ACCESS;

/** Bits that the byte write disables (4 bits) protect. */
const KEPT = Uint32Array.from({ length: 16 }, (_, disables) =>
  [0, 1, 2, 3].reduce((bits, byte) => bits | ((disables >>> byte) & 1 ? 0xff << (byte * 8) : 0), 0),
);

function mayWrite(streamer: CommandStreamer, register: number): boolean {
  return streamer.privileged || streamer.registers.userMayWrite(register);
}

/** MI_NOOP: nothing, or its number into NOPID. */
export const noop: CommandHandler = (streamer, words, at) => {
  const header = words[at] as number;
  if ((header & NOOP.WRITE_ID) !== 0)
    streamer.registers.own[ENGINE_REG.RING_NOPID / 4] = header & NOOP.ID;
  return OUTCOME.NEXT;
};

/** MI_LOAD_REGISTER_IMM: pairs of register and value. */
export const loadRegisterImm: CommandHandler = (streamer, words, at, length) => {
  const header = words[at] as number;
  const { registers } = streamer;
  const keep = KEPT[(header >>> REGISTER_ACCESS.BYTE_DISABLE_SHIFT) & 0xf] as number;
  const isOwn = (header & CS_MMIO) !== 0;
  const isRemapped = (header & REMAP) !== 0;
  for (let pair = at + 1; pair + 1 < at + length; pair += 2) {
    const register = registers.resolve((words[pair] as number) & OFFSET, isOwn, isRemapped);
    if (mayWrite(streamer, register)) registers.write(register, words[pair + 1] as number, keep);
  }
  return OUTCOME.NEXT;
};

/** MI_LOAD_REGISTER_MEM. */
export const loadRegisterMem: CommandHandler = (streamer, words, at, length) => {
  if (length < 4) return OUTCOME.HANG;
  const header = words[at] as number;
  const { registers } = streamer;
  const register = registers.resolve(
    (words[at + 1] as number) & OFFSET,
    (header & CS_MMIO) !== 0,
    (header & REMAP) !== 0,
  );
  if (!mayWrite(streamer, register)) return OUTCOME.NEXT;
  const memory = streamer.space((header & REGISTER_ACCESS.GGTT) !== 0);
  const value = memory.readU32(commandAddress(words, at + 2, ADDRESS_DWORD));
  if (value === undefined) return streamer.failed(memory);
  registers.write(register, value);
  return OUTCOME.NEXT;
};

/** MI_STORE_REGISTER_MEM. */
export const storeRegisterMem: CommandHandler = (streamer, words, at, length) => {
  if (length < 4) return OUTCOME.HANG;
  const header = words[at] as number;
  const { registers } = streamer;
  if ((header & REGISTER_ACCESS.SRM_PREDICATE) !== 0 && !predicateResult(streamer))
    return OUTCOME.NEXT;
  const register = registers.resolve(
    (words[at + 1] as number) & OFFSET,
    (header & CS_MMIO) !== 0,
    (header & REMAP) !== 0,
  );
  const memory = streamer.space((header & REGISTER_ACCESS.GGTT) !== 0);
  const address = commandAddress(words, at + 2, ADDRESS_DWORD);
  return streamer.store(memory, address, registers.read(register));
};

/** MI_LOAD_REGISTER_REG: source first, destination second. */
export const loadRegisterReg: CommandHandler = (streamer, words, at, length) => {
  if (length < 3) return OUTCOME.HANG;
  const header = words[at] as number;
  const { registers } = streamer;
  const source = registers.resolve(
    (words[at + 1] as number) & OFFSET,
    (header & SOURCE_CS_MMIO) !== 0,
    (header & SOURCE_REMAP) !== 0,
  );
  const destination = registers.resolve(
    (words[at + 2] as number) & OFFSET,
    (header & CS_MMIO) !== 0,
    (header & REMAP) !== 0,
  );
  if (mayWrite(streamer, destination)) registers.write(destination, registers.read(source));
  return OUTCOME.NEXT;
};

/** Bit 0 of MI_PREDICATE_RESULT. */
export function predicateResult(streamer: CommandStreamer): boolean {
  return ((streamer.registers.own[ENGINE_REG.MI_PREDICATE_RESULT / 4] as number) & 1) !== 0;
}
