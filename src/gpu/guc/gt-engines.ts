/**
 * The engines of one GT and the contexts that are on them: putting on, running in short turns,
 * taking off.
 *
 * Time that decides about resets is counted in turns that a context had, not by the clock on the
 * wall: a thread that was held up elsewhere must not make a context late.
 */
import type { Engine } from '../../xe/engines.ts';
import { GUC_CLASS, SCHEDULING_POLICY_KLV } from '../../xe/guc/vf-actions.ts';
import type {
  ContextExecution,
  ContextLoader,
  GpuMemoryFault,
  TurnEnd,
} from '../engine/contracts.ts';
import { contextFailed, contextReset, disableDone, reportPageFault } from './context-events.ts';
import { type EngineSlot, type Gang, type GangMember, type Leave, quantumOf } from './gang.ts';
import type { VfSession } from './vf-session.ts';
import type { GucContext } from './vf-state.ts';

/** Units of work between two looks at the clock: tens of microseconds. */
const TURN_BUDGET = 64;
/** A member that waits is asked again after this, and after twice as long each time it still does. */
const FIRST_BACKOFF_MS = 0.02;
const LAST_BACKOFF_MS = 1;
/** The longest that a member which waits is left alone while others run: it may wait for them. */
const BUSY_BACKOFF_MS = 0.1;
/** The most that one turn counts towards a timeout, ms. */
const GREATEST_TURN_MS = 1;
/** Turns that a context gets to leave, however short its timeout is. */
const LEAVING_TURNS = 3;

const UNKNOWN_FAULT: GpuMemoryFault = { address: 0, access: 'read', level: 0, type: 'not-present' };

/** What engines need of the device around them. */
export interface EnginesSurroundings {
  readonly loader: ContextLoader;
  /** Milliseconds, monotonic, with fractions. */
  readonly now: () => number;
  /** There is work for a {@link GtEngines.round}. */
  readonly wake: () => void;
}

/** The engines of one GT. */
export class GtEngines {
  readonly slots: readonly EngineSlot[];
  readonly #around: EnginesSurroundings;
  readonly #requeue: (session: VfSession, context: GucContext) => void;
  #first = 0;

  /** @param requeue called with each context that left all of its engines and may want them again */
  constructor(
    engines: readonly Engine[],
    around: EnginesSurroundings,
    requeue: (session: VfSession, context: GucContext) => void,
  ) {
    this.#around = around;
    this.#requeue = requeue;
    this.slots = engines.map((engine) => ({
      engine,
      member: undefined,
      pollAt: 0,
      backoff: FIRST_BACKOFF_MS,
    }));
  }

  /** A context as it runs; undefined while it is on no engine. */
  gangOf(context: GucContext): Gang | undefined {
    for (const { member } of this.slots) if (member?.gang.context === context) return member.gang;
    return undefined;
  }

  /** What of a VF runs on some of the engines. */
  gangsOf(vfid: number, slots: readonly EngineSlot[] = this.slots): ReadonlySet<Gang> {
    const gangs = new Set<Gang>();
    for (const { member } of slots)
      if (member?.gang.session.vf.vfid === vfid) gangs.add(member.gang);
    return gangs;
  }

  /**
   * Lets each engine that has something to do now run once.
   * @returns false when none had
   */
  round(deadline: number): boolean {
    const count = this.slots.length;
    let now = this.#around.now();
    let progress = false;
    for (let n = 0; n < count && now < deadline; n++) {
      const slot = this.slots[(this.#first + n) % count] as EngineSlot;
      const { member } = slot;
      if (member === undefined || slot.pollAt > now || this.#yields(member, now)) continue;
      now = this.#step(slot, member, now);
      progress = true;
    }
    this.#first = (this.#first + 1) % count;
    return progress;
  }

  /** Milliseconds after which an engine has something to do; Infinity while nothing is on. */
  untilDue(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { member, pollAt } of this.slots)
      if (member !== undefined) next = Math.min(next, Math.max(pollAt - now, 0));
    return next;
  }

  /** Puts a context on, one engine an LRC. One that cannot be loaded has failed. */
  putOn(session: VfSession, context: GucContext, slots: readonly EngineSlot[]): void {
    const left = context.run.quantumLeft;
    const gang: Gang = {
      session,
      context,
      members: [],
      used: left > 0 ? Math.max(quantumOf(context) - left, 0) / 1000 : 0,
      leave: undefined,
      poked: false,
    };
    const lastTurn = this.#around.now();
    for (const [lrc, slot] of slots.entries()) {
      const execution = this.#load(session, context, lrc, slot);
      if (execution === undefined) {
        this.fail(session, context, gang);
        return;
      }
      const idle = { waiting: false, waited: 0, hung: false };
      const member: GangMember = { gang, lrc, slot, execution, lastTurn, ...idle };
      slot.member = member;
      slot.pollAt = 0;
      slot.backoff = FIRST_BACKOFF_MS;
      gang.members.push(member);
    }
  }

  /**
   * Takes a context off where it allows that; resets its engines when it does not in time.
   * @param timeout ms; a shorter one that was asked for before stays
   */
  askToLeave(gang: Gang, timeout: number): void {
    const { leave } = gang;
    if (leave === undefined) gang.leave = { waited: 0, turns: 0, timeout };
    else if (timeout < leave.timeout) gang.leave = { ...leave, timeout };
    for (const member of [...gang.members]) {
      member.slot.pollAt = 0;
      if (canLeave(member)) this.#takeOff(member);
    }
    this.#around.wake();
  }

  /** Takes a context off at once, wherever it is, and keeps where that was. */
  evict(gang: Gang): void {
    for (const member of [...gang.members]) this.#takeOff(member);
  }

  /** Takes a context off and keeps nothing. */
  drop(gang: Gang): void {
    for (const { slot } of gang.members) slot.member = undefined;
    gang.members.length = 0;
    gang.context.run.positions.clear();
  }

  /** A context did what nobody repairs. */
  fail(session: VfSession, context: GucContext, gang = this.gangOf(context)): void {
    if (gang !== undefined) this.drop(gang);
    contextFailed(session, context);
  }

  #load(
    session: VfSession,
    context: GucContext,
    lrc: number,
    { engine }: EngineSlot,
  ): ContextExecution | undefined {
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
    // A turn begins with a look at the ring's tail, so that it sees what came before it.
    if (gang.context.lrcs.length === 1) gang.poked = false;
    const end = member.execution.turn(TURN_BUDGET);
    const now = this.#around.now();
    this.#count(member, end, now);
    this.#ended(member, end, now);
    if (slot.member === member && gang.leave !== undefined) this.#leaving(member, gang.leave);
    return now;
  }

  /** Counts the time since a member's last turn to its slice and its timeouts. */
  #count(member: GangMember, end: TurnEnd, now: number): void {
    const { gang } = member;
    const elapsed = Math.min(now - member.lastTurn, GREATEST_TURN_MS);
    member.waited = end === 'waiting' && member.waiting ? member.waited + elapsed : 0;
    member.waiting = end === 'waiting';
    member.lastTurn = now;
    if (gang.members[0] !== member) return;
    gang.used += elapsed;
    if (gang.leave === undefined) return;
    gang.leave.waited += elapsed;
    gang.leave.turns++;
  }

  #leaving(member: GangMember, leave: Leave): void {
    const { gang } = member;
    if (canLeave(member)) this.#takeOff(member);
    else if (leave.turns >= LEAVING_TURNS && leave.waited >= leave.timeout) {
      this.drop(gang);
      contextReset(gang.session, gang.context);
    }
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
        this.fail(session, context, gang);
        return;
    }
  }

  #backOff(slot: EngineSlot, now: number): void {
    slot.pollAt = now + slot.backoff;
    const others = this.slots.some(
      ({ member }) => member !== undefined && !member.waiting && !member.hung,
    );
    slot.backoff = Math.min(slot.backoff * 2, others ? BUSY_BACKOFF_MS : LAST_BACKOFF_MS);
  }

  /** A watchdog counter ran out: the engine is reset and its context goes on. */
  #watchdog(member: GangMember): void {
    const { gang, slot, lrc } = member;
    const { session, context } = gang;
    session.host.counters.fault('WATCHDOG');
    keepPosition(member);
    const execution = this.#load(session, context, lrc, slot);
    if (execution === undefined) this.fail(session, context, gang);
    else member.execution = execution;
  }

  /** Takes a member off; `then` comes before the context waits again, if this was its last one. */
  #takeOff(member: GangMember, then?: () => void): void {
    const { gang, slot } = member;
    keepPosition(member);
    slot.member = undefined;
    gang.members.splice(gang.members.indexOf(member), 1);
    then?.();
    if (gang.members.length === 0) this.#left(gang);
  }

  /** All of a context is off its engines. */
  #left(gang: Gang): void {
    const { session, context } = gang;
    const { run, lrcs } = context;
    run.quantumLeft = Math.max(Math.ceil(quantumOf(context) - gang.used * 1000), 0);
    const allIdle = run.idle === 2 ** lrcs.length - 1;
    if (gang.poked) run.idle = 0;
    else if (allIdle) context.pending = false;
    if (run.disabling) disableDone(session, context);
    else this.#requeue(session, context);
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
    const contested = this.slots.some(
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

function keepPosition({ gang, lrc, execution }: GangMember): void {
  const { positions } = gang.context.run;
  const position = execution.save();
  if (position.dwords.length > 0) positions.set(lrc, position);
  else positions.delete(lrc);
}
