/**
 * The scheduler of one GT: puts contexts on engines, lets them run in short turns, takes them off.
 *
 * Between VFs see engine-group.ts. Among the contexts of the VF whose turn it is, the more urgent
 * priority goes first and preempts; contexts of one priority share an engine by time slices. A
 * context that has to leave and does not, within its preemption timeout, loses its engine to a
 * reset.
 *
 * Time that decides about resets is counted in turns that a context had, not by the clock on the
 * wall: a thread that was held up elsewhere must not make a context late.
 *
 * Source: abi/guc_actions_abi.h, abi/guc_klvs_abi.h, xe_guc_submit.c.
 */

import type { Engine } from '../../xe/engines.ts';
import { GUC_CLASS, OPT_IN_KLV, SCHEDULING_POLICY_KLV } from '../../xe/guc/vf-actions.ts';
import type { ContextLoader, GpuMemoryFault, TurnEnd } from '../engine/contracts.ts';
import { contextFailed, contextReset, disableDone, reportPageFault } from './context-events.ts';
import {
  type EngineGroup,
  engineGroup,
  isUrgent,
  keepsIdleTurn,
  nextVf,
  turnMs,
  vfPreemptTimeoutMs,
} from './engine-group.ts';
import {
  type EngineSlot,
  type Gang,
  type GangMember,
  isExpired,
  preemptionTimeoutOf,
  priorityOf,
  quantumOf,
} from './gang.ts';
import { freeGangSlots, gangPlaces, servesContext } from './placement.ts';
import { isRunnable, VfQueue } from './vf-queue.ts';
import type { VfSession } from './vf-session.ts';
import type { GucContext } from './vf-state.ts';
import { drainWorkQueue } from './work-queue.ts';

/** Units of work between two looks at the clock: tens of microseconds. */
const TURN_BUDGET = 64;
/** A member that waits is asked again after this, and after twice as long each time it still does. */
const FIRST_BACKOFF_MS = 0.02;
const LAST_BACKOFF_MS = 1;
/** The longest that a member which waits for its own VF's running contexts is left alone. */
const BUSY_BACKOFF_MS = 0.1;
/** The most that one turn counts towards a timeout, ms. */
const GREATEST_TURN_MS = 1;
/** A context at a semaphore gives way to another one after this, ms. */
const SEMAPHORE_PATIENCE_MS = 0.25;
/** Turns that a context gets to leave, however short its timeout is. */
const LEAVING_TURNS = 3;

const UNKNOWN_FAULT: GpuMemoryFault = { address: 0, access: 'read', level: 0, type: 'not-present' };

/** What a scheduler needs of the device around it. */
export interface SchedulerSurroundings {
  readonly loader: ContextLoader;
  /** Milliseconds, monotonic, with fractions. */
  readonly now: () => number;
  /** There is work: {@link Scheduler.run} wants to be called. */
  readonly wake: () => void;
}

/** The engines of one GT. */
export class Scheduler {
  readonly #around: SchedulerSurroundings;
  readonly #slots: readonly EngineSlot[];
  readonly #queues = new Map<number, VfQueue>();
  #sorted: readonly VfQueue[] = [];
  #groups: readonly EngineGroup[];
  #first = 0;

  constructor(engines: readonly Engine[], around: SchedulerSurroundings) {
    this.#around = around;
    this.#slots = engines.map((engine) => ({
      engine,
      member: undefined,
      pollAt: 0,
      backoff: FIRST_BACKOFF_MS,
    }));
    this.#groups = [engineGroup(0, this.#slots)];
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
    for (const slot of this.#slots) if (slot.member !== undefined) this.#evict(slot.member.gang);
    const groupOf = (mask: readonly number[], index: number) =>
      engineGroup(
        index,
        this.#slots.filter(
          ({ engine }) => ((mask[engine.engineClass] ?? 0) >>> engine.logicalInstance) & 1,
        ),
      );
    this.#groups = masks.length === 0 ? [engineGroup(0, this.#slots)] : masks.map(groupOf);
    this.#around.wake();
  }

  /** SCHED_CONTEXT: a context's rings may hold new work. */
  poke(session: VfSession, context: GucContext): void {
    const { run } = context;
    context.pending = true;
    run.idle = 0;
    const gang = this.#gangOf(context);
    if (gang !== undefined) gang.poked = true;
    if (context.wqDesc !== 0 && context.enabled && !drainWorkQueue(session.host.memory, context)) {
      if (gang !== undefined) this.#drop(gang);
      contextReset(session, context);
      return;
    }
    const queue = this.#queue(session);
    if (gang === undefined && isRunnable(context)) {
      queue.add(context);
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
    const gang = this.#gangOf(context);
    if (gang === undefined) disableDone(session, context);
    else this.#askToLeave(gang, preemptionTimeoutOf(context));
  }

  /** DEREGISTER_CONTEXT: a context is no more. */
  forget(session: VfSession, context: GucContext): void {
    this.#queue(session).remove(context);
    const gang = this.#gangOf(context);
    if (gang !== undefined) this.#drop(gang);
  }

  /** The driver answered a page fault. */
  faultAnswered(session: VfSession, id: number, repaired: boolean): void {
    for (const context of session.vf.runtime.contexts.values()) {
      const { faults } = context.run;
      const at = faults.findIndex((fault) => fault.id === id);
      if (at < 0) continue;
      faults.splice(at, 1);
      if (repaired) this.#requeue(session, context);
      else this.#fail(session, context);
      return;
    }
  }

  /** Takes a VF's contexts off their engines at once, wherever they are, and keeps where that was. */
  pause(vfid: number): void {
    for (const gang of this.#gangsOf(vfid)) this.#evict(gang);
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
    for (const gang of this.#gangsOf(vfid)) this.#drop(gang);
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
    let now = this.#around.now();
    let progress = true;
    while (progress && now < deadline) {
      for (const group of this.#groups) this.#schedule(group, now);
      progress = false;
      const count = this.#slots.length;
      for (let n = 0; n < count && now < deadline; n++) {
        const slot = this.#slots[(this.#first + n) % count] as EngineSlot;
        const { member } = slot;
        if (member === undefined || slot.pollAt > now || this.#yields(member, now)) continue;
        now = this.#step(slot, member, now);
        progress = true;
      }
      this.#first = (this.#first + 1) % count;
    }
    for (const group of this.#groups) this.#schedule(group, now);
    for (const { session } of this.#sorted) {
      session.interruptIfPosted();
      told(session);
    }
    return this.#nextTime(now);
  }

  #nextTime(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { member, pollAt } of this.#slots)
      if (member !== undefined) next = Math.min(next, Math.max(pollAt - now, 0));
    if (next < Number.POSITIVE_INFINITY) return next;
    // Nothing is on: work can only be waiting for an idle VF's turn to end.
    for (const group of this.#groups) {
      const { active } = group;
      if (active === undefined || !this.#sorted.some(({ open, ready }) => open && ready.size > 0))
        continue;
      next = Math.min(next, Math.max(group.since + turnMs(active, group.index) - now, 0));
    }
    return next;
  }

  #queue(session: VfSession): VfQueue {
    let queue = this.#queues.get(session.vf.vfid);
    if (queue === undefined) {
      queue = new VfQueue(session, (context) =>
        this.#slots.some(({ engine }) => servesContext(engine, context)),
      );
      this.#queues.set(session.vf.vfid, queue);
      this.#sorted = [...this.#queues.values()];
    }
    return queue;
  }

  #gangOf(context: GucContext): Gang | undefined {
    for (const { member } of this.#slots) if (member?.gang.context === context) return member.gang;
    return undefined;
  }

  #gangsOf(vfid: number): ReadonlySet<Gang> {
    const gangs = new Set<Gang>();
    for (const { member } of this.#slots)
      if (member?.gang.session.vf.vfid === vfid) gangs.add(member.gang);
    return gangs;
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
    const { active } = group;
    if (active === undefined || this.#sorted.length > 1) this.#takeTurns(group, now);
    if (group.active === undefined || group.closing || group.active.ready.size === 0) return;
    for (const context of group.active.byPriority()) this.#place(group, group.active, context);
  }

  #takeTurns(group: EngineGroup, now: number): void {
    const { active } = group;
    const works = (queue: VfQueue) => this.#hasWork(group, queue);
    const activeWorks = active !== undefined && works(active);
    const isOver =
      active === undefined || now - group.since >= turnMs(active, group.index) || group.closing;
    if (active !== undefined && !isOver) {
      if (activeWorks || keepsIdleTurn(active, group.index)) return;
    }
    const next = nextVf(group, this.#sorted, works);
    if (next === undefined) {
      if (isOver) group.since = now;
      group.closing = false;
      return;
    }
    const gangs = active === undefined ? undefined : this.#gangsIn(group, active);
    if (active !== undefined && gangs !== undefined && gangs.size > 0) {
      if (group.closing) return;
      group.closing = true;
      const timeout = vfPreemptTimeoutMs(active, group.index);
      for (const gang of gangs)
        this.#askToLeave(gang, timeout > 0 ? timeout : preemptionTimeoutOf(gang.context));
      if (this.#gangsIn(group, active).size > 0) return;
    }
    group.active = next;
    group.since = now;
    group.closing = false;
    if (!isUrgent(next)) group.last = next.vfid;
  }

  #gangsIn(group: EngineGroup, { vfid }: VfQueue): ReadonlySet<Gang> {
    const gangs = new Set<Gang>();
    for (const { member } of group.slots)
      if (member?.gang.session.vf.vfid === vfid) gangs.add(member.gang);
    return gangs;
  }

  #hasWork(group: EngineGroup, queue: VfQueue): boolean {
    if (!queue.open) return false;
    for (const { member } of group.slots)
      if (member !== undefined && member.gang.session.vf.vfid === queue.vfid) return true;
    for (const context of queue.ready)
      if (group.slots.some(({ engine }) => servesContext(engine, context))) return true;
    return false;
  }

  /** Puts a context on if engines are free, else makes one free that a less entitled one has. */
  #place(group: EngineGroup, queue: VfQueue, context: GucContext): void {
    const slots = freeGangSlots(group.slots, context);
    if (slots !== undefined) {
      queue.remove(context);
      this.#putOn(queue.session, context, slots);
      return;
    }
    const mine = priorityOf(context);
    for (const place of gangPlaces(group.slots, context)) {
      const gangs = new Set(place.flatMap(({ member }) => (member ? [member.gang] : [])));
      const givesWay = (gang: Gang) =>
        gang.leave !== undefined || mine < priorityOf(gang.context) || this.#mayLose(gang, mine);
      if (![...gangs].every(givesWay)) continue;
      for (const gang of gangs)
        if (gang.leave === undefined) this.#askToLeave(gang, preemptionTimeoutOf(gang.context));
      if (place.some(({ member }) => member !== undefined)) return;
      queue.remove(context);
      this.#putOn(queue.session, context, place);
      return;
    }
  }

  /** True when a context has to share its engine with one of priority `mine`. */
  #mayLose(gang: Gang, mine: number): boolean {
    if (mine > priorityOf(gang.context)) return false;
    if (isExpired(gang)) return true;
    const { optIns } = gang.session.vf.runtime;
    return (
      optIns.has(OPT_IN_KLV.DYNAMIC_INHIBIT_CONTEXT_SWITCH) &&
      gang.members.every(({ waiting, waited }) => waiting && waited >= SEMAPHORE_PATIENCE_MS)
    );
  }

  #putOn(session: VfSession, context: GucContext, slots: readonly EngineSlot[]): void {
    const left = context.run.quantumLeft;
    const gang: Gang = {
      session,
      context,
      members: [],
      used: left > 0 ? Math.max(quantumOf(context) - left, 0) / 1000 : 0,
      leave: undefined,
      poked: false,
    };
    const now = this.#around.now();
    for (const [lrc, slot] of slots.entries()) {
      const execution = this.#load(session, context, lrc, slot);
      if (execution === undefined) {
        this.#drop(gang);
        this.#fail(session, context);
        return;
      }
      const member: GangMember = {
        gang,
        lrc,
        slot,
        execution,
        waiting: false,
        waited: 0,
        hung: false,
        lastTurn: now,
      };
      slot.member = member;
      slot.pollAt = 0;
      slot.backoff = FIRST_BACKOFF_MS;
      gang.members.push(member);
    }
  }

  #load(session: VfSession, context: GucContext, lrc: number, { engine }: EngineSlot) {
    const descriptor = context.lrcs[lrc];
    if (descriptor === undefined) return undefined;
    const { positions } = context.run;
    const host = session.host.execution(engine);
    return this.#around.loader.load(engine, descriptor, host, positions.get(lrc));
  }

  /** Lets one member run. @returns the time after it */
  #step(slot: EngineSlot, member: GangMember, before: number): number {
    const { gang } = member;
    if (gang.leave !== undefined && canLeave(member)) {
      this.#takeOff(member);
      return before;
    }
    const end = member.execution.turn(TURN_BUDGET);
    const now = this.#around.now();
    member.waited = end === 'waiting' && member.waiting ? member.waited + now - member.lastTurn : 0;
    this.#count(member, now);
    member.waiting = end === 'waiting';
    this.#ended(member, end, now);
    if (slot.member !== member) return now;
    if (gang.leave !== undefined) this.#leaving(member, gang.leave);
    return now;
  }

  /** Counts the time since a member's last turn to its slice and its timeouts. */
  #count(member: GangMember, now: number): void {
    const { gang } = member;
    const elapsed = Math.min(now - member.lastTurn, GREATEST_TURN_MS);
    member.lastTurn = now;
    if (gang.members[0] !== member) return;
    gang.used += elapsed;
    if (gang.leave === undefined) return;
    gang.leave.waited += elapsed;
    gang.leave.turns++;
  }

  #leaving(member: GangMember, leave: NonNullable<Gang['leave']>): void {
    if (canLeave(member)) this.#takeOff(member);
    else if (leave.turns >= LEAVING_TURNS && leave.waited >= leave.timeout)
      this.#resetEngine(member.gang);
  }

  #ended(member: GangMember, end: TurnEnd, now: number): void {
    const { gang, slot } = member;
    const { session, context } = gang;
    switch (end) {
      case 'more':
        slot.backoff = FIRST_BACKOFF_MS;
        return;
      case 'waiting':
        this.#backOff(slot, now);
        return;
      case 'hang':
        member.hung = true;
        slot.pollAt = now + LAST_BACKOFF_MS;
        return;
      case 'idle':
        context.run.idle |= 1 << member.lrc;
        this.#takeOff(member);
        return;
      case 'watchdog':
        this.#watchdog(member);
        return;
      case 'page-fault': {
        const fault = { ...(member.execution.fault ?? UNKNOWN_FAULT) };
        this.#takeOff(member, () => reportPageFault(session, context, member, fault));
        return;
      }
      case 'cat-error':
        this.#drop(gang);
        this.#fail(session, context);
        return;
    }
  }

  #backOff(slot: EngineSlot, now: number): void {
    slot.pollAt = now + slot.backoff;
    const others = this.#slots.some(
      ({ member }) => member !== undefined && !member.waiting && !member.hung,
    );
    slot.backoff = Math.min(slot.backoff * 2, others ? BUSY_BACKOFF_MS : LAST_BACKOFF_MS);
  }

  /** A watchdog counter ran out: the engine is reset and its context goes on. */
  #watchdog(member: GangMember): void {
    const { gang, slot, lrc } = member;
    const { session, context } = gang;
    session.host.counters.fault('WATCHDOG');
    this.#keepPosition(member);
    const execution = this.#load(session, context, lrc, slot);
    if (execution === undefined) {
      this.#drop(gang);
      this.#fail(session, context);
    } else {
      member.execution = execution;
    }
  }

  /** @param timeout ms; a shorter one that was asked for before stays */
  #askToLeave(gang: Gang, timeout: number): void {
    const { leave } = gang;
    if (leave === undefined) gang.leave = { waited: 0, turns: 0, timeout };
    else if (timeout < leave.timeout) gang.leave = { ...leave, timeout };
    for (const member of [...gang.members]) {
      member.slot.pollAt = 0;
      if (canLeave(member)) this.#takeOff(member);
    }
    this.#around.wake();
  }

  #keepPosition({ gang, lrc, execution }: GangMember): void {
    const { positions } = gang.context.run;
    const position = execution.save();
    if (position.dwords.length > 0) positions.set(lrc, position);
    else positions.delete(lrc);
  }

  /** Takes a member off; after the last one the context is where `then` puts it, or waits again. */
  #takeOff(member: GangMember, then?: () => void): void {
    const { gang, slot } = member;
    this.#keepPosition(member);
    slot.member = undefined;
    gang.members.splice(gang.members.indexOf(member), 1);
    then?.();
    if (gang.members.length === 0) this.#left(gang);
  }

  /** All of a context is off its engines. */
  #left(gang: Gang): void {
    const { session, context } = gang;
    const { run, lrcs } = context;
    const quantum = quantumOf(context);
    run.quantumLeft = Math.max(Math.ceil(quantum - gang.used * 1000), 0);
    const allIdle = run.idle === 2 ** lrcs.length - 1;
    if (gang.poked) run.idle = 0;
    else if (allIdle) context.pending = false;
    if (run.disabling) disableDone(session, context);
    else this.#requeue(session, context);
  }

  #requeue(session: VfSession, context: GucContext): void {
    if (this.#gangOf(context) !== undefined) return;
    this.#queue(session).add(context);
    this.#around.wake();
  }

  /** Takes a gang off wherever it is, keeping the position: the VF is paused, or moved. */
  #evict(gang: Gang): void {
    for (const member of [...gang.members]) this.#takeOff(member);
  }

  /** Takes a gang off and keeps nothing. */
  #drop(gang: Gang): void {
    for (const { slot } of gang.members) slot.member = undefined;
    gang.members.length = 0;
    gang.context.run.positions.clear();
  }

  /** A context would not leave: its engines are reset. */
  #resetEngine(gang: Gang): void {
    this.#drop(gang);
    contextReset(gang.session, gang.context);
  }

  /** A context did what nobody repairs. */
  #fail(session: VfSession, context: GucContext): void {
    const gang = this.#gangOf(context);
    if (gang !== undefined) this.#drop(gang);
    contextFailed(session, context);
  }

  /**
   * Render and compute engines do not run different address spaces at the same time: while both
   * are busy, compute has the part of each period that the VF's driver asked for.
   */
  #yields(member: GangMember, now: number): boolean {
    const { engineClass } = member.slot.engine;
    if (engineClass !== GUC_CLASS.RENDER && engineClass !== GUC_CLASS.COMPUTE) return false;
    const { schedulingPolicies } = member.gang.session.vf.runtime;
    const policy = schedulingPolicies.get(SCHEDULING_POLICY_KLV.RENDER_COMPUTE_YIELD);
    const [duration = 0, percent = 0] = policy ?? [];
    if (duration === 0) return false;
    const other = engineClass === GUC_CLASS.RENDER ? GUC_CLASS.COMPUTE : GUC_CLASS.RENDER;
    const contested = this.#slots.some(
      (slot) =>
        slot.engine.engineClass === other &&
        slot.member !== undefined &&
        !slot.member.waiting &&
        !slot.member.hung,
    );
    if (!contested) return false;
    const computeGoesFirst = now % duration < (duration * percent) / 100;
    return computeGoesFirst !== (engineClass === GUC_CLASS.COMPUTE);
  }
}

function canLeave({ execution, hung }: GangMember): boolean {
  return execution.preemptible && !hung;
}
