/**
 * The states of a VF on one GT as the PF keeps them: a set of bits, and which bits belong together.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_control_types.h, xe_gt_sriov_pf_control.c.
 */

/** `enum xe_gt_sriov_control_bits`: name and bit number. No bit at all is READY. */
export const CONTROL_BIT = {
  WIP: 1,
  FLR_WIP: 2,
  FLR_PREPARE: 3,
  FLR_SEND_START: 4,
  FLR_WAIT_GUC: 5,
  FLR_GUC_DONE: 6,
  FLR_SYNC: 7,
  FLR_RESET_CONFIG: 8,
  FLR_RESET_DATA: 9,
  FLR_RESET_MMIO: 10,
  FLR_SEND_FINISH: 11,
  FLR_FAILED: 12,
  PAUSE_WIP: 13,
  PAUSE_SEND_PAUSE: 14,
  PAUSE_WAIT_GUC: 15,
  PAUSE_GUC_DONE: 16,
  PAUSE_FAILED: 17,
  PAUSED: 18,
  SAVE_WIP: 19,
  SAVE_PROCESS_DATA: 20,
  SAVE_WAIT_DATA: 21,
  SAVE_DATA_DONE: 22,
  SAVE_FAILED: 23,
  SAVED: 24,
  RESTORE_WIP: 25,
  RESTORE_PROCESS_DATA: 26,
  RESTORE_WAIT_DATA: 27,
  RESTORE_DATA_DONE: 28,
  RESTORE_FAILED: 29,
  RESTORED: 30,
  RESUME_WIP: 31,
  RESUME_SEND_RESUME: 32,
  RESUME_FAILED: 33,
  RESUMED: 34,
  STOP_WIP: 35,
  STOP_SEND_STOP: 36,
  STOP_FAILED: 37,
  STOPPED: 38,
  MISMATCH: 39,
} as const;

/** A state bit by name. */
export type ControlBit = keyof typeof CONTROL_BIT;

/**
 * Work in progress, with the bits that end with it, in the order in which all of it is left.
 * FLR_SYNC is not among them: a GT at the checkpoint waits there for its peers.
 */
export const WIP_GROUPS = {
  FLR_WIP: [
    'FLR_PREPARE',
    'FLR_SEND_FINISH',
    'FLR_RESET_MMIO',
    'FLR_RESET_DATA',
    'FLR_RESET_CONFIG',
    'FLR_GUC_DONE',
    'FLR_WAIT_GUC',
    'FLR_SEND_START',
  ],
  STOP_WIP: ['STOP_SEND_STOP'],
  SAVE_WIP: ['SAVE_PROCESS_DATA', 'SAVE_WAIT_DATA', 'SAVE_DATA_DONE'],
  RESTORE_WIP: ['RESTORE_PROCESS_DATA', 'RESTORE_WAIT_DATA', 'RESTORE_DATA_DONE'],
  PAUSE_WIP: ['PAUSE_SEND_PAUSE', 'PAUSE_WAIT_GUC', 'PAUSE_GUC_DONE'],
  RESUME_WIP: ['RESUME_SEND_RESUME'],
} as const satisfies Partial<Record<ControlBit, readonly ControlBit[]>>;

/** A kind of work in progress. */
export type WipGroup = keyof typeof WIP_GROUPS;

/** The marks of failure, which go away with the next success. */
export const FAILURE_BITS = [
  'STOP_FAILED',
  'PAUSE_FAILED',
  'RESUME_FAILED',
  'FLR_FAILED',
  'SAVE_FAILED',
  'RESTORE_FAILED',
] as const satisfies readonly ControlBit[];

/** How long a caller waits for the end of work in progress, milliseconds. */
export const CONTROL_TIMEOUT_MS = {
  PAUSE_WIP: 1000,
  RESUME_WIP: 1000,
  STOP_WIP: 1000,
  FLR_WIP: 5000,
  RESTORE_WIP: 20_000,
} as const satisfies Partial<Record<WipGroup, number>>;

/** The set of state bits of one VF on one GT. */
export class ControlState {
  readonly #words = new Uint32Array(2);

  has(bit: ControlBit): boolean {
    const n = CONTROL_BIT[bit];
    return ((this.#words[n >>> 5] as number) & (1 << (n & 31))) !== 0;
  }

  /** Sets a bit. @returns true when it was not set before */
  enter(bit: ControlBit): boolean {
    if (this.has(bit)) return false;
    const n = CONTROL_BIT[bit];
    this.#words[n >>> 5] = (this.#words[n >>> 5] as number) | (1 << (n & 31));
    return true;
  }

  /** Clears a bit. @returns true when it was set before */
  exit(bit: ControlBit): boolean {
    if (!this.has(bit)) return false;
    const n = CONTROL_BIT[bit];
    this.#words[n >>> 5] = (this.#words[n >>> 5] as number) & ~(1 << (n & 31));
    return true;
  }

  /** The names of the set bits, by number. */
  names(): ControlBit[] {
    return (Object.keys(CONTROL_BIT) as ControlBit[]).filter((bit) => this.has(bit));
  }
}
