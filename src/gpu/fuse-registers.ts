/**
 * The fuse registers that a VF's driver asks the PF for, with values that leave one of each engine
 * and a small shader array: enough for Linux's xe to set itself up.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_service.c (which), regs/xe_gt_regs.h (fields).
 */
import { MEDIA_GT_GSI_OFFSET } from '../xe/registers.ts';

const FUSES: ReadonlyMap<number, number> = new Map([
  // RPM_CONFIG0: 38.4 MHz crystal, timestamp shift 3.
  [0x0d00, 0x16],
  // XEHP_FUSE4: CCS0.
  [0x9114, 1 << 16],
  // MIRROR_FUSE3: one slice of L3 banks.
  [0x9118, 0x1_0001],
  // MIRROR_L3BANK_ENABLE.
  [0x9130, 0xf],
  // XEHP_EU_ENABLE.
  [0x9134, 0xff],
  // XELP_GT_GEOMETRY_DSS_ENABLE and XEHP_GT_COMPUTE_DSS_ENABLE.
  [0x913c, 0xf],
  [0x9144, 0xf],
  // GT_VEBOX_VDBOX_DISABLE of the media GT, an enable mask since 12.50: VECS0 and VCS0.
  [MEDIA_GT_GSI_OFFSET + 0x9140, (1 << 16) | 1],
]);

/** The value of a fuse register by its offset in BAR 0; the media GT's are moved by 0x380000. */
export function readFuseRegister(offset: number): number {
  return FUSES.get(offset) ?? 0;
}
