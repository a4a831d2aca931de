/**
 * Command transport buffers: one ring a direction, each with a descriptor.
 *
 * Source: drivers/gpu/drm/xe/abi/guc_communication_ctb_abi.h.
 */

/** Bytes of a descriptor (`struct guc_ct_buffer_desc`). */
export const CTB_DESC_SIZE = 64;

/** Byte offsets in a descriptor. */
export const CTB_DESC = {
  /** Dword offset of what the receiver reads next. */
  HEAD: 0,
  /** Dword offset of what the sender writes next. */
  TAIL: 4,
  /** Bits of {@link CTB_STATUS}. */
  STATUS: 8,
} as const;

/** Status bits of a descriptor. */
export const CTB_STATUS = { OVERFLOW: 1, UNDERFLOW: 2, MISMATCH: 4, DISABLED: 8 } as const;

/** Greatest number of HXG dwords in a message. */
export const CTB_MAX_DWORDS = 255;
/** The only format: HXG. */
const CTB_FORMAT_HXG = 0;

/** Layout of the header dword: [high bit, low bit]. */
export const CTB_HEADER_LAYOUT = {
  FENCE: [31, 16],
  FORMAT: [15, 12],
  NUM_DWORDS: [7, 0],
} as const;

/** Header of a message of `length` HXG dwords. */
export function ctbHeader(fence: number, length: number): number {
  return ((fence << 16) | (CTB_FORMAT_HXG << 12) | length) >>> 0;
}

/** The fence: it comes back in the answer. */
export function ctbFence(header: number): number {
  return header >>> 16;
}

/** The format. */
export function ctbFormat(header: number): number {
  return (header >>> 12) & 0xf;
}

/** HXG dwords that follow the header; a header of zero is a NOP of one dword. */
export function ctbLength(header: number): number {
  return header & 0xff;
}
