/** Takes work out of the queue of a parallel context. Source: xe_guc_submit.c:wq_item_append. */
import {
  WQ_DESC,
  WQ_MULTI_LRC,
  WQ_STATUS,
  WQ_TYPE,
  wqContextId,
  wqFirstTail,
  wqLength,
  wqType,
} from '../../xe/guc/work-queue.ts';
import { LRC_PPHWSP_SIZE, LRC_REG, lrcAddress } from '../../xe/lrc.ts';
import type { VfAddressSpace } from '../vf-address-space.ts';
import type { GucContext } from './vf-state.ts';

/** Bytes from a context's address to the tail of its ring. */
const RING_TAIL = LRC_PPHWSP_SIZE + LRC_REG.CTX_RING_TAIL * 4;

type Memory = Pick<VfAddressSpace, 'readU32' | 'writeU32'>;

/**
 * Hands the ring tails of all waiting items to the context's LRCs. The queue's head is the driver's
 * to read and kept nowhere else.
 *
 * @returns false when the queue makes no sense or cannot be reached; its status then says so
 */
export function drainWorkQueue(memory: Memory, context: GucContext): boolean {
  const { wqDesc, wqSize } = context;
  const tail = memory.readU32(wqDesc + WQ_DESC.TAIL);
  let head = memory.readU32(wqDesc + WQ_DESC.HEAD);
  if (head === undefined || tail === undefined) return false;
  if (head % 4 !== 0 || tail % 4 !== 0 || tail > wqSize) return refuse(memory, context, head);
  // Each item is at least one dword long, so that this ends.
  for (let left = wqSize / 4; head !== tail; left--) {
    if (head >= wqSize) head = 0;
    if (head === tail) break;
    const length: number = left > 0 ? takeItem(memory, context, head) : 0;
    if (length === 0 || head + length > wqSize) return refuse(memory, context, head);
    head += length;
  }
  return memory.writeU32(wqDesc + WQ_DESC.HEAD, head);
}

/** Takes one item. @returns its bytes, 0 when it is wrong */
function takeItem(memory: Memory, context: GucContext, head: number): number {
  const at = context.wqBase + head;
  const header = memory.readU32(at);
  if (header === undefined) return 0;
  const bytes = (wqLength(header) + 1) * 4;
  if (wqType(header) === WQ_TYPE.NOOP) return bytes;
  const { lrcs } = context;
  if (wqType(header) !== WQ_TYPE.MULTI_LRC) return 0;
  if (wqLength(header) !== WQ_MULTI_LRC.TAILS - 1 + lrcs.length - 1) return 0;
  const second = memory.readU32(at + WQ_MULTI_LRC.ID_AND_TAIL * 4);
  if (second === undefined || wqContextId(second) !== context.id) return 0;
  for (const [n, { low }] of lrcs.entries()) {
    const tail =
      n === 0 ? wqFirstTail(second) : memory.readU32(at + (WQ_MULTI_LRC.TAILS + n - 1) * 4);
    if (tail === undefined) return 0;
    const bytesTail = n === 0 ? tail : tail * 8;

    if (!memory.writeU32(lrcAddress(low) + RING_TAIL, bytesTail)) return 0;
  }
  return bytes;
}

function refuse(memory: Memory, { wqDesc }: GucContext, head: number): false {
  memory.writeU32(wqDesc + WQ_DESC.ERROR_OFFSET, head);
  memory.writeU32(wqDesc + WQ_DESC.STATUS, WQ_STATUS.CMD_ERROR);
  return false;
}
