/**
 * The packets of an Xe SR-IOV VF migration stream, version 1.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_packet_types.h, xe_sriov_packet.c, abi/xe_driver_klvs_abi.h.
 */
import { dataView, readU64, writeU64 } from '../base/int.ts';

/** Bytes of a packet header; little endian, packed. */
export const PACKET_HEADER_SIZE = 24;
/** The only version there is. */
export const PACKET_VERSION = 1;

/** `enum xe_sriov_packet_type`; 0 is reserved, 7 and up are skipped. */
export const PACKET_TYPE = {
  DESCRIPTOR: 1,
  TRAILER: 2,
  GGTT: 3,
  MMIO: 4,
  GUC: 5,
  VRAM: 6,
} as const;

/** Layout of the header, for documents, `inspect` and the property test. */
export const PACKET_HEADER_LAYOUT = [
  { name: 'version', offset: 0, size: 1 },
  { name: 'type', offset: 1, size: 1 },
  { name: 'tile_id', offset: 2, size: 1 },
  { name: 'gt_id', offset: 3, size: 1 },
  { name: 'flags', offset: 4, size: 4 },
  { name: 'offset', offset: 8, size: 8 },
  { name: 'size', offset: 16, size: 8 },
] as const;

/** A decoded packet header. `offset` and `size` are Infinity when above 2^53-1. */
export interface PacketHeader {
  readonly version: number;
  readonly type: number;
  readonly tile: number;
  readonly gt: number;
  readonly flags: number;
  readonly offset: number;
  readonly size: number;
}

/** The name of a packet type, `UNKNOWN(n)` for one that has none. */
export function packetTypeName(type: number): string {
  for (const [name, value] of Object.entries(PACKET_TYPE)) if (value === type) return name;
  return `UNKNOWN(${type})`;
}

/** Decodes the 24 bytes at `at`. Nothing is judged here. */
export function decodePacketHeader(view: DataView, at = 0): PacketHeader {
  return {
    version: view.getUint8(at),
    type: view.getUint8(at + 1),
    tile: view.getUint8(at + 2),
    gt: view.getUint8(at + 3),
    flags: view.getUint32(at + 4, true),
    offset: readU64(view, at + 8),
    size: readU64(view, at + 16),
  };
}

/** Writes a header of 24 bytes at `at`. */
export function encodePacketHeader(header: PacketHeader, view: DataView, at = 0): void {
  view.setUint8(at, header.version);
  view.setUint8(at + 1, header.type);
  view.setUint8(at + 2, header.tile);
  view.setUint8(at + 3, header.gt);
  view.setUint32(at + 4, header.flags, true);
  writeU64(view, at + 8, header.offset);
  writeU64(view, at + 16, header.size);
}

/** Bytes of the MMIO payload: four software flag registers. */
export const MMIO_PAYLOAD_SIZE = 16;
/** The greatest VRAM chunk that saving makes, VF_VRAM_STATE_CHUNK_MAX_SIZE. */
export const VRAM_CHUNK_MAX_SIZE = 512 * 2 ** 20;
/** The greatest GuC state, the size of a GT's GuC buffer cache. */
export const GUC_STATE_MAX_SIZE = 8 * 2 ** 20;
/** The greatest payload of a packet that is not VRAM (INT_MAX, the limit of kvmalloc). */
export const PAYLOAD_MAX_SIZE = 0x7fff_ffff;

/** Keys of the descriptor's KLVs (XE_DRIVER_KLV_*). */
export const DESCRIPTOR_KLV = { DEVID: 0xf001, REVID: 0xf002 } as const;

/** The 16-byte descriptor payload that Linux saves. */
export function encodeDescriptor(deviceId: number, revisionId: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = dataView(bytes);
  view.setUint32(0, ((DESCRIPTOR_KLV.DEVID << 16) | 1) >>> 0, true);
  view.setUint32(4, deviceId, true);
  view.setUint32(8, ((DESCRIPTOR_KLV.REVID << 16) | 1) >>> 0, true);
  view.setUint32(12, revisionId, true);
  return bytes;
}
