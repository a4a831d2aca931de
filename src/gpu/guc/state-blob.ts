/** The state of a VF in one GuC, written and read whole; see state-format.ts. */
import { crc32 } from 'node:zlib';
import { dataView } from '../../base/int.ts';
import type { CcsRun } from './ccs-section.ts';
import { decodeSection } from './state-blob-decode.ts';
import { encodeSections, type StateBeside } from './state-blob-encode.ts';
import {
  refuse,
  SECTION_OPTIONAL,
  STATE_FORMAT,
  STATE_HEADER_LAYOUT,
  STATE_MAGIC,
  STATE_SECTION,
  type StateOwner,
  type StateSection,
} from './state-format.ts';
import { emptyRuntime, type VfRuntime } from './vf-state.ts';

const HEADER_DWORDS = STATE_HEADER_LAYOUT.length;
const CRC_DWORD = 3;

/** Writes the state of a VF. */
export function encodeGucState(
  runtime: VfRuntime | undefined,
  owner: StateOwner,
  beside: StateBeside = {},
): Uint8Array {
  return encodeState(encodeSections(runtime ?? emptyRuntime(), owner, beside), owner);
}

/** Writes sections with a header before them. */
export function encodeState(
  sections: readonly StateSection[],
  owner: Pick<StateOwner, 'firmware' | 'gtType' | 'ggttSize'>,
): Uint8Array {
  const total = sections.reduce<number>(
    (sum, { dwords }) => sum + 2 + dwords.length,
    HEADER_DWORDS,
  );
  const bytes = new Uint8Array(total * 4);
  const words = new Uint32Array(bytes.buffer);
  words[0] = STATE_MAGIC;
  words[1] = STATE_FORMAT;
  words[2] = total;
  words[4] = (owner.firmware.major << 16) | owner.firmware.minor;
  words[5] = owner.gtType === 'main' ? 0 : 1;
  words[6] = owner.ggttSize / 4096;
  words[7] = sections.length;
  let at = HEADER_DWORDS;
  for (const { id, optional, dwords } of sections) {
    words[at] = id | (optional ? SECTION_OPTIONAL : 0);
    words[at + 1] = dwords.length;
    words.set(dwords, at + 2);
    at += 2 + dwords.length;
  }
  words[CRC_DWORD] = stateCrc(bytes);
  return bytes;
}

/**
 * Reads a state for the VF `owner`. Nothing is applied: the caller puts the result in place.
 *
 * @param ccs receives the compression metadata of the VF's VRAM
 * @throws {Fault} EIO, with what is wrong, for anything that is not a whole and fitting state
 */
export function decodeGucState(
  bytes: Uint8Array,
  owner: StateOwner,
  ccs: CcsRun[] = [],
): VfRuntime {
  if (bytes.length % 4 !== 0 || bytes.length < HEADER_DWORDS * 4)
    refuse(`${bytes.length} bytes are no state`);
  const view = dataView(bytes);
  const word = (index: number) => view.getUint32(index * 4, true);
  const total = bytes.length / 4;
  if (word(0) !== STATE_MAGIC) refuse('it does not begin as a state does');
  if (word(1) !== STATE_FORMAT) refuse(`its format ${word(1)} is not ${STATE_FORMAT}`);
  if (word(2) !== total) refuse(`it claims ${word(2)} dwords and has ${total}`);
  if (word(CRC_DWORD) !== stateCrc(bytes)) refuse('its checksum does not match');
  checkOwner(word(4), word(5), word(6), owner);
  const runtime = emptyRuntime();
  const into = { runtime, ccs };
  const seen = new Set<number>();
  let at = HEADER_DWORDS;
  for (let left = word(7); left > 0; left--) {
    if (at + 2 > total) refuse('a section header is cut');
    const id = word(at) & 0xffff;
    const length = word(at + 1);
    const start = at + 2;
    if (length > total - start) refuse(`section ${id} is cut`);
    if (seen.has(id)) refuse(`section ${id} comes twice`);
    seen.add(id);
    const section = new Uint32Array(length);
    for (let i = 0; i < length; i++) section[i] = word(start + i);
    if (!decodeSection(id, section, into, owner) && (word(at) & SECTION_OPTIONAL) === 0)
      refuse(`section ${id} is not known to this firmware`);
    at = start + length;
  }
  if (at !== total) refuse(`${(total - at) * 4} bytes follow the last section`);
  if (!seen.has(STATE_SECTION.VF)) refuse('it says nothing about the VF');
  return runtime;
}

function checkOwner(firmware: number, gt: number, pages: number, owner: StateOwner): void {
  const { major, minor } = owner.firmware;
  if (firmware >>> 16 !== major || (firmware & 0xffff) > minor)
    refuse(`firmware ${firmware >>> 16}.${firmware & 0xffff} saved it, this is ${major}.${minor}`);
  if (gt !== (owner.gtType === 'main' ? 0 : 1)) refuse(`it is not of a ${owner.gtType} GT`);
  if (pages !== owner.ggttSize / 4096)
    refuse(`its GGTT has ${pages} pages, the VF has ${owner.ggttSize / 4096}`);
}

const ZERO = new Uint8Array(4);

function stateCrc(bytes: Uint8Array): number {
  const before = crc32(bytes.subarray(0, CRC_DWORD * 4));
  return crc32(bytes.subarray((CRC_DWORD + 1) * 4), crc32(ZERO, before));
}
