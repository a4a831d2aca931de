/**
 * How much of each resource a VF gets when nobody says otherwise.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_config.c (pf_profile_fair_*).
 */
import { alignDown, roundDownPowerOfTwo } from '../base/int.ts';
import { GUC_ID_MAX, GUC_NUM_DOORBELLS } from '../xe/guc/pf-actions.ts';
import { GUC_GGTT_TOP } from '../xe/pte.ts';

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** What the PF keeps for itself at least. */
export const MIN_SPARE = { ggtt: 64 * MIB, contexts: 256, doorbells: 0, vram: 128 * MIB } as const;

/** Scheduling that every function gets unless something was set before. */
export const FAIR_SCHED = { execQuantumMs: 16, preemptTimeoutUs: 16_000 } as const;

/** Bytes of VRAM are given out in pages of the LMTT. */
export const VRAM_ALIGNMENT = 2 * MIB;

/** The last VFs' GGTT is smaller: about 512 MiB of it are reserved. */
const GGTT_SMALL_ABOVE_VFS = 56;
const GGTT_SMALL = 56 * MIB;

/** Context ids for each of `vfs` VFs; `adminOnly`: the PF itself renders nothing. */
export function fairContexts(vfs: number, adminOnly: boolean): number {
  if (adminOnly && vfs === 1) return alignDown(GUC_ID_MAX, KIB);
  return roundDownPowerOfTwo(Math.floor(GUC_ID_MAX / vfs));
}

/** Doorbells for each of `vfs` VFs. */
export function fairDoorbells(vfs: number, adminOnly: boolean): number {
  if (adminOnly && vfs === 1) return GUC_NUM_DOORBELLS - 16;
  return roundDownPowerOfTwo(Math.floor(GUC_NUM_DOORBELLS / (vfs + 1)));
}

/** Bytes of GGTT for each of `vfs` VFs. */
export function fairGgtt(vfs: number, adminOnly: boolean): number {
  const shareable = alignDown(GUC_GGTT_TOP, 512 * MIB);
  if (adminOnly && vfs === 1) return shareable;
  if (vfs > GGTT_SMALL_ABOVE_VFS) return GGTT_SMALL;
  return roundDownPowerOfTwo(Math.floor(shareable / vfs));
}

/** Bytes of VRAM for each of `vfs` VFs out of `usable`. */
export function fairVram(vfs: number, usable: number, adminOnly: boolean): number {
  const shareable = alignDown(Math.max(0, usable - MIN_SPARE.vram), GIB);
  const share = Math.floor(shareable / (adminOnly ? vfs : vfs + 1));
  if (adminOnly || share === 0) return alignDown(share, VRAM_ALIGNMENT);
  return alignDown(roundDownPowerOfTwo(share), VRAM_ALIGNMENT);
}
