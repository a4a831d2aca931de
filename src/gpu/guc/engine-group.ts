/**
 * Engines that serve one VF at a time: all of a GT, or those of a scheduling group.
 *
 * VFs take turns. A VF's turn ends when it has no work left or when the execution quantum that the
 * PF gave it is over and another one waits. One without a quantum is not held to one: it gives way
 * every {@link UNLIMITED_SLICE_MS}, so that no VF starves.
 *
 * Source: abi/guc_klvs_abi.h (EXEC_QUANTUM, SCHED_PRIORITY, ENGINE_GROUP_CONFIG).
 */
import { SCHED_PRIORITY, VF_CFG_KLV } from '../../xe/guc/pf-actions.ts';
import type { EngineSlot } from './gang.ts';
import type { VfQueue } from './vf-queue.ts';

/** How long a VF without a quantum keeps the engines while others wait, ms. */
const UNLIMITED_SLICE_MS = 5;

/** One group. */
export interface EngineGroup {
  /** Index in ENGINE_GROUP_CONFIG. */
  readonly index: number;
  readonly slots: readonly EngineSlot[];
  active: VfQueue | undefined;
  /** When the active VF's turn began, ms. */
  since: number;
  /** The active VF's turn is over; its contexts are leaving. */
  closing: boolean;
  /** VFID of the last VF that had a turn without being urgent. */
  last: number;
}

/** A group in which nobody had a turn yet. */
export function engineGroup(index: number, slots: readonly EngineSlot[]): EngineGroup {
  return { index, slots, active: undefined, since: 0, closing: false, last: 0 };
}

/** Milliseconds of a VF's turn in a group; 0 when the PF gave it no quantum. */
function execQuantumMs({ session: { vf } }: VfQueue, group: number): number {
  const ofGroup = vf.config.get(VF_CFG_KLV.ENGINE_GROUP_EXEC_QUANTUM.key)?.[group];
  return ofGroup ?? vf.provisioned('EXEC_QUANTUM');
}

/** Milliseconds that a VF's contexts may take to leave at the end of its turn; 0 for no limit. */
export function vfPreemptTimeoutMs({ session: { vf } }: VfQueue, group: number): number {
  const ofGroup = vf.config.get(VF_CFG_KLV.ENGINE_GROUP_PREEMPT_TIMEOUT.key)?.[group];
  return (ofGroup ?? vf.provisioned('PREEMPT_TIMEOUT')) / 1000;
}

/** Milliseconds after which the active VF gives way to one that waits. */
export function turnMs(queue: VfQueue, group: number): number {
  return execQuantumMs(queue, group) || UNLIMITED_SLICE_MS;
}

/** True when a VF gets its turn even if it has nothing to do. */
export function keepsIdleTurn(queue: VfQueue, group: number): boolean {
  const { vf } = queue.session;
  return (
    vf.provisioned('SCHED_PRIORITY') === SCHED_PRIORITY.NORMAL && execQuantumMs(queue, group) > 0
  );
}

/** True when a VF with work is next after whoever has the turn now. */
export function isUrgent({ session: { vf } }: VfQueue): boolean {
  return vf.provisioned('SCHED_PRIORITY') === SCHED_PRIORITY.HIGH;
}

/**
 * Who is next after the active VF.
 *
 * @param hasWork whether a VF has work for this group
 * @returns undefined when no other VF wants a turn
 */
export function nextVf(
  group: EngineGroup,
  queues: readonly VfQueue[],
  hasWork: (group: EngineGroup, queue: VfQueue) => boolean,
): VfQueue | undefined {
  const { active } = group;
  let someWork = active !== undefined && hasWork(group, active);
  let urgent: VfQueue | undefined;
  for (const queue of queues) {
    if (queue === active || !queue.open || !hasWork(group, queue)) continue;
    someWork = true;
    if (isUrgent(queue)) urgent = nearer(queue, urgent, active?.vfid ?? 0);
  }
  // An idle VF's turn matters only to one that has to wait for it.
  if (urgent !== undefined || !someWork) return urgent;
  let next: VfQueue | undefined;
  for (const queue of queues) {
    if (queue === active || !queue.open) continue;
    if (hasWork(group, queue) || keepsIdleTurn(queue, group.index))
      next = nearer(queue, next, group.last);
  }
  return next;
}

/** The one of two that comes first behind `vfid`, going round. */
function nearer(queue: VfQueue, other: VfQueue | undefined, vfid: number): VfQueue {
  if (other === undefined) return queue;
  const isBehind = queue.vfid > vfid;
  if (isBehind !== other.vfid > vfid) return isBehind ? queue : other;
  return queue.vfid < other.vfid ? queue : other;
}
