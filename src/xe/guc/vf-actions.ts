/**
 * What a VF's driver says to its GuCs and hears from them.
 *
 * Source: drivers/gpu/drm/xe/abi/guc_actions_sriov_abi.h, abi/guc_actions_abi.h,
 * abi/guc_klvs_abi.h, xe_guc_submit.c.
 */

/** Actions that go through the mailbox. */
export const MAILBOX_ACTION = {
  HOST2GUC_SELF_CFG: 0x0508,
  GET_HWCONFIG: 0x4100,
  HOST2GUC_CONTROL_CTB: 0x4509,
  VF2GUC_MATCH_VERSION: 0x5500,
  VF2GUC_VF_RESET: 0x5507,
  VF2GUC_RESFIX_DONE: 0x5508,
  VF2GUC_QUERY_SINGLE_KLV: 0x5509,
  VF2GUC_RESFIX_START: 0x550f,
} as const;

/** Actions that go through the H2G buffer. */
export const H2G_ACTION = {
  ALLOCATE_DOORBELL: 0x10,
  DEALLOCATE_DOORBELL: 0x20,
  UPDATE_SCHEDULING_POLICIES_KLV: 0x0509,
  SCHED_CONTEXT: 0x1000,
  SCHED_CONTEXT_MODE_SET: 0x1001,
  SCHED_ENGINE_MODE_SET: 0x1003,
  SET_CONTEXT_PRIORITY: 0x1005,
  SET_CONTEXT_EXECUTION_QUANTUM: 0x1006,
  SET_CONTEXT_PREEMPTION_TIMEOUT: 0x1007,
  UPDATE_CONTEXT_POLICIES: 0x100b,
  REGISTER_CONTEXT: 0x4502,
  DEREGISTER_CONTEXT: 0x4503,
  REGISTER_CONTEXT_MULTI_LRC: 0x4601,
  OPT_IN_FEATURE_KLV: 0x550e,
  PAGE_FAULT_RES_DESC: 0x6003,
  TLB_INVALIDATION: 0x7000,
  TLB_INVALIDATION_ALL: 0x7002,
  PAGE_RECLAMATION: 0x7003,
} as const;

/** Events that come in the G2H buffer. */
export const G2H_ACTION = {
  SCHED_CONTEXT_MODE_DONE: 0x1002,
  SCHED_ENGINE_MODE_DONE: 0x1004,
  CONTEXT_RESET_NOTIFICATION: 0x1008,
  DEREGISTER_CONTEXT_DONE: 0x4600,
  NOTIFY_MEMORY_CAT_ERROR: 0x6000,
  REPORT_PAGE_FAULT_REQ_DESC: 0x6002,
  TLB_INVALIDATION_DONE: 0x7001,
  PAGE_RECLAMATION_DONE: 0x7004,
} as const;

/** Interface version that a GuC speaks with VFs: branch 0. Source: xe_gt_sriov_vf.c, xe_sriov_vf.c. */
export interface VfAbiVersion {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
}

/** Lowest VF interface version with which a VF survives a migration. */
export const VF_ABI_MIGRATION: VfAbiVersion = { major: 1, minor: 27, patch: 0 };

/** Keys of HOST2GUC_SELF_CFG with the dwords of their values. */
export const SELF_CFG_KLV = {
  MEMIRQ_STATUS_ADDR: { key: 0x0900, length: 2 },
  MEMIRQ_SOURCE_ADDR: { key: 0x0901, length: 2 },
  H2G_CTB_ADDR: { key: 0x0902, length: 2 },
  H2G_CTB_DESCRIPTOR_ADDR: { key: 0x0903, length: 2 },
  H2G_CTB_SIZE: { key: 0x0904, length: 1 },
  G2H_CTB_ADDR: { key: 0x0905, length: 2 },
  G2H_CTB_DESCRIPTOR_ADDR: { key: 0x0906, length: 2 },
  G2H_CTB_SIZE: { key: 0x0907, length: 1 },
} as const;

/** Keys of VF2GUC_QUERY_SINGLE_KLV that are no VF configuration. */
export const GLOBAL_CFG_KLV = {
  GMD_ID: 0x3000,
  GROUP_SCHEDULING_AVAILABLE: 0x3001,
  NUM_PAGING_ENGINE_INSTANCES: 0x3003,
} as const;

/** Keys of UPDATE_CONTEXT_POLICIES, one dword each. */
export const CONTEXT_POLICY_KLV = {
  EXECUTION_QUANTUM: 0x2001,
  PREEMPTION_TIMEOUT: 0x2002,
  SCHEDULING_PRIORITY: 0x2003,
  PREEMPT_TO_IDLE_ON_QUANTUM_EXPIRY: 0x2004,
  SLPM_GT_FREQUENCY: 0x2005,
} as const;

/** Values of SCHEDULING_PRIORITY, the most urgent first (`GUC_CLIENT_PRIORITY_*`). */
export const CONTEXT_PRIORITY = { KMD_HIGH: 0, HIGH: 1, KMD_NORMAL: 2, NORMAL: 3 } as const;

/** Keys of OPT_IN_FEATURE_KLV, without values. */
export const OPT_IN_KLV = {
  EXT_CAT_ERR_TYPE: 0x4001,
  DYNAMIC_INHIBIT_CONTEXT_SWITCH: 0x4003,
  UNCORRECTABLE_LOCAL_ERROR_NOTIFICATION: 0x4004,
} as const;

/** Keys of UPDATE_SCHEDULING_POLICIES_KLV. */
export const SCHEDULING_POLICY_KLV = {
  /** Milliseconds of a period, and percent of it in which compute goes before render. */
  RENDER_COMPUTE_YIELD: 0x1001,
} as const;

/** The type in a CAT error event where hardware tells none (XE_GUC_CAT_ERR_TYPE_INVALID). */
export const CAT_ERR_TYPE_INVALID = 0xdead_beef;

/** Bits 2:1 of REGISTER_CONTEXT's flags (CONTEXT_REGISTRATION_FLAG_TYPE). */
export const CONTEXT_TYPE = { NORMAL: 0, COMPRESSION_SAVE: 1, COMPRESSION_RESTORE: 2 } as const;

/** The type of a context by its registration flags, one of {@link CONTEXT_TYPE}. */
export function contextType(flags: number): number {
  return (flags >>> 1) & 0x3;
}

/** Classes of engines as the GuC numbers them (`enum guc_engine_class`). */
export const GUC_CLASS = {
  RENDER: 0,
  VIDEO: 1,
  VIDEOENHANCE: 2,
  BLITTER: 3,
  COMPUTE: 4,
  /** Only with NUM_PAGING_ENGINE_INSTANCES above zero: the last of the copy engines. */
  PAGING: 6,
} as const;

/** Layout of REGISTER_CONTEXT after the HXG header: dword index of each field. */
export const REGISTER_CONTEXT = {
  FLAGS: 1,
  CONTEXT_INDEX: 2,
  ENGINE_CLASS: 3,
  ENGINE_SUBMIT_MASK: 4,
  WQ_DESC_ADDR: 5,
  WQ_BUF_BASE: 7,
  WQ_BUF_SIZE: 9,
  HW_LRC_ADDR: 10,
  LENGTH: 12,
} as const;

/** What REGISTER_CONTEXT_MULTI_LRC has instead: a count, then one descriptor an LRC. */
export const REGISTER_CONTEXT_MULTI_LRC = { NUM_CTXS: 10, HW_LRC_ADDR: 11 } as const;

/** Bits of a LRC descriptor's low dword that are flags, not address. */
export const LRC_DESCRIPTOR_FLAGS = 0xfff;
