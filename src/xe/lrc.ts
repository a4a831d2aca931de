/**
 * The image of a logical ring context (LRC) on Xe2 and newer: a per-process hardware status page
 * (PPHWSP), then the context's registers as the commands that load them.
 *
 * Source: drivers/gpu/drm/xe/xe_lrc.c, regs/xe_lrc_layout.h.
 */

/** Bytes of the PPHWSP; the registers follow. */
export const LRC_PPHWSP_SIZE = 4096;

/** Bits of a context descriptor's low dword. */
export const LRC_DESC = {
  VALID: 1 << 0,
  /** The context has a PPGTT; without it all of its addresses are GGTT. */
  PRIVILEGE: 1 << 8,
} as const;

/** Byte offsets in the PPHWSP that hardware writes. */
export const PPHWSP = {
  /** Where MI_REPORT_HEAD puts HEAD: the ring head pointer storage of the status page. */
  RING_HEAD: 0x10,
} as const;

/** Dword indices of register values in the register state. */
export const LRC_REG = {
  CTX_CONTEXT_CONTROL: 0x03,
  CTX_RING_HEAD: 0x05,
  CTX_RING_TAIL: 0x07,
  CTX_RING_START: 0x09,
  CTX_RING_CTL: 0x0b,
  CTX_BB_ADDR_UDW: 0x0d,
  CTX_BB_ADDR: 0x0f,
  CTX_BB_PER_CTX_PTR: 0x13,
  CTX_CS_INDIRECT_CTX: 0x15,
  CTX_TIMESTAMP: 0x23,
  CTX_TIMESTAMP_UDW: 0x25,
  CTX_INDIRECT_RING_STATE: 0x27,
  CTX_ASID: 0x2f,
  CTX_PDP0_UDW: 0x31,
  CTX_PDP0_LDW: 0x33,
  CTX_LRM_INT_MASK_ENABLE: 0x50,
  CTX_INT_MASK_ENABLE_PTR: 0x52,
  CTX_INT_STATUS_REPORT_PTR: 0x57,
  CTX_INT_SRC_REPORT_PTR: 0x59,
} as const;

/** Index of the command that begins the register state: MI_LOAD_REGISTER_IMM. */
export const LRC_FIRST_COMMAND = 0x01;

/** Dwords of the register state; the engine's own state follows (xe_lrc_reg_size). */
export const LRC_REG_COUNT = 96;

/** Dwords that an image has at least, from the register state on (xe_gt_lrc_hang_replay_size). */
export const LRC_STATE_COUNT = 1024;

/** Dword indices in the indirect ring state page. */
export const INDIRECT_RING_REG = {
  RING_HEAD: 0x03,
  RING_TAIL: 0x05,
  RING_START: 0x07,
  RING_START_UDW: 0x09,
  RING_CTL: 0x0b,
} as const;

/** Dwords of the indirect ring state page up to the last one that matters here. */
export const INDIRECT_RING_REG_COUNT = 12;

/** Bits of CTX_CONTEXT_CONTROL; a mask for them stands in the upper half. */
export const CTX_CTRL = {
  ENGINE_CTX_RESTORE_INHIBIT: 1 << 0,
  INDIRECT_RING_STATE_ENABLE: 1 << 4,
} as const;

/** Bits of CTX_BB_PER_CTX_PTR. */
export const BB_PER_CTX = { VALID: 1 << 0, ADDRESS: 0xffff_f000 } as const;

/** Fields of CTX_CS_INDIRECT_CTX: GGTT address, and size in cache lines of 64 bytes. */
export const INDIRECT_CTX = { ADDRESS: 0xffff_ffc0, SIZE: 0x3f, UNIT: 64 } as const;

/** Fields of the ring registers (RING_HEAD, RING_TAIL, RING_CTL). */
export const RING = {
  HEAD_ADDR: 0x001f_fffc,
  /** Counts how often HEAD wrapped. */
  HEAD_WRAP: 0xffe0_0000,
  HEAD_WRAP_UNIT: 0x0020_0000,
  TAIL_ADDR: 0x001f_fff8,
  START: 0xffff_f000,
  CTL_VALID: 1 << 0,
  /** Bytes of the ring less one page. */
  CTL_SIZE: 0x001f_f000,
  PAGE: 4096,
} as const;

/** Bytes of a ring by its RING_CTL. */
export function ringSize(ringCtl: number): number {
  return (ringCtl & RING.CTL_SIZE) + RING.PAGE;
}

/** GGTT address of the PPHWSP by a descriptor's low dword. */
export function lrcAddress(descriptorLow: number): number {
  return (descriptorLow & 0xffff_f000) >>> 0;
}

/** True when a masked bit of CTX_CONTEXT_CONTROL is set with its mask. */
export function contextControlHas(value: number, bit: number): boolean {
  return (value & bit) !== 0 && ((value >>> 16) & bit) !== 0;
}
