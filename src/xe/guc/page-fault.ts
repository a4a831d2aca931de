/**
 * Page faults as a GuC reports them and as the driver answers.
 *
 * Source: drivers/gpu/drm/xe/xe_guc_fwif.h (struct xe_guc_pagefault_desc, _reply),
 * xe_guc_pagefault.c, xe_hw_engine_types.h (enum xe_engine_class).
 */
import { GUC_CLASS } from './vf-actions.ts';

/** What an access wanted (PFD_ACCESS_TYPE). */
export const FAULT_ACCESS = { READ: 0, WRITE: 1, ATOMIC: 2 } as const;

/** Why it failed (PFD_FAULT_TYPE). */
export const FAULT_TYPE = {
  NOT_PRESENT: 0,
  WRITE_ACCESS_VIOLATION: 1,
  ATOMIC_ACCESS_VIOLATION: 2,
} as const;

/** Dwords of a report and of an answer, without HXG headers. */
export const PAGE_FAULT_DWORDS = 4;

/** Fields of a report: dword, high bit, low bit. */
export const PAGE_FAULT_LAYOUT = {
  PFD_FAULT_LEVEL: [0, 2, 0],
  PFD_SRC_ID: [0, 10, 3],
  XE2_PFD_TRVA_FAULT: [0, 18, 18],
  PFD_ENG_INSTANCE: [0, 24, 19],
  PFD_ENG_CLASS: [0, 27, 25],
  PFD_PDATA_LO: [0, 31, 28],
  PFD_PDATA_HI: [1, 11, 0],
  PFD_ASID: [1, 31, 12],
  PFD_ACCESS_TYPE: [2, 1, 0],
  PFD_FAULT_TYPE: [2, 3, 2],
  PFD_VFID: [2, 9, 4],
  PFD_VIRTUAL_ADDR_LO: [2, 31, 12],
  PFD_VIRTUAL_ADDR_HI: [3, 31, 0],
} as const satisfies Readonly<Record<string, readonly [number, number, number]>>;

/** One page fault. */
export interface PageFault {
  /** Level of the page table at which the walk ended. */
  readonly level: number;
  /** One of GUC_CLASS. */
  readonly engineClass: number;
  readonly engineInstance: number;
  /** Comes back in the answer; 16 bits. */
  readonly id: number;
  /** Address space as the driver numbers it; 20 bits. */
  readonly asid: number;
  /** One of {@link FAULT_ACCESS}. */
  readonly access: number;
  /** One of {@link FAULT_TYPE}. */
  readonly type: number;
  /** Bytes, page aligned, below 2^53. */
  readonly address: number;
}

/** Engine classes as hardware numbers them, where that is not as the GuC does. */
const HARDWARE_COMPUTE = 5;

/** The dwords of a report, without the HXG header. */
export function encodePageFault(fault: PageFault): readonly number[] {
  const engineClass =
    fault.engineClass === GUC_CLASS.COMPUTE ? HARDWARE_COMPUTE : fault.engineClass;
  return [
    (((fault.id & 0xf) << 28) |
      ((engineClass & 0x7) << 25) |
      ((fault.engineInstance & 0x3f) << 19) |
      (fault.level & 0x7)) >>>
      0,
    (((fault.asid & 0xf_ffff) << 12) | (fault.id >>> 4)) >>> 0,
    (((fault.address % 2 ** 32) & 0xffff_f000) | (fault.type << 2) | fault.access) >>> 0,
    Math.floor(fault.address / 2 ** 32),
  ];
}

/** What a driver answers. */
export interface PageFaultResponse {
  readonly id: number;
  readonly asid: number;
  /** True when the access may be repeated. */
  readonly repaired: boolean;
}

const PFR_VALID = 1;
/** Called PFR_SUCCESS in Linux, and set when the fault was not repaired. */
const PFR_FAILED = 2;

/**
 * Reads an answer.
 * @param first and second: its two dwords
 * @returns undefined for one that is not valid
 */
export function decodePageFaultResponse(
  first: number,
  second: number,
): PageFaultResponse | undefined {
  if ((first & PFR_VALID) === 0) return undefined;
  return { id: second >>> 16, asid: first >>> 12, repaired: (first & PFR_FAILED) === 0 };
}
