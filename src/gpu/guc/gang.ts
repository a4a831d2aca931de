/**
 * A context while it is on engines: one member an LRC, all of them put on together.
 */
import type { Engine } from '../../xe/engines.ts';
import { CONTEXT_POLICY_KLV, CONTEXT_PRIORITY } from '../../xe/guc/vf-actions.ts';
import type { ContextExecution } from '../engine/contracts.ts';
import type { VfSession } from './vf-session.ts';
import type { GucContext } from './vf-state.ts';

/** One engine of a GT, and what is on it. */
export interface EngineSlot {
  readonly engine: Engine;
  member: GangMember | undefined;
  /** When to go on with a member that waits, ms. */
  pollAt: number;
  /** How long to leave it alone the next time, ms. */
  backoff: number;
}

/** One LRC on an engine. */
export interface GangMember {
  readonly gang: Gang;
  readonly lrc: number;
  readonly slot: EngineSlot;
  execution: ContextExecution;
  /** Its last turn ended at a semaphore or event that had not come. */
  waiting: boolean;
  /** For how long that has been so, ms. */
  waited: number;
  /** A command that it does not get past. */
  hung: boolean;
  /** When its last turn ended, ms. */
  lastTurn: number;
}

/** Why a context has to leave its engines, and how long it has been asked to. */
export interface Leave {
  /** Milliseconds that it got since, as engines count them. */
  waited: number;
  /** Turns that each member got at least. */
  turns: number;
  /** Milliseconds after which its engines are reset; Infinity for never. */
  readonly timeout: number;
}

/** A context on engines. */
export interface Gang {
  readonly session: VfSession;
  readonly context: GucContext;
  readonly members: GangMember[];
  /** Milliseconds that it has had of its time slice. */
  used: number;
  leave: Leave | undefined;
  /** Scheduling was asked for since it was put on: its rings have to be looked at again. */
  poked: boolean;
}

/** Microseconds of a context's time slice; 0 when it has none. */
export function quantumOf({ policies }: GucContext): number {
  return policies.get(CONTEXT_POLICY_KLV.EXECUTION_QUANTUM) ?? 0;
}

/** Milliseconds that a context may take to leave its engine. */
export function preemptionTimeoutOf({ policies }: GucContext): number {
  const us = policies.get(CONTEXT_POLICY_KLV.PREEMPTION_TIMEOUT) ?? 0;
  return us === 0 ? Number.POSITIVE_INFINITY : us / 1000;
}

/** A context's priority, one of CONTEXT_PRIORITY: less is more urgent. */
export function priorityOf({ policies }: GucContext): number {
  return policies.get(CONTEXT_POLICY_KLV.SCHEDULING_PRIORITY) ?? CONTEXT_PRIORITY.NORMAL;
}

/** True when a context has used its time slice up. */
export function isExpired({ context, used }: Gang): boolean {
  const quantum = quantumOf(context);
  return quantum > 0 && used * 1000 >= quantum;
}
