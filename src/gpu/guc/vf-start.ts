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
 * When it leaves it gives the contexts for compression metadata up first, and a recovery that comes
 * after that writes to them all the same: the kernel of the guest does not survive it.
 *
 * Source: drivers/gpu/drm/xe/xe_uc.c:vf_uc_load_hw, xe_guc.c:vf_guc_min_load_for_hwconfig,
 * xe_guc_ct.c:__guc_ct_send_locked (ECANCELED while a recovery is pending),
 * xe_gt.c:xe_gt_record_default_lrcs, xe_sriov_vf_ccs.c:xe_sriov_vf_ccs_fini and xe_sriov_vf_ccs_rebase.
 */
import { CONTEXT_TYPE, contextType } from '../../xe/guc/vf-actions.ts';
import { LRC_DESC } from '../../xe/lrc.ts';
import type { VfSession } from './vf-session.ts';
import type { GucContext, LrcDescriptor } from './vf-state.ts';

/** Steps of a start follow each other faster than this, ms, also where the processor is emulated. */
export const START_QUIET_MS = 1000;

/** The VF's driver does what belongs to a start. */
export function noteStart({ vf, now }: VfSession): void {
  // In a recovery it says some of it again.
  if (!vf.fixup.blocked) vf.runtime.startSignAt = now();
}

/** The VF's driver has registered a context: those without page tables belong to a start. */
export function noteContext(session: VfSession, lrcs: readonly LrcDescriptor[]): void {
  if (lrcs.some(({ low }) => (low & LRC_DESC.PRIVILEGE) === 0)) noteStart(session);
}

/** The VF's driver disables a context or gives it up. */
export function noteEnd(session: VfSession, { flags, lrcs }: GucContext): void {
  noteContext(session, lrcs);
  if (contextType(flags) !== CONTEXT_TYPE.NORMAL)
    session.vf.runtime.startSignAt = Number.POSITIVE_INFINITY;
}

/** True when the VF's driver has begun to talk to this GuC and has not been reset since. */
export function hasBegun({ vf }: VfSession): boolean {
  return vf.existingRuntime?.handshake !== undefined;
}

/** True when the VF's driver has done all that its start needs of this GuC. */
export function hasStarted({ vf, now }: VfSession): boolean {
  const runtime = vf.existingRuntime;
  if (runtime === undefined || !runtime.ctbEnabled) return false;
  const isUsed = runtime.contexts.size > 0 || runtime.optIns.size > 0;
  return isUsed && now() - runtime.startSignAt >= START_QUIET_MS;
}
