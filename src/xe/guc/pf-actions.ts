/**
 * What a PF's driver says to its GuCs and hears from them, and what VFs ask the PF through them.
 *
 * Source: drivers/gpu/drm/xe/abi/guc_actions_sriov_abi.h, abi/guc_klvs_abi.h,
 * abi/guc_relay_actions_abi.h, abi/guc_relay_communication_abi.h,
 * xe_guc_klv_thresholds_set_types.h.
 */

/** Requests of the PF to a GuC; dwords with the HXG header. */
export const PF2GUC_ACTION = {
  /** [1] VFID, [2] relay id, then the message. */
  RELAY_TO_VF: { action: 0x5101, dwords: undefined },
  /** [1] address low, [2] high, [3] size in dwords; answers the KLVs taken. */
  UPDATE_VGT_POLICY: { action: 0x5502, dwords: 4 },
  /** [1] VFID, [2] address low, [3] high, [4] size in dwords; answers the KLVs taken. */
  UPDATE_VF_CFG: { action: 0x5503, dwords: 5 },
  /** [1] VFID, [2] {@link VF_CONTROL_COMMAND}; answers 0. */
  VF_CONTROL: { action: 0x5506, dwords: 3 },
  /** DATA0 {@link SAVE_RESTORE_OPCODE}, [1] VFID, [2] address low, [3] high, [4] dwords. */
  SAVE_RESTORE_VF: { action: 0x550b, dwords: 5 },
} as const;

/** Events of a GuC to the PF; dwords with the HXG header. */
export const GUC2PF_ACTION = {
  /** [1] VFID, [2] relay id, then the message: 3 to 255 dwords. */
  RELAY_FROM_VF: { action: 0x5100, dwords: undefined },
  /** [1] VFID, [2] key of the threshold that was passed. */
  ADVERSE_EVENT: { action: 0x5104, dwords: 3 },
  /** [1] VFID, [2] {@link VF_NOTIFY} (or {@link PF_NOTIFY} for VFID 0). */
  VF_STATE_NOTIFY: { action: 0x5106, dwords: 3 },
} as const;

/** Relay messages as the VF sees them. */
export const VF_RELAY_ACTION = {
  GUC2VF_RELAY_FROM_PF: 0x5102,
  VF2GUC_RELAY_TO_PF: 0x5103,
} as const;

/** Commands of PF2GUC_VF_CONTROL. */
export const VF_CONTROL_COMMAND = {
  PAUSE: 1,
  RESUME: 2,
  STOP: 3,
  FLR_START: 4,
  FLR_FINISH: 5,
} as const;

/** A command of PF2GUC_VF_CONTROL by name. */
export type VfControlCommand = keyof typeof VF_CONTROL_COMMAND;

/** Events of GUC2PF_VF_STATE_NOTIFY about a VF. */
export const VF_NOTIFY = { FLR: 1, FLR_DONE: 2, PAUSE_DONE: 3, FIXUP_DONE: 4 } as const;

/** Events of GUC2PF_VF_STATE_NOTIFY about the PF (VFID 0). */
export const PF_NOTIFY = { VF_ENABLE: 1 } as const;

/** DATA0 of PF2GUC_SAVE_RESTORE_VF. SAVE with address and size 0 asks for the size. */
export const SAVE_RESTORE_OPCODE = { SAVE: 0, RESTORE: 1 } as const;

/** Layout of a KLV key: length in dwords (the least, where it varies) and the kernel's name. */
export interface KlvSpec {
  readonly key: number;
  readonly length: number;
  /** Most dwords, where the length varies. */
  readonly maxLength?: number;
  /** As `xe_guc_klv_key_to_string` prints it. */
  readonly name: string;
}

/** Scheduling groups that firmware has at most (GUC_MAX_SCHED_GROUPS). */
const MAX_SCHED_GROUPS = 8;

/** Keys of PF2GUC_UPDATE_VGT_POLICY. */
export const VGT_POLICY_KLV = {
  SCHED_IF_IDLE: { key: 0x8001, length: 1, name: 'sched_if_idle' },
  ADVERSE_SAMPLE_PERIOD: { key: 0x8002, length: 1, name: 'sample_period' },
  ENGINE_GROUP_CONFIG: { key: 0x8004, length: 0, name: 'engine_group_config' },
  RESET_AFTER_VF_SWITCH: { key: 0x8d00, length: 1, name: 'reset_engine' },
} as const satisfies Record<string, KlvSpec>;

/** Keys of PF2GUC_UPDATE_VF_CFG. */
export const VF_CFG_KLV = {
  GGTT_START: { key: 0x0001, length: 2, name: 'ggtt_start' },
  GGTT_SIZE: { key: 0x0002, length: 2, name: 'ggtt_size' },
  LMEM_SIZE: { key: 0x0003, length: 2, name: 'lmem_size' },
  NUM_CONTEXTS: { key: 0x0004, length: 1, name: 'num_contexts' },
  TILE_MASK: { key: 0x0005, length: 1, name: 'tile_mask' },
  NUM_DOORBELLS: { key: 0x0006, length: 1, name: 'num_doorbells' },
  EXEC_QUANTUM: { key: 0x8a01, length: 1, name: 'exec_quantum' },
  PREEMPT_TIMEOUT: { key: 0x8a02, length: 1, name: 'preempt_timeout' },
  THRESHOLD_CAT_ERR: { key: 0x8a03, length: 1, name: 'cat_error_count' },
  THRESHOLD_ENGINE_RESET: { key: 0x8a04, length: 1, name: 'engine_reset_count' },
  THRESHOLD_PAGE_FAULT: { key: 0x8a05, length: 1, name: 'page_fault_count' },
  THRESHOLD_H2G_STORM: { key: 0x8a06, length: 1, name: 'guc_time_us' },
  THRESHOLD_IRQ_STORM: { key: 0x8a07, length: 1, name: 'irq_time_us' },
  THRESHOLD_DOORBELL_STORM: { key: 0x8a08, length: 1, name: 'doorbell_time_us' },
  BEGIN_DOORBELL_ID: { key: 0x8a0a, length: 1, name: 'begin_db_id' },
  BEGIN_CONTEXT_ID: { key: 0x8a0b, length: 1, name: 'begin_ctx_id' },
  SCHED_PRIORITY: { key: 0x8a0c, length: 1, name: 'sched_priority' },
  THRESHOLD_MULTI_LRC_COUNT: { key: 0x8a0d, length: 1, name: 'multi_lrc_count' },
  ENGINE_GROUP_EXEC_QUANTUM: {
    key: 0x8a0e,
    length: 1,
    maxLength: MAX_SCHED_GROUPS,
    name: 'sched_groups_exec_quantum',
  },
  ENGINE_GROUP_PREEMPT_TIMEOUT: {
    key: 0x8a0f,
    length: 1,
    maxLength: MAX_SCHED_GROUPS,
    name: 'sched_groups_preempt_timeout',
  },
} as const satisfies Record<string, KlvSpec>;

/** Adverse-event thresholds of a VF, with the first firmware (minor of 70) that knows each. */
export const VF_THRESHOLD = {
  CAT_ERR: { klv: VF_CFG_KLV.THRESHOLD_CAT_ERR, sinceMinor: 0 },
  ENGINE_RESET: { klv: VF_CFG_KLV.THRESHOLD_ENGINE_RESET, sinceMinor: 0 },
  PAGE_FAULT: { klv: VF_CFG_KLV.THRESHOLD_PAGE_FAULT, sinceMinor: 0 },
  H2G_STORM: { klv: VF_CFG_KLV.THRESHOLD_H2G_STORM, sinceMinor: 0 },
  IRQ_STORM: { klv: VF_CFG_KLV.THRESHOLD_IRQ_STORM, sinceMinor: 0 },
  DOORBELL_STORM: { klv: VF_CFG_KLV.THRESHOLD_DOORBELL_STORM, sinceMinor: 0 },
  MULTI_LRC_COUNT: { klv: VF_CFG_KLV.THRESHOLD_MULTI_LRC_COUNT, sinceMinor: 53 },
} as const;

/** An adverse-event threshold by name. */
export type VfThreshold = keyof typeof VF_THRESHOLD;

/** Values above these are clamped: milliseconds and microseconds. */
export const EXEC_QUANTUM_MAX_MS = 100_000;
export const PREEMPT_TIMEOUT_MAX_US = 100_000_000;

/** Values of SCHED_PRIORITY. */
export const SCHED_PRIORITY = { LOW: 0, NORMAL: 1, HIGH: 2 } as const;

/** GuC context ids that a GT has (GUC_ID_MAX) and its doorbells. */
export const GUC_ID_MAX = 65535;
export const GUC_NUM_DOORBELLS = 256;

/** The VF/PF interface that the relay carries: its versions and actions. */
export const RELAY_VERSION = {
  BASE: { major: 1, minor: 0 },
  LATEST: { major: 1, minor: 0 },
} as const;

/** Requests of a VF to the PF, in relay messages. */
export const VF2PF_ACTION = {
  /** [1] wanted major 31:16, minor 15:0; 2 dwords. */
  HANDSHAKE: 0x0001,
  /** DATA0 most registers (0: as many as fit), [1] first index; 2 dwords. */
  QUERY_RUNTIME: 0x0101,
} as const;

/** Dwords of the longest CT buffer message without its CTB header (GUC_CTB_MAX_DWORDS). */
export const CTB_MAX_DWORDS = 255;
/** Dwords before the message in a relay event to the PF, and of the longest relayed message. */
export const RELAY_HEADER_DWORDS = 3;
export const RELAY_MSG_MAX_DWORDS = CTB_MAX_DWORDS - RELAY_HEADER_DWORDS;
