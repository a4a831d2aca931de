/**
 * A VF's command transport buffers, in memory that the VF can change under us at any time: every
 * value read from there is checked before use.
 *
 * Source: drivers/gpu/drm/xe/abi/guc_communication_ctb_abi.h, xe_guc_ct.c.
 */
import { dataView } from '../../base/int.ts';
import {
  CTB_DESC,
  CTB_DESC_SIZE,
  CTB_MAX_DWORDS,
  CTB_STATUS,
  ctbFence,
  ctbHeader,
  ctbLength,
} from '../../xe/guc/ctb.ts';
import { GUC_RESPONSE } from '../../xe/guc/hxg.ts';
import { GucError } from './guc-error.ts';
import type { VfSession } from './vf-session.ts';
import type { CtbConfig } from './vf-state.ts';

const words = new Uint32Array(1 + CTB_MAX_DWORDS);
const bytes = new Uint8Array(words.buffer);
const view = dataView(bytes);

/** Room in G2H without which no further H2G message is taken, dwords. */
const G2H_ROOM = 16;

/** One message as it came. `hxg` is valid until the next call. */
export interface CtbMessage {
  readonly fence: number;
  readonly hxg: Uint32Array;
}

/** Begins CTB communication at the places that SELF_CFG told. @throws {GucError} when incomplete */
export function startCtb({ vf, host }: VfSession): void {
  const { runtime } = vf;
  for (const { address, descriptor, size } of [runtime.h2g, runtime.g2h]) {
    if (address === 0 || descriptor === 0 || size === 0)
      throw new GucError(GUC_RESPONSE.CTB_NOT_REGISTERED, 'CTB addresses are missing');
    if (!host.memory.contains(address, size) || !host.memory.contains(descriptor, CTB_DESC_SIZE))
      throw new GucError(GUC_RESPONSE.INVALID_GGTT_ADDRESS, 'a CTB leaves the GGTT');
  }
  runtime.h2gHead = field({ vf, host }, runtime.h2g, CTB_DESC.HEAD) ?? 0;
  runtime.g2hTail = field({ vf, host }, runtime.g2h, CTB_DESC.TAIL) ?? 0;
  if (runtime.h2gHead * 4 >= runtime.h2g.size || runtime.g2hTail * 4 >= runtime.g2h.size)
    throw new GucError(GUC_RESPONSE.CTB_INVALID, 'a CTB position is outside of its buffer');
  runtime.ctbEnabled = true;
}

type Place = Pick<VfSession, 'vf' | 'host'>;

function field({ host }: Place, ctb: CtbConfig, offset: number): number | undefined {
  return host.memory.readU32(ctb.descriptor + offset);
}

/** Tells the VF's driver that a buffer is broken, and stops using it. */
function breakCtb({ vf, host }: VfSession, ctb: CtbConfig, status: number): undefined {
  const before = host.memory.readU32(ctb.descriptor + CTB_DESC.STATUS) ?? 0;
  host.memory.writeU32(ctb.descriptor + CTB_DESC.STATUS, before | status);
  vf.runtime.ctbEnabled = false;
  return undefined;
}

/**
 * Takes the next H2G message.
 *
 * @returns undefined when there is none, when G2H has no room for answers, or when the buffer was
 * found broken: its status then says how
 */
export function receive(session: VfSession): CtbMessage | undefined {
  const { vf, host } = session;
  const { h2g } = vf.runtime;
  const size = h2g.size / 4;
  while (vf.runtime.ctbEnabled) {
    const tail = field(session, h2g, CTB_DESC.TAIL);
    if (tail === undefined) return undefined;
    if (tail >= size) return breakCtb(session, h2g, CTB_STATUS.OVERFLOW);
    const head = vf.runtime.h2gHead;
    const filled = (tail - head + size) % size;
    if (filled === 0) return undefined;
    if (vf.runtime.unsent.length > 0 || g2hRoom(session) < G2H_ROOM) {
      session.stalled = true;
      return undefined;
    }
    const header = host.memory.readU32(h2g.address + head * 4);
    if (header === undefined) return undefined;
    const length = ctbLength(header);
    if (length + 1 > filled) return breakCtb(session, h2g, CTB_STATUS.UNDERFLOW);
    if (!copyOut(session, h2g, (head + 1) % size, length)) return undefined;
    vf.runtime.h2gHead = (head + 1 + length) % size;
    host.memory.writeU32(h2g.descriptor + CTB_DESC.HEAD, vf.runtime.h2gHead);
    // A header without payload is padding before the wrap.
    if (length > 0) return { fence: ctbFence(header), hxg: words.subarray(0, length) };
  }
  return undefined;
}

function copyOut({ host }: VfSession, ctb: CtbConfig, at: number, length: number): boolean {
  const untilWrap = Math.min(length, ctb.size / 4 - at);
  const { memory } = host;
  if (!memory.read(ctb.address + at * 4, bytes.subarray(0, untilWrap * 4))) return false;
  return memory.read(ctb.address, bytes.subarray(untilWrap * 4, length * 4));
}

function g2hRoom(session: VfSession): number {
  const { g2h, g2hTail } = session.vf.runtime;
  const size = g2h.size / 4;
  const head = field(session, g2h, CTB_DESC.HEAD);
  if (head === undefined || head >= size) return 0;
  return (head - g2hTail - 1 + size) % size;
}

/**
 * Puts a G2H message into the buffer; the caller interrupts the VF afterwards.
 *
 * @param hxg dwords, HXG header first, at most 255
 * @returns false when there was no room or no memory
 */
export function transmit(session: VfSession, fence: number, hxg: readonly number[]): boolean {
  const { vf, host } = session;
  const { g2h } = vf.runtime;
  const size = g2h.size / 4;
  if (!vf.runtime.ctbEnabled || g2hRoom(session) < hxg.length + 1) return false;
  view.setUint32(0, ctbHeader(fence, hxg.length), true);
  for (let i = 0; i < hxg.length; i++) view.setUint32(4 + i * 4, hxg[i] as number, true);
  const tail = vf.runtime.g2hTail;
  const total = hxg.length + 1;
  const untilWrap = Math.min(total, size - tail);
  const { memory } = host;
  if (!memory.write(g2h.address + tail * 4, bytes.subarray(0, untilWrap * 4))) return false;
  if (!memory.write(g2h.address, bytes.subarray(untilWrap * 4, total * 4))) return false;
  vf.runtime.g2hTail = (tail + total) % size;
  return memory.writeU32(g2h.descriptor + CTB_DESC.TAIL, vf.runtime.g2hTail);
}
