/**
 * Registers of a command streamer, as data: byte offsets from the engine's MMIO base.
 *
 * Source: drivers/gpu/drm/xe/regs/xe_engine_regs.h, xe_gt_regs.h, xe_reg_whitelist.c; Intel's PRM,
 * "Command Reference: Registers" and "User Mode Non-Privileged Registers".
 */

/** Registers of every engine. */
export const ENGINE_REG = {
  RING_TAIL: 0x030,
  RING_HEAD: 0x034,
  RING_START: 0x038,
  RING_CTL: 0x03c,
  RING_ACTHD_UDW: 0x05c,
  RING_ACTHD: 0x074,
  ENGINE_ID: 0x08c,
  RING_NOPID: 0x094,
  RING_MI_MODE: 0x09c,
  RING_INT_SRC_RPT_PTR: 0x0a4,
  RING_IMR: 0x0a8,
  RING_INT_STATUS_RPT_PTR: 0x0ac,
  INSTPM: 0x0c0,
  CS_MMIO_GROUP_INSTANCE_SELECT: 0x0cc,
  INDIRECT_RING_STATE: 0x108,
  RING_BBADDR: 0x140,
  RING_BBADDR_UDW: 0x168,
  PR_CTR_CTRL: 0x178,
  PR_CTR_THRSH: 0x17c,
  RING_CURRENT_LRCA: 0x240,
  RING_CONTEXT_CONTROL: 0x244,
  PTBP_LDW: 0x270,
  PTBP_UDW: 0x274,
  CS_CTX_ASID: 0x278,
  RING_TIMESTAMP: 0x358,
  RING_TIMESTAMP_UDW: 0x35c,
  RING_CTX_TIMESTAMP: 0x3a8,
  RING_CTX_TIMESTAMP_UDW: 0x3ac,
  MI_PREDICATE_RESULT_2: 0x3bc,
  MI_PREDICATE_SRC0: 0x400,
  MI_PREDICATE_SRC1: 0x408,
  MI_PREDICATE_DATA: 0x410,
  MI_PREDICATE_RESULT: 0x418,
  MI_PREDICATE_RESULT_1: 0x41c,
  CS_GPR: 0x600,
} as const;

/** 64-bit general purpose registers, and bytes of them. */
export const CS_GPR_COUNT = 16;

/** Bytes of registers that an engine has from its MMIO base on. */
export const ENGINE_REGISTERS_SIZE = 0x1000;

/** Registers that MI_*_REMAP moves to the engine that executes: those of RCS0. */
export const REMAP_RANGE = { first: 0x2000, last: 0x27ff } as const;

/** RING_MI_MODE (masked): batches may nest deeper than two levels. */
export const MI_MODE_NESTED_BATCH_BUFFER = 1 << 12;

/** PR_CTR_CTRL: the watchdog counter runs or stands. */
export const PR_CTR_CTRL = { LOGIC_OP: 0x7fff_ffff, START: 0, STOP: 1 } as const;

/** ENGINE_ID: bits 9:4 the instance, bits 2:0 the class. */
export function engineIdValue(engineClass: number, instance: number): number {
  return (instance << 4) | engineClass;
}

/** Engine registers whose upper half says which bits of the lower half a write changes. */
export const MASKED_ENGINE_REGISTERS: readonly number[] = [
  0x050, 0x09c, 0x0c0, 0x0c4, 0x0d4, 0x0d8, 0x0e0, 0x0ec, 0x200, 0x244, 0x29c, 0x580,
];

/** The same for registers elsewhere, by their absolute offset (xe_gt_regs.h). */
export const MASKED_GT_REGISTERS: readonly number[] = [
  0x5588, 0x6204, 0x6208, 0x62a8, 0x7004, 0x7010, 0x7018, 0x703c, 0x7044, 0x7300, 0x7304, 0x731c,
  0x83a4, 0x83a8, 0x83b4, 0xb01c, 0xe188, 0xe18c, 0xe194, 0xe420, 0xe48c, 0xe49c, 0xe4c4, 0xe4cc,
  0xe4f0, 0xe4f4, 0xe5f0, 0xe5f4, 0xe7f0, 0x14800, 0x14804,
];

/** A run of registers: first and last byte offset. */
export type RegisterRange = readonly [first: number, last: number];

/**
 * Registers that a batch without privilege may write, from the engine's MMIO base. Writes to all
 * others are dropped; reads are always performed.
 */
export const USER_ENGINE_REGISTERS: readonly RegisterRange[] = [
  /** INSTPM. */
  [0x0c0, 0x0c3],
  /** BCS_SWCTRL. */
  [0x200, 0x203],
  /** CS_INVOCATION_COUNT. */
  [0x290, 0x297],
  /** Statistics: HS_INVOCATION_COUNT to PS_DEPTH_COUNT. */
  [0x300, 0x357],
  /** MI_PREDICATE_RESULT_2. */
  [0x3bc, 0x3bf],
  /** MI_PREDICATE_SRC0 to MI_PREDICATE_RESULT_1. */
  [0x400, 0x41f],
  /** 3DPRIM_END_OFFSET to 3DPRIM_BASE_VERTEX. */
  [0x420, 0x443],
  /** GPGPU_DISPATCHDIMX to Z. */
  [0x500, 0x50b],
  /** CS_CHICKEN1. */
  [0x580, 0x583],
  /** CS_GPR_R0 to R15. */
  [0x600, 0x67f],
  /** 3DPRIM_XP0 to XP2. */
  [0x690, 0x69b],
];

/**
 * The same for registers elsewhere on a render engine, by their absolute offset: stream output
 * counters, and what the PF driver allows through RING_FORCE_TO_NONPRIV on graphics 20.01 to 30.05.
 */
export const USER_RENDER_REGISTERS: readonly RegisterRange[] = [
  /** SO_NUM_PRIMS_WRITTEN and SO_PRIM_STORAGE_NEEDED. */
  [0x5200, 0x527f],
  /** SO_WRITE_OFFSET. */
  [0x5280, 0x528f],
  /** FF_MODE. */
  [0x6210, 0x6213],
  /** VFLSKPD. */
  [0x62a8, 0x62ab],
];

/** True when `offset` lies in one of `ranges`. */
export function inRanges(ranges: readonly RegisterRange[], offset: number): boolean {
  return ranges.some(([first, last]) => offset >= first && offset <= last);
}
