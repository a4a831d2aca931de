/** Serves what a VF's driver has waiting: the mailbox, then the H2G buffer. */
import {
  GUC_RESPONSE,
  HXG_TYPE,
  hxgAction,
  hxgFailure,
  hxgSuccess,
  hxgType,
} from '../../xe/guc/hxg.ts';
import { receive } from './ctb-channel.ts';
import { flushUnsent, post } from './g2h.ts';
import { GucError } from './guc-error.ts';
import { H2G_HANDLERS } from './h2g-handlers.ts';
import { answerMailbox, mailboxHasRequest } from './mailbox.ts';
import type { VfSession } from './vf-session.ts';

/**
 * Looks at what a VF rang for. While the VF is paused nothing is looked at and the ring is
 * remembered; until it has recovered from a migration only the mailbox is.
 *
 * @param flags the mailbox registers
 */
export function serveVf(session: VfSession, flags: Uint32Array): void {
  const { vf } = session;
  if (vf.execution === 'stopped' || vf.execution === 'reset') return;
  if (vf.execution === 'paused') {
    vf.runtime.notified = true;
    return;
  }
  vf.runtime.notified = false;
  if (mailboxHasRequest(flags)) answerMailbox(session, flags);
  if (!vf.fixup.blocked) serveCtb(session);
}

/** Serves what waits for room in G2H, as far as there is room now. */
export function serveStalled(session: VfSession): void {
  const { execution, fixup } = session.vf;
  if (execution === 'running' && !fixup.blocked) serveCtb(session);
}

/** True when a VF has messages that wait for room in G2H. */
export function isStalled({ vf, stalled }: VfSession): boolean {
  return stalled || (vf.existingRuntime?.unsent.length ?? 0) > 0;
}

function serveCtb(session: VfSession): void {
  session.stalled = false;
  if (!session.vf.runtime.ctbEnabled) return;
  flushUnsent(session);
  for (let message = receive(session); message !== undefined; message = receive(session)) {
    const { fence, hxg } = message;
    const type = hxgType(hxg[0] as number);
    session.host.counters.gucMessage('H2G', hxgAction(hxg[0] as number));
    // A handler that sends G2H reuses the buffer the message lies in.
    const answer = handle(session, hxg.slice());
    const failed = hxgType(answer) === HXG_TYPE.RESPONSE_FAILURE;
    if (type === HXG_TYPE.REQUEST || (type === HXG_TYPE.FAST_REQUEST && failed))
      post(session, [answer], fence);
  }
  session.interruptIfPosted();
}

function handle(session: VfSession, hxg: Uint32Array): number {
  const action = hxgAction(hxg[0] as number);
  try {
    const handler = H2G_HANDLERS.get(action);
    if (handler === undefined)
      throw new GucError(GUC_RESPONSE.UNKNOWN_ACTION, `action 0x${action.toString(16)}`);
    return hxgSuccess(handler(session, hxg));
  } catch (error) {
    if (!(error instanceof GucError)) throw error;
    return hxgFailure(error.response);
  }
}
