/** MI commands that move data between memory and memory. */
import { TWO_32 } from '../../base/int.ts';
import { COPY_MEM_MEM, STORE_DATA_IMM, STORE_DATA_INDEX } from '../../xe/commands/mi-fields.ts';
import { PPHWSP } from '../../xe/lrc.ts';
import { commandAddress } from './operands.ts';
import { type CommandHandler, OUTCOME } from './outcome.ts';

const ADDRESS_DWORD = 0xffff_fffc;

const pair = new Uint32Array(2);
const pairBytes = new Uint8Array(pair.buffer);

/** MI_STORE_DATA_IMM: dwords, or qwords, to consecutive addresses. */
export const storeDataImm: CommandHandler = (streamer, words, at, length) => {
  const header = words[at] as number;
  const count = length - 3;
  if (count < 1) return OUTCOME.HANG;
  const memory = streamer.space((header & STORE_DATA_IMM.GGTT) !== 0);
  const address = commandAddress(words, at + 1, ADDRESS_DWORD);
  if (count === 1) return streamer.store(memory, address, words[at + 3] as number);
  if (count === 2) {
    pair[0] = words[at + 3] as number;
    pair[1] = words[at + 4] as number;
    return streamer.storeBytes(memory, address, pairBytes);
  }
  const isQword = (header & STORE_DATA_IMM.QWORD) !== 0;
  // Qwords stand as they are; an odd dword at the end of them is nothing.
  const dwords = isQword ? count - (count % 2) : count;
  const bytes = new Uint8Array(words.buffer, words.byteOffset + (at + 3) * 4, dwords * 4);
  return streamer.storeBytes(memory, address, bytes);
};

/** MI_STORE_DATA_INDEX: a dword or qword into the status page of the context. */
export const storeDataIndex: CommandHandler = (streamer, words, at, length) => {
  if (length < 3) return OUTCOME.HANG;
  const address = streamer.image.address + ((words[at + 1] as number) & STORE_DATA_INDEX.OFFSET);
  const bytes = new Uint8Array(
    words.buffer,
    words.byteOffset + (at + 2) * 4,
    Math.min(length - 2, 2) * 4,
  );
  return streamer.storeBytes(streamer.ggtt, address, bytes);
};

/** MI_COPY_MEM_MEM: one dword. */
export const copyMemMem: CommandHandler = (streamer, words, at, length) => {
  if (length < 5) return OUTCOME.HANG;
  const header = words[at] as number;
  const from = streamer.space((header & COPY_MEM_MEM.SRC_GGTT) !== 0);
  const to = streamer.space((header & COPY_MEM_MEM.DST_GGTT) !== 0);
  const value = from.readU32(commandAddress(words, at + 3, ADDRESS_DWORD));
  if (value === undefined) return streamer.failed(from);
  return streamer.store(to, commandAddress(words, at + 1, ADDRESS_DWORD), value);
};

/** MI_REPORT_HEAD: HEAD into the status page of the context. */
export const reportHead: CommandHandler = (streamer) => {
  streamer.fetch.sync();
  const address = streamer.image.address + PPHWSP.RING_HEAD;
  return streamer.store(streamer.ggtt, address, streamer.fetch.levels.ipOf(0) % TWO_32);
};
