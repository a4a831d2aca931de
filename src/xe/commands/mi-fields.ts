/**
 * Bit fields of MI commands and of PIPE_CONTROL, as masks of the dword they stand in.
 *
 * Source: drivers/gpu/drm/xe/instructions/xe_mi_commands.h, xe_gpu_commands.h; Intel's PRM,
 * "Command Reference: Instructions".
 */

/** MI_NOOP. */
export const NOOP = { WRITE_ID: 1 << 22, ID: 0x3f_ffff } as const;

/** MI_ARB_ON_OFF. */
export const ARB_ON_OFF = { ENABLE: 1 << 0 } as const;

/** MI_SET_PREDICATE: PREDICATE_ENABLE of bits 3:0, PREDICATE_ENABLE_WPARID of bits 5:4. */
export const SET_PREDICATE = {
  NOOP_NEVER: 0,
  NOOP_ON_RESULT2_CLEAR: 1,
  NOOP_ON_RESULT2_SET: 2,
  NOOP_ON_RESULT_CLEAR: 3,
  NOOP_ON_RESULT_SET: 4,
  NOOP_ALWAYS: 0xf,
  ENABLE_MASK: 0xf,
  WPARID_SHIFT: 4,
  WPARID_MASK: 3,
  WPARID_NOOP_ON_ZERO: 1,
} as const;

/** MI_PREDICATE: compare in bits 1:0, combine in 4:3, load in 7:6. */
export const PREDICATE = {
  COMPARE: { TRUE: 0, FALSE: 1, SRCS_EQUAL: 2, DELTAS_EQUAL: 3 },
  COMBINE_SHIFT: 3,
  COMBINE: { SET: 0, AND: 1, OR: 2, XOR: 3 },
  LOAD_SHIFT: 6,
  LOAD: { KEEP: 0, LOAD: 2, LOADINV: 3 },
} as const;

/** MI_BATCH_BUFFER_START. */
export const BATCH_BUFFER_START = {
  PPGTT: 1 << 8,
  PREDICATION_ENABLE: 1 << 15,
  /** The address is in CS_GPR_R0. */
  INDIRECT: 1 << 18,
  /** A nested batch: its end returns here. Else a chained one. */
  NESTED: 1 << 22,
} as const;

/** MI_CONDITIONAL_BATCH_BUFFER_END. */
export const CONDITIONAL_END = {
  COMPARE_SHIFT: 12,
  PREDICATE_ENABLE: 1 << 15,
  /** Only this level ends; else all of them. */
  END_CURRENT_LEVEL: 1 << 18,
  MASK_MODE: 1 << 19,
  /** Without it the comparison is always "greater", as on old hardware. */
  COMPARE_SEMAPHORE: 1 << 21,
  GGTT: 1 << 22,
} as const;

/** Comparisons of a memory value (first) with an inline one, in 3 bits. */
export const COMPARE = { GT: 0, GTE: 1, LT: 2, LTE: 3, EQ: 4, NEQ: 5 } as const;

/** MI_SEMAPHORE_WAIT. */
export const SEMAPHORE_WAIT = {
  COMPARE_SHIFT: 12,
  POLL: 1 << 15,
  /** The address is a register's. */
  REGISTER_POLL: 1 << 16,
  /** The value to compare with is in CS_GPR_R0. */
  INDIRECT: 1 << 17,
  GGTT: 1 << 22,
} as const;

/** MI_STORE_DATA_IMM. */
export const STORE_DATA_IMM = { QWORD: 1 << 21, GGTT: 1 << 22 } as const;

/** MI_STORE_DATA_INDEX: byte offset in the status page. */
export const STORE_DATA_INDEX = { OFFSET: 0xffc } as const;

/** MI_LOAD_REGISTER_IMM, _MEM, _REG and MI_STORE_REGISTER_MEM. */
export const REGISTER_ACCESS = {
  BYTE_DISABLE_SHIFT: 8,
  /** Registers 0x2000 to 0x27ff are those of the engine that executes. */
  REMAP: 1 << 17,
  /** The offset is relative to the engine's registers. */
  CS_MMIO: 1 << 19,
  SRM_PREDICATE: 1 << 21,
  GGTT: 1 << 22,
  /** Bits of MI_LOAD_REGISTER_REG for its source. */
  SOURCE_REMAP: 1 << 16,
  SOURCE_CS_MMIO: 1 << 18,
  OFFSET: 0x7f_fffc,
} as const;

/** MI_COPY_MEM_MEM. */
export const COPY_MEM_MEM = { DST_GGTT: 1 << 21, SRC_GGTT: 1 << 22 } as const;

/** Post-sync operations of MI_FLUSH_DW, PIPE_CONTROL and COMPUTE_WALKER, in 2 bits. */
export const POST_SYNC = { NONE: 0, IMMEDIATE: 1, PS_DEPTH_COUNT: 2, TIMESTAMP: 3 } as const;

/** MI_FLUSH_DW, header and first address dword. */
export const FLUSH_DW = {
  NOTIFY: 1 << 8,
  POST_SYNC_SHIFT: 14,
  TLB_INVALIDATE: 1 << 18,
  STORE_INDEX: 1 << 21,
  ADDRESS_GGTT: 1 << 2,
  ADDRESS: 0xffff_fff8,
} as const;

/** PIPE_CONTROL, header and second dword. */
export const PIPE_CONTROL = {
  PREDICATE_ENABLE: 1 << 8,
  NOTIFY: 1 << 8,
  POST_SYNC_SHIFT: 14,
  TLB_INVALIDATE: 1 << 18,
  STORE_DATA_INDEX: 1 << 21,
  LRI_POST_SYNC: 1 << 23,
  GGTT: 1 << 24,
} as const;

/** COMPUTE_WALKER: where its post-sync operation stands, in dwords. */
export const COMPUTE_WALKER = {
  PREDICATE_ENABLE: 1 << 8,
  POST_SYNC: 27,
  POST_SYNC_ADDRESS: 28,
  POST_SYNC_DATA: 30,
} as const;

/** MI_ATOMIC: opcode in bits 15:8, data size in 20:19. */
export const ATOMIC = {
  OPCODE_SHIFT: 8,
  RETURN_DATA: 1 << 16,
  INLINE_DATA: 1 << 18,
  SIZE_SHIFT: 19,
  SIZE: { DWORD: 0, QWORD: 1, OCTWORD: 2 },
  GGTT: 1 << 22,
  /** Operations, for dwords; those on qwords are {@link ATOMIC.QWORD} above. */
  OP: {
    AND: 1,
    OR: 2,
    XOR: 3,
    MOVE: 4,
    INC: 5,
    DEC: 6,
    ADD: 7,
    SUB: 8,
    RSUB: 9,
    IMAX: 0xa,
    IMIN: 0xb,
    UMAX: 0xc,
    UMIN: 0xd,
    CMP_WR: 0xe,
    PREDEC: 0xf,
  },
  QWORD: 0x20,
  OCTWORD: 0x40,
} as const;

/** Instructions of MI_MATH: opcode in bits 31:20, operands in 19:10 and 9:0. */
export const ALU = {
  NOOP: 0x000,
  FENCE_RD: 0x001,
  FENCE_WR: 0x002,
  LOAD: 0x080,
  LOADINV: 0x480,
  LOAD0: 0x081,
  LOAD1: 0x481,
  LOADIND: 0x082,
  ADD: 0x100,
  SUB: 0x101,
  AND: 0x102,
  OR: 0x103,
  XOR: 0x104,
  SHL: 0x105,
  SHR: 0x106,
  SAR: 0x107,
  STORE: 0x180,
  STOREINV: 0x580,
  STOREIND: 0x181,
} as const;

/** Operands of MI_MATH; 0 to 15 are CS_GPR_R0 to R15. */
export const ALU_OPERAND = { SRCA: 0x20, SRCB: 0x21, ACCU: 0x31, ZF: 0x32, CF: 0x33 } as const;
