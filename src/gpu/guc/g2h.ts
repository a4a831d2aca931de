/** Messages of a GuC to a VF's driver: in order, and none lost when the buffer is full. */
import { hxgAction, hxgEvent } from '../../xe/guc/hxg.ts';
import { G2H_ACTION } from '../../xe/guc/vf-actions.ts';
import { transmit } from './ctb-channel.ts';
import type { VfSession } from './vf-session.ts';

/**
 * Sends a G2H message, or keeps it until there is room. The VF is interrupted later, once for all
 * (see {@link VfSession.interruptIfPosted}).
 *
 * @param dwords HXG header first
 * @param fence of the request that it answers, 0 for an event
 */
export function post(session: VfSession, dwords: readonly number[], fence = 0): void {
  const { runtime } = session.vf;
  if (!runtime.ctbEnabled) return;
  if (runtime.unsent.length === 0 && transmit(session, fence, dwords)) session.posted = true;
  else runtime.unsent.push({ fence, dwords });
}

/** Sends an event. */
export function postEvent(session: VfSession, action: number, ...payload: number[]): void {
  session.host.counters.gucMessage('G2H', action);
  post(session, [hxgEvent(action), ...payload]);
}

/** Sends what had found no room, as far as there is room now. */
export function flushUnsent(session: VfSession): void {
  const { unsent } = session.vf.runtime;
  for (let first = unsent[0]; first !== undefined; first = unsent[0]) {
    if (!transmit(session, first.fence, first.dwords)) return;
    unsent.shift();
    session.posted = true;
  }
}

/** What a driver that recovers from a migration still has to learn. */
const OUTLIVES_MIGRATION: ReadonlySet<number> = new Set([
  G2H_ACTION.CONTEXT_RESET_NOTIFICATION,
  G2H_ACTION.NOTIFY_MEMORY_CAT_ERROR,
]);

/**
 * Drops answers to what the driver has given up: in its recovery from a migration it takes every
 * open request for lost and asks again, and an answer that comes all the same is an error to it.
 *
 * Source: drivers/gpu/drm/xe/xe_guc_submit.c:guc_exec_queue_revert_pending_state_change.
 */
export function dropOutdated(session: VfSession): void {
  const { unsent } = session.vf.runtime;
  const kept = unsent.filter(
    ({ fence, dwords }) => fence === 0 && OUTLIVES_MIGRATION.has(hxgAction(dwords[0] as number)),
  );
  unsent.splice(0, unsent.length, ...kept);
}
