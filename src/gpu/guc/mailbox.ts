/**
 * The mailbox: four registers in which a VF's driver and its GuC exchange one message at a time.
 *
 * Source: drivers/gpu/drm/xe/abi/guc_communication_mmio_abi.h, xe_guc.c:xe_guc_mmio_send_recv.
 */
import {
  GUC_RESPONSE,
  HXG_TYPE,
  hxgAction,
  hxgFailure,
  hxgFromGuc,
  hxgSuccess,
  hxgType,
} from '../../xe/guc/hxg.ts';
import { GucError } from './guc-error.ts';
import { MAILBOX_HANDLERS } from './mailbox-handlers.ts';
import type { VfSession } from './vf-session.ts';

/** True when the registers hold a request that waits for an answer. */
export function mailboxHasRequest(flags: Uint32Array): boolean {
  const header = flags[0] as number;
  return !hxgFromGuc(header) && hxgAction(header) !== 0;
}

/** Processes the request in the registers and leaves the answer there. */
export function answerMailbox(session: VfSession, flags: Uint32Array): void {
  const header = flags[0] as number;
  session.host.counters.gucMessage('mailbox', hxgAction(header));
  try {
    const handler = MAILBOX_HANDLERS.get(hxgAction(header));
    if (handler === undefined)
      throw new GucError(GUC_RESPONSE.UNKNOWN_ACTION, `action 0x${hxgAction(header).toString(16)}`);
    if (hxgType(header) !== HXG_TYPE.REQUEST)
      throw new GucError(GUC_RESPONSE.ERROR_PROTOCOL, 'the mailbox takes requests only');
    const { value, data } = handler(session, flags);
    for (let n = 1; n < flags.length; n++) flags[n] = data?.[n - 1] ?? 0;
    flags[0] = hxgSuccess(value);
  } catch (error) {
    if (!(error instanceof GucError)) throw error;
    flags.fill(0);
    flags[0] = hxgFailure(error.response);
  }
}
