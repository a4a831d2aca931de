/**
 * The work queue of a parallel context: in GGTT memory, filled by the driver, emptied by the GuC.
 *
 * Source: drivers/gpu/drm/xe/xe_guc_submit_types.h, xe_guc_submit.c:wq_item_append.
 */

/** Byte offsets in the descriptor (`struct guc_sched_wq_desc`). */
export const WQ_DESC = {
  /** Byte offset in the queue of what the GuC reads next. */
  HEAD: 0,
  /** Byte offset of what the driver writes next. */
  TAIL: 4,
  ERROR_OFFSET: 8,
  /** One of {@link WQ_STATUS}. */
  STATUS: 12,
} as const;

/** States of a queue. */
export const WQ_STATUS = {
  ACTIVE: 1,
  SUSPENDED: 2,
  CMD_ERROR: 3,
  ENGINE_ID_NOT_USED: 4,
  SUSPENDED_FROM_RESET: 5,
} as const;

/** Kinds of items, bits 7:0 of the first dword. */
export const WQ_TYPE = { NOOP: 0x4, MULTI_LRC: 0x5 } as const;

/** The kind of an item. */
export function wqType(header: number): number {
  return header & 0xff;
}

/** Dwords of an item behind its first. */
export function wqLength(header: number): number {
  return (header >>> 16) & 0x7ff;
}

/** Dword index of each field of a MULTI_LRC item; LRCs from the second on follow, a tail each. */
export const WQ_MULTI_LRC = {
  HEADER: 0,
  CONTEXT_DESC: 1,
  ID_AND_TAIL: 2,
  FENCE: 3,
  TAILS: 4,
} as const;

/** GuC context id in the third dword. */
export function wqContextId(dword: number): number {
  return dword & 0xffff;
}

/** Ring tail of the first LRC in the third dword, bytes. */
export function wqFirstTail(dword: number): number {
  return ((dword >>> 18) & 0x7ff) * 8;
}
