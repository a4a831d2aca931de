/** The index of a checkpoint: where each packet lies and what its bytes were. */
import { crc32 } from 'node:zlib';
import { Fault } from '../base/fault.ts';
import { dataView, readU64, writeU64 } from '../base/int.ts';
import { PACKET_HEADER_SIZE } from '../xe/migration-packet.ts';

/** Bytes of an index entry. */
export const INDEX_ENTRY_SIZE = 24;
/** Packets that an index may have; a stream of 512 MiB chunks needs about ten. */
export const INDEX_MAX_PACKETS = 2 ** 20;

/** Layout of an index entry. */
export const INDEX_ENTRY_LAYOUT = [
  /** Of the packet's header in the stream. */
  { name: 'offset', offset: 0, size: 8 },
  /** Of the payload. */
  { name: 'size', offset: 8, size: 8 },
  /** CRC32 of the packet, header and payload. */
  { name: 'crc', offset: 16, size: 4 },
  { name: 'type', offset: 20, size: 1 },
  { name: 'tile', offset: 21, size: 1 },
  { name: 'gt', offset: 22, size: 1 },
  { name: 'reserved', offset: 23, size: 1 },
] as const;

/** One packet in the index. */
export interface IndexEntry {
  readonly offset: number;
  readonly size: number;
  readonly crc: number;
  readonly type: number;
  readonly tile: number;
  readonly gt: number;
}

/** What the footer says of the index. */
export interface IndexClaim {
  readonly streamBytes: number;
  readonly packets: number;
  readonly indexCrc: number;
}

/** The bytes of an index. */
export function encodeIndex(entries: readonly IndexEntry[]): Uint8Array {
  const bytes = new Uint8Array(entries.length * INDEX_ENTRY_SIZE);
  const view = dataView(bytes);
  entries.forEach(({ offset, size, crc, type, tile, gt }, packet) => {
    const at = packet * INDEX_ENTRY_SIZE;
    writeU64(view, at, offset);
    writeU64(view, at + 8, size);
    view.setUint32(at + 16, crc, true);
    view.setUint8(at + 20, type);
    view.setUint8(at + 21, tile);
    view.setUint8(at + 22, gt);
  });
  return bytes;
}

/**
 * Reads an index.
 * @throws {Fault} EBADMSG when it was altered, EUCLEAN when it does not cover the stream exactly
 */
export function decodeIndex(bytes: Uint8Array, claim: IndexClaim): IndexEntry[] {
  if (crc32(bytes) !== claim.indexCrc)
    throw new Fault('EBADMSG', 'the index of the checkpoint was altered: its CRC does not match');
  const view = dataView(bytes);
  const entries: IndexEntry[] = [];
  let next = 0;
  for (let at = 0; at < bytes.length; at += INDEX_ENTRY_SIZE) {
    const entry: IndexEntry = {
      offset: readU64(view, at),
      size: readU64(view, at + 8),
      crc: view.getUint32(at + 16, true),
      type: view.getUint8(at + 20),
      tile: view.getUint8(at + 21),
      gt: view.getUint8(at + 22),
    };
    if (entry.offset !== next) break;
    next += PACKET_HEADER_SIZE + entry.size;
    entries.push(entry);
  }
  if (entries.length !== claim.packets || next !== claim.streamBytes)
    throw new Fault('EUCLEAN', 'the index of the checkpoint does not cover its stream');
  return entries;
}
