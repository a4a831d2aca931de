/**
 * The registers that a VF may touch, as data.
 *
 * Everything else in a VF's first 4 MiB of BAR 0 reads as zero and ignores writes; its driver asks
 * the PF for the fuse registers instead.
 *
 * Source: drivers/gpu/drm/xe/regs/xe_regs.h, xe_guc_regs.h, xe_irq_regs.h (XE_REG_OPTION_VF).
 */

/** What an access to a register does. */
export type RegisterAccess =
  /** Reads a value, ignores writes. */
  | 'ro'
  /** Keeps what is written. */
  | 'rw'
  /** A write starts something; reads as zero. */
  | 'wo'
  /** Accepted and without effect on a VF. */
  | 'ignore';

/** One register, or `count` of them, `stride` bytes apart. */
export interface RegisterSpec {
  readonly offset: number;
  readonly count: number;
  readonly stride: number;
  readonly access: RegisterAccess;
  /** Bit fields as [high, low]. */
  readonly fields: Readonly<Record<string, readonly [high: number, low: number]>>;
}

function register(
  offset: number,
  access: RegisterAccess,
  options: { count?: number; fields?: RegisterSpec['fields'] } = {},
): RegisterSpec {
  return { offset, count: options.count ?? 1, stride: 4, access, fields: options.fields ?? {} };
}

/** Software flag registers of each GuC mailbox. */
export const VF_SW_FLAG_COUNT = 4;

/** The registers of a VF by their names in the kernel. */
export const VF_REGISTERS = {
  VF_CAP_REG: register(0x1901f8, 'ro', { fields: { VF_CAP: [0, 0] } }),
  VF_SW_FLAG: register(0x190240, 'rw', { count: VF_SW_FLAG_COUNT }),
  GUC_HOST_INTERRUPT: register(0x1901f0, 'wo'),
  MED_VF_SW_FLAG: register(0x190310, 'rw', { count: VF_SW_FLAG_COUNT }),
  MED_GUC_HOST_INTERRUPT: register(0x190304, 'wo'),
  /** Written as a dummy before GuC accesses on integrated parts (workaround 22019338487). */
  DUMMY_WRITE: register(0x130030, 'ignore'),
  GUNIT_GSC_INTR_ENABLE: register(0x190044, 'ignore'),
  GUNIT_GSC_INTR_MASK: register(0x1900f4, 'ignore'),
} as const satisfies Record<string, RegisterSpec>;

/** Distance of a media GT's registers from a main GT's (xe_gt_types.h, MEDIA_GT_GSI_OFFSET). */
export const MEDIA_GT_GSI_OFFSET = 0x38_0000;
