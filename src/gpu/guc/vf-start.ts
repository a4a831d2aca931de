/**
 * How far a VF's driver has come with a GuC.
 *
 * Stock xe starts each GuC twice: once to ask for the configuration of the hardware, and again (after
 * VF_RESET) to use it, which ends with OPT_IN_FEATURE_KLV. In between it waits for answers, first by the
 * mailbox, without having said where it wants to be interrupted, then through the CTB, where it takes
 * being interrupted for a move as a failure of its start. A GT that is reset is started the second way.
 *
 * Source: drivers/gpu/drm/xe/xe_uc.c:vf_uc_load_hw, xe_guc.c:vf_guc_min_load_for_hwconfig,
 * xe_guc_ct.c:__guc_ct_send_locked (ECANCELED while a recovery is pending).
 */
import { isDrained } from './ctb-channel.ts';
import type { VfSession } from './vf-session.ts';

/** True when the VF's driver has begun to talk to this GuC and has not been reset since. */
export function hasBegun({ vf }: VfSession): boolean {
  return vf.existingRuntime?.handshake !== undefined;
}

/** True when the VF's driver has done all that its start needs of this GuC. */
export function hasStarted(session: VfSession): boolean {
  const runtime = session.vf.existingRuntime;
  if (runtime === undefined || !runtime.ctbEnabled) return false;
  if (runtime.contexts.size > 0) return true;
  // The answer to the last request of the start was read.
  return runtime.optIns.size > 0 && isDrained(session);
}
