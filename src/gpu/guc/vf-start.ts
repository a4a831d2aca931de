/**
 * How far a VF's driver has come with a GuC.
 *
 * Stock xe starts each GuC twice: once to ask for the configuration of the hardware, and again (after
 * VF_RESET) to use it. It waits for answers of the mailbox without having said where it wants to be
 * interrupted, and for answers through the CTB, where it takes being interrupted for a move as a failure
 * of its start. Then it runs jobs that have no page tables, whose batches it cannot find again when its
 * GGTT is elsewhere. So it cannot recover from a move until all of that is over. A GT that is reset is
 * started anew.
 *
 * When it leaves it begins with the contexts for compression metadata: it empties their rings and frees
 * them, without a word to the GuC. A recovery that comes after that writes to them all the same, which
 * the guest's kernel does not survive.
 *
 * Source: drivers/gpu/drm/xe/xe_uc.c:vf_uc_load_hw, xe_guc.c:vf_guc_min_load_for_hwconfig,
 * xe_guc_ct.c:__guc_ct_send_locked (ECANCELED while a recovery is pending),
 * xe_gt.c:xe_gt_record_default_lrcs, xe_sriov_vf_ccs.c:xe_sriov_vf_ccs_fini and xe_sriov_vf_ccs_rebase.
 */
import { CONTEXT_TYPE, contextType } from '../../xe/guc/vf-actions.ts';
import { LRC_DESC } from '../../xe/lrc.ts';
import { LrcImage } from '../engine/lrc-image.ts';
import type { VfSession } from './vf-session.ts';
import type { LrcDescriptor } from './vf-state.ts';

/** Steps of a start follow each other faster than this, ms, also where the processor is emulated. */
export const START_QUIET_MS = 1000;

/** The VF's driver does what belongs to a start. */
export function noteStart({ vf, now }: VfSession): void {
  // In a recovery it says some of it again.
  if (!vf.fixup.blocked) vf.runtime.startSignAt = now();
}

/** The VF's driver registers a context or gives it up: those without page tables belong to a start. */
export function noteContext(session: VfSession, lrcs: readonly LrcDescriptor[]): void {
  if (lrcs.some(({ low }) => (low & LRC_DESC.PRIVILEGE) === 0)) noteStart(session);
}

/** True when the VF's driver has begun to talk to this GuC and has not been reset since. */
export function hasBegun({ vf }: VfSession): boolean {
  return vf.existingRuntime?.handshake !== undefined;
}

/** True when the VF's driver has done all that its start needs of this GuC, and does not leave. */
export function isSettled(session: VfSession): boolean {
  const runtime = session.vf.existingRuntime;
  if (runtime === undefined || !runtime.ctbEnabled) return false;
  const isUsed = runtime.contexts.size > 0 || runtime.optIns.size > 0;
  const isQuiet = session.now() - runtime.startSignAt >= START_QUIET_MS;
  return isUsed && isQuiet && !isLeaving(session);
}

/** A context for compression metadata always has the same few commands in its ring until then. */
function isLeaving({ vf, host }: VfSession): boolean {
  for (const { flags, lrcs } of vf.runtime.contexts.values()) {
    const [lrc] = lrcs;
    if (lrc === undefined || contextType(flags) === CONTEXT_TYPE.NORMAL) continue;
    const image = LrcImage.read(host.memory, lrc);
    if (image === undefined || image.head === image.tail) return true;
  }
  return false;
}
