/**
 * The scheduler of one GT: decides which contexts are on its engines.
 *
 * Between VFs see engine-group.ts. Among the contexts of the VF whose turn it is, the more urgent
 * priority goes first and preempts; contexts of one priority share an engine by time slices. A
 * context that has to leave and does not, within its preemption timeout, loses its engine to a
 * reset.
 *
 * Source: abi/guc_actions_abi.h, abi/guc_klvs_abi.h, xe_guc_submit.c.
 */
import type { Engine } from '../../xe/engines.ts';
import { OPT_IN_KLV } from '../../xe/guc/vf-actions.ts';
import { contextReset, disableDone } from './context-events.ts';
import {
  type EngineGroup,
  engineGroup,
  isUrgent,
  keepsIdleTurn,
  nextVf,
  turnMs,
  vfPreemptTimeoutMs,
} from './engine-group.ts';
import { type Gang, isExpired, preemptionTimeoutOf, priorityOf } from './gang.ts';
import { type EnginesSurroundings, GtEngines } from './gt-engines.ts';
import { freeGangSlots, gangPlaces, servesContext } from './placement.ts';
import { isRunnable, VfQueue } from './vf-queue.ts';
import type { VfSession } from './vf-session.ts';
import type { GucContext } from './vf-state.ts';
import { drainWorkQueue } from './work-queue.ts';

/** A context at a semaphore gives way to another one after this, ms. */
const SEMAPHORE_PATIENCE_MS = 0.25;

/** What a scheduler needs of the device around it. */
export type SchedulerSurroundings = EnginesSurroundings;

/** The scheduler of one GT. */
export class Scheduler {
  readonly #around: SchedulerSurroundings;
  readonly #engines: GtEngines;
  readonly #queues = new Map<number, VfQueue>();
  #sorted: readonly VfQueue[] = [];
  #groups: readonly EngineGroup[];

  constructor(engines: readonly Engine[], around: SchedulerSurroundings) {
    this.#around = around;
    this.#engines = new GtEngines(engines, around, (session, context) =>
      this.#requeue(session, context),
    );
    this.#groups = [engineGroup(0, this.#engines.slots)];
  }

  /** True while the engines are divided among scheduling groups. */
  get isGrouped(): boolean {
    return this.#groups.length > 1;
  }

  /**
   * Divides the engines among scheduling groups, each of which serves a VF of its own.
   * @param masks of logical instances by GUC_CLASS, one array a group; none puts all together
   */
  regroup(masks: ReadonlyArray<readonly number[]>): void {
    const { slots } = this.#engines;
    for (const { member } of slots) if (member !== undefined) this.#engines.evict(member.gang);
    const groupOf = (mask: readonly number[], index: number) =>
      engineGroup(
        index,
        slots.filter(
          ({ engine }) => ((mask[engine.engineClass] ?? 0) >>> engine.logicalInstance) & 1,
        ),
      );
    this.#groups = masks.length === 0 ? [engineGroup(0, slots)] : masks.map(groupOf);
    this.#around.wake();
  }

  /** SCHED_CONTEXT: a context's rings may hold new work. */
  poke(session: VfSession, context: GucContext): void {
    const { run } = context;
    context.pending = true;
    run.idle = 0;
    const gang = this.#engines.gangOf(context);
    if (gang !== undefined) gang.poked = true;
    if (context.wqDesc !== 0 && context.enabled && !drainWorkQueue(session.host.memory, context)) {
      this.forget(session, context);
      contextReset(session, context);
    } else if (gang === undefined && isRunnable(context)) {
      this.#queue(session).add(context);
      this.#around.wake();
    }
  }

  /** SCHED_CONTEXT_MODE_SET: a context may run from now on. */
  enable(session: VfSession, context: GucContext): void {
    context.enabled = true;
    context.run.blocked = false;
    this.poke(session, context);
  }

  /** SCHED_CONTEXT_MODE_SET: a context has to stop; the driver is told when it has. */
  disable(session: VfSession, context: GucContext): void {
    context.enabled = false;
    context.run.disabling = true;
    this.#queue(session).remove(context);
    const gang = this.#engines.gangOf(context);
    if (gang === undefined) disableDone(session, context);
    else this.#engines.askToLeave(gang, preemptionTimeoutOf(context));
  }

  /** DEREGISTER_CONTEXT: a context is no more. */
  forget(session: VfSession, context: GucContext): void {
    this.#queue(session).remove(context);
    const gang = this.#engines.gangOf(context);
    if (gang !== undefined) this.#engines.drop(gang);
  }

  /** The driver answered a page fault. */
  faultAnswered(session: VfSession, id: number, repaired: boolean): void {
    for (const context of session.vf.runtime.contexts.values()) {
      const { faults } = context.run;
      const at = faults.findIndex((fault) => fault.id === id);
      if (at < 0) continue;
      faults.splice(at, 1);
      if (repaired) this.#requeue(session, context);
      else this.#engines.fail(session, context);
      return;
    }
  }

  /** Takes a VF's contexts off their engines at once, wherever they are, and keeps where that was. */
  pause(vfid: number): void {
    for (const gang of this.#engines.gangsOf(vfid)) this.#engines.evict(gang);
    // Once it stands still nothing of it may change any more.
    this.#queues.get(vfid)?.session.interruptIfPosted();
    this.#endTurns(vfid);
  }

  /** Lets the contexts of a VF that was paused, or restored and has recovered, run. */
  resume(session: VfSession): void {
    const queue = this.#queue(session);
    queue.clear();
    for (const context of session.vf.runtime.contexts.values()) queue.add(context);
    this.#around.wake();
  }

  /** Forgets what a VF has on engines and in queues. */
  reset(vfid: number): void {
    for (const gang of this.#engines.gangsOf(vfid)) this.#engines.drop(gang);
    this.#endTurns(vfid);
    this.#queues.delete(vfid);
    this.#sorted = [...this.#queues.values()];
  }

  /**
   * Runs contexts until `deadline` or until nothing is left to do now.
   *
   * @param told called for each VF whose driver may have been told something
   * @returns milliseconds after which it wants to go on; Infinity until the next wake
   */
  run(deadline: number, told: (session: VfSession) => void): number {
    const { now } = this.#around;
    let time = now();
    for (let progress = true; progress && time < deadline; time = now()) {
      for (const group of this.#groups) this.#schedule(group, time);
      progress = this.#engines.round(deadline);
    }
    for (const group of this.#groups) this.#schedule(group, time);
    for (const { session } of this.#sorted) {
      session.interruptIfPosted();
      told(session);
    }
    const due = this.#engines.untilDue(time);
    return due < Number.POSITIVE_INFINITY ? due : this.#untilTurnEnds(time);
  }

  /** While nothing is on, work can only be waiting for the end of an idle VF's turn. */
  #untilTurnEnds(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    if (!this.#sorted.some(({ open, ready }) => open && ready.size > 0)) return next;
    for (const { active, since, index } of this.#groups) {
      const elapsed = now - since;
      const turn = active === undefined ? 0 : turnMs(active, index);
      if (elapsed < turn) next = Math.min(next, turn - elapsed);
    }
    return next;
  }

  #queue(session: VfSession): VfQueue {
    let queue = this.#queues.get(session.vf.vfid);
    if (queue === undefined) {
      const { slots } = this.#engines;
      queue = new VfQueue(session, (context) =>
        slots.some(({ engine }) => servesContext(engine, context)),
      );
      this.#queues.set(session.vf.vfid, queue);
      this.#sorted = [...this.#queues.values()];
    }
    return queue;
  }

  #requeue(session: VfSession, context: GucContext): void {
    if (this.#engines.gangOf(context) !== undefined) return;
    this.#queue(session).add(context);
    this.#around.wake();
  }

  #endTurns(vfid: number): void {
    for (const group of this.#groups) {
      if (group.active?.vfid !== vfid) continue;
      group.active = undefined;
      group.closing = false;
    }
    this.#around.wake();
  }

  /** Decides whose turn it is, and puts contexts on. */
  #schedule(group: EngineGroup, now: number): void {
    // Alone a VF has all of the time.
    if (group.active === undefined || this.#sorted.length > 1) this.#takeTurns(group, now);
    const { active } = group;
    if (active === undefined || group.closing || active.ready.size === 0) return;
    for (const context of active.byPriority()) this.#place(group, active, context);
  }

  #takeTurns(group: EngineGroup, now: number): void {
    const { active } = group;
    const isOver =
      active === undefined || group.closing || now - group.since >= turnMs(active, group.index);
    if (!isOver && (this.#hasWork(group, active) || keepsIdleTurn(active, group.index))) return;
    const next = nextVf(group, this.#sorted, this.#hasWork);
    if (next === undefined) {
      if (isOver) group.since = now;
      group.closing = false;
      return;
    }
    if (active !== undefined && !this.#close(group, active)) return;
    group.active = next;
    group.since = now;
    group.closing = false;
    if (!isUrgent(next)) group.last = next.vfid;
  }

  /** Ends the active VF's turn. @returns false while contexts of it are still on engines */
  #close(group: EngineGroup, active: VfQueue): boolean {
    const running = () => this.#engines.gangsOf(active.vfid, group.slots);
    if (!group.closing) {
      group.closing = true;
      const timeout = vfPreemptTimeoutMs(active, group.index);
      for (const gang of running())
        this.#engines.askToLeave(gang, timeout || preemptionTimeoutOf(gang.context));
    }
    return running().size === 0;
  }

  readonly #hasWork = (group: EngineGroup, queue: VfQueue): boolean => {
    if (!queue.open) return false;
    for (const { member } of group.slots)
      if (member !== undefined && member.gang.session.vf.vfid === queue.vfid) return true;
    if (queue.ready.size === 0) return false;
    for (const context of queue.ready)
      if (group.slots.some(({ engine }) => servesContext(engine, context))) return true;
    return false;
  };

  /** Puts a context on if engines are free, else makes free what less entitled ones have. */
  #place(group: EngineGroup, queue: VfQueue, context: GucContext): void {
    const free = freeGangSlots(group.slots, context);
    if (free !== undefined) {
      queue.remove(context);
      this.#engines.putOn(queue.session, context, free);
      return;
    }
    const mine = priorityOf(context);
    for (const place of gangPlaces(group.slots, context)) {
      const gangs = new Set(place.flatMap(({ member }) => (member ? [member.gang] : [])));
      if (![...gangs].every((gang) => givesWay(gang, mine))) continue;
      for (const gang of gangs)
        if (gang.leave === undefined)
          this.#engines.askToLeave(gang, preemptionTimeoutOf(gang.context));
      if (place.some(({ member }) => member !== undefined)) return;
      queue.remove(context);
      this.#engines.putOn(queue.session, context, place);
      return;
    }
  }
}

/** True when a context has to leave its engines for one of priority `mine`. */
function givesWay(gang: Gang, mine: number): boolean {
  if (gang.leave !== undefined) return true;
  const its = priorityOf(gang.context);
  if (mine !== its) return mine < its;
  if (isExpired(gang)) return true;
  const { optIns } = gang.session.vf.runtime;
  return (
    optIns.has(OPT_IN_KLV.DYNAMIC_INHIBIT_CONTEXT_SWITCH) &&
    gang.members.every(({ waiting, waited }) => waiting && waited >= SEMAPHORE_PATIENCE_MS)
  );
}
