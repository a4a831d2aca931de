/**
 * The relay: messages between a VF's driver and the PF's that a GuC passes on unread.
 *
 * Source: drivers/gpu/drm/xe/abi/guc_actions_sriov_abi.h, xe_guc_relay.c.
 */
import { GUC_RESPONSE, hxgEvent } from '../../xe/guc/hxg.ts';
import {
  GUC2PF_ACTION,
  RELAY_HEADER_DWORDS,
  RELAY_MSG_MAX_DWORDS,
  VF_RELAY_ACTION,
} from '../../xe/guc/pf-actions.ts';
import { transmit } from './ctb-channel.ts';
import { GucError } from './guc-error.ts';
import type { VfSession } from './vf-session.ts';

/** VF2GUC_RELAY_TO_PF: [1] relay id, then the message. */
export function relayToPf({ vf, pf }: VfSession, hxg: Uint32Array): number {
  const relayed = hxg.subarray(1);
  checkLength(relayed.length - 1);
  pf.send([hxgEvent(GUC2PF_ACTION.RELAY_FROM_VF.action), vf.vfid, ...relayed]);
  return 0;
}

/**
 * PF2GUC_RELAY_TO_VF: [1] VFID, [2] relay id, then the message.
 *
 * @param session of the VF that is named
 * @throws {GucError} CANNOT_COMPLETE_ACTION while the VF is paused or has no room or no buffer
 */
export function relayToVf(session: VfSession, message: readonly number[]): number {
  checkLength(message.length - RELAY_HEADER_DWORDS);
  const relayed = [hxgEvent(VF_RELAY_ACTION.GUC2VF_RELAY_FROM_PF), ...message.slice(2)];
  const { execution, fixup } = session.vf;
  const { unsent } = session.vf.runtime;
  const reachable = execution === 'running' && !fixup.blocked && unsent.length === 0;
  if (!reachable || !transmit(session, 0, relayed))
    throw new GucError(GUC_RESPONSE.CANNOT_COMPLETE_ACTION, 'the VF cannot be reached');
  session.host.counters.gucMessage('G2H', VF_RELAY_ACTION.GUC2VF_RELAY_FROM_PF);
  session.posted = true;
  session.interruptIfPosted();
  return 0;
}

function checkLength(dwords: number): void {
  if (dwords < 1 || dwords > RELAY_MSG_MAX_DWORDS)
    throw new GucError(GUC_RESPONSE.INVALID_SIZE, `a relayed message of ${dwords} dwords`);
}
