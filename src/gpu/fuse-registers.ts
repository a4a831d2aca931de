/**
 * The fuse registers that a VF's driver asks the PF for: the engines that the platform has, and a
 * small shader array, enough for Linux's xe to set itself up.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_service.c (which), regs/xe_gt_regs.h (fields),
 * xe_hw_engine.c:read_media_fuses, read_compute_fuses.
 */
import { enginesOf } from '../xe/engines.ts';
import { GUC_CLASS } from '../xe/guc/vf-actions.ts';
import type { Platform } from '../xe/platforms.ts';
import { MEDIA_GT_GSI_OFFSET } from '../xe/registers.ts';

/** The same on every platform: register offset and value. */
const FIXED: ReadonlyArray<readonly [offset: number, value: number]> = [
  // RPM_CONFIG0: 38.4 MHz crystal, timestamp shift 3.
  [0x0d00, 0x16],
  // MIRROR_FUSE3: one slice of L3 banks.
  [0x9118, 0x1_0001],
  // MIRROR_L3BANK_ENABLE.
  [0x9130, 0xf],
  // XEHP_EU_ENABLE.
  [0x9134, 0xff],
  // XELP_GT_GEOMETRY_DSS_ENABLE and XEHP_GT_COMPUTE_DSS_ENABLE.
  [0x913c, 0xf],
  [0x9144, 0xf],
];

const XEHP_FUSE4 = 0x9114;
/** Enable mask, since 12.50: VCS in 7:0, VECS in 19:16. */
const GT_VEBOX_VDBOX_DISABLE = 0x9140;

/** The fuse registers of a platform by their offset in BAR 0; the media GT's are moved by 0x380000. */
export function fuseRegisters(platform: Platform): ReadonlyMap<number, number> {
  const engines = platform.gts.flatMap((gt) => enginesOf(gt.engines));
  const mask = (engineClass: number) =>
    engines.reduce(
      (bits, engine) => (engine.engineClass === engineClass ? bits | (1 << engine.instance) : bits),
      0,
    );
  const media = mask(GUC_CLASS.VIDEO) | (mask(GUC_CLASS.VIDEOENHANCE) << 16);
  return new Map([
    ...FIXED,
    [XEHP_FUSE4, mask(GUC_CLASS.COMPUTE) << 16],
    [MEDIA_GT_GSI_OFFSET + GT_VEBOX_VDBOX_DISABLE, media],
  ]);
}
