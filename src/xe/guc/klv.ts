/**
 * GuC KLVs: a dword of key (31:16) and length in dwords (15:0), then that many value dwords.
 *
 * Source: drivers/gpu/drm/xe/abi/guc_klvs_abi.h, xe_guc_klv_helpers.c.
 */
import { Fault } from '../../base/fault.ts';
import { TWO_32 } from '../../base/int.ts';

/** Dwords of a KLV's header. */
const KLV_HEADER_DWORDS = 1;
/** The greatest length of a value, dwords. */
export const KLV_MAX_LENGTH = 0xffff;

/** One decoded KLV. */
export interface Klv {
  readonly key: number;
  /** The value's dwords, a view of what was decoded. */
  readonly value: Uint32Array;
}

/** The header dword of a KLV. */
function klvHeader(key: number, length: number): number {
  return ((key << 16) | length) >>> 0;
}

/**
 * Counts the KLVs in `klvs`; all of it must be whole KLVs.
 * @throws {Fault} ENODATA when a value is longer than what is left
 */
export function countKlvs(klvs: Uint32Array): number {
  let count = 0;
  for (let at = 0; at < klvs.length; count++) at = endOfKlv(klvs, at);
  return count;
}

/**
 * The KLVs in `klvs`, one after the other.
 * @throws {Fault} ENODATA when a value is longer than what is left
 */
export function* decodeKlvs(klvs: Uint32Array): Generator<Klv, void> {
  for (let at = 0; at < klvs.length; ) {
    const end = endOfKlv(klvs, at);
    const header = klvs[at] as number;
    yield { key: header >>> 16, value: klvs.subarray(at + KLV_HEADER_DWORDS, end) };
    at = end;
  }
}

/**
 * Writes a KLV with a 32-bit value at dword `at`.
 * @returns the dword after it
 * @throws {Fault} ENOSPC when it does not fit; nothing is then written
 */
export function encodeKlvU32(klvs: Uint32Array, at: number, key: number, value: number): number {
  needSpace(klvs, at, 1);
  klvs[at] = klvHeader(key, 1);
  klvs[at + 1] = value;
  return at + 2;
}

/**
 * Writes a KLV with a 64-bit value, low dword first, at dword `at`.
 * @param value a bit pattern as bigint, or a size or address up to 2^53-1
 * @returns the dword after it
 * @throws {Fault} ENOSPC when it does not fit; nothing is then written
 */
export function encodeKlvU64(
  klvs: Uint32Array,
  at: number,
  key: number,
  value: number | bigint,
): number {
  needSpace(klvs, at, 2);
  klvs[at] = klvHeader(key, 2);
  if (typeof value === 'bigint') {
    klvs[at + 1] = Number(value & 0xffff_ffffn);
    klvs[at + 2] = Number(value >> 32n);
  } else {
    klvs[at + 1] = value % TWO_32;
    klvs[at + 2] = Math.floor(value / TWO_32);
  }
  return at + 3;
}

/**
 * Writes a KLV with a text, NUL-terminated and padded with zeros, at dword `at`.
 * @returns the dword after it
 * @throws {Fault} E2BIG when the text and its NUL exceed 65535 dwords, ENOSPC when it does not fit;
 * nothing is then written
 */
export function encodeKlvString(klvs: Uint32Array, at: number, key: number, text: string): number {
  const bytes = new TextEncoder().encode(text);
  const length = Math.ceil((bytes.length + 1) / 4);
  if (length > KLV_MAX_LENGTH)
    throw new Fault('E2BIG', `a KLV cannot hold ${bytes.length} characters`);
  needSpace(klvs, at, length);
  klvs[at] = klvHeader(key, length);
  const value = klvs.subarray(at + KLV_HEADER_DWORDS, at + KLV_HEADER_DWORDS + length);
  value.fill(0);
  new Uint8Array(value.buffer, value.byteOffset, value.byteLength).set(bytes);
  return at + KLV_HEADER_DWORDS + length;
}

/**
 * Writes a KLV whose value an encoder makes (raw dwords or KLVs of its own) at dword `at`.
 *
 * @param encode fills the dwords it is given from the start and returns how many it used
 * @returns the dword after the KLV
 * @throws {Fault} ENOSPC without room for the header; what `encode` throws
 * @throws {RangeError} when `encode` claims more dwords than it was given
 */
export function encodeKlvObject(
  klvs: Uint32Array,
  at: number,
  key: number,
  encode: (value: Uint32Array) => number,
): number {
  needSpace(klvs, at, 0);
  const start = at + KLV_HEADER_DWORDS;
  const room = klvs.subarray(start, start + KLV_MAX_LENGTH);
  const length = encode(room);
  if (length < 0 || length > room.length) throw new RangeError(`the encoder used ${length} dwords`);
  klvs[at] = klvHeader(key, length);
  return start + length;
}

function needSpace(klvs: Uint32Array, at: number, length: number): void {
  if (klvs.length - at < KLV_HEADER_DWORDS + length)
    throw new Fault('ENOSPC', `no room for a KLV of ${length} dwords`);
}

function endOfKlv(klvs: Uint32Array, at: number): number {
  const header = klvs[at] as number;
  const end = at + KLV_HEADER_DWORDS + (header & 0xffff);
  if (end > klvs.length)
    throw new Fault('ENODATA', `KLV 0x${(header >>> 16).toString(16)} is cut at dword ${at}`);
  return end;
}
