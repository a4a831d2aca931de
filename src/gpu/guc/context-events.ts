/** What a VF's driver is told about its contexts. Source: xe_guc_submit.c (the G2H handlers). */
import { encodePageFault, FAULT_ACCESS, FAULT_TYPE } from '../../xe/guc/page-fault.ts';
import { CAT_ERR_TYPE_INVALID, G2H_ACTION, OPT_IN_KLV } from '../../xe/guc/vf-actions.ts';
import { LRC_PPHWSP_SIZE, LRC_REG, lrcAddress } from '../../xe/lrc.ts';
import type { GpuMemoryFault } from '../engine/contracts.ts';
import { postEvent } from './g2h.ts';
import type { GangMember } from './gang.ts';
import type { VfSession } from './vf-session.ts';
import type { GucContext, LrcDescriptor } from './vf-state.ts';

/** A context that was to be disabled has stopped. */
export function disableDone(session: VfSession, context: GucContext): void {
  context.run.disabling = false;
  postEvent(session, G2H_ACTION.SCHED_CONTEXT_MODE_DONE, context.id, 0);
}

/**
 * A context lost its engine to a reset: it is told so, and stays off until it is enabled again.
 * The answer to a disable that was under way comes after it.
 */
export function contextReset(session: VfSession, context: GucContext): void {
  session.host.counters.fault('ENGINE_RESET');
  session.pf.adverse('ENGINE_RESET');
  stopped(context);
  postEvent(session, G2H_ACTION.CONTEXT_RESET_NOTIFICATION, context.id);
  if (context.run.disabling) disableDone(session, context);
}

/** A context made an access that nobody repairs: a catastrophic error, then a reset. */
export function contextFailed(session: VfSession, context: GucContext): void {
  session.host.counters.fault('CAT_ERROR');
  session.pf.adverse('CAT_ERR');
  const { optIns } = session.vf.runtime;
  const type = optIns.has(OPT_IN_KLV.EXT_CAT_ERR_TYPE) ? [CAT_ERR_TYPE_INVALID] : [];
  postEvent(session, G2H_ACTION.NOTIFY_MEMORY_CAT_ERROR, context.id, ...type);
  contextReset(session, context);
}

function stopped(context: GucContext): void {
  const { run } = context;
  context.pending = false;
  run.blocked = true;
  run.faults.length = 0;
  run.positions.clear();
  run.quantumLeft = 0;
}

/** Bytes from a context's address to the number of its address space, bits 19:0. */
const ASID = LRC_PPHWSP_SIZE + LRC_REG.CTX_ASID * 4;

const ACCESS = {
  read: FAULT_ACCESS.READ,
  write: FAULT_ACCESS.WRITE,
  atomic: FAULT_ACCESS.ATOMIC,
} as const;

const TYPE = {
  'not-present': FAULT_TYPE.NOT_PRESENT,
  'write-access-violation': FAULT_TYPE.WRITE_ACCESS_VIOLATION,
  'atomic-access-violation': FAULT_TYPE.ATOMIC_ACCESS_VIOLATION,
  'bus-error': FAULT_TYPE.NOT_PRESENT,
} as const;

/** A context made an access that its driver may repair; it waits for the answer. */
export function reportPageFault(
  session: VfSession,
  context: GucContext,
  { slot: { engine }, lrc }: GangMember,
  fault: Readonly<GpuMemoryFault>,
): void {
  session.host.counters.fault('PAGE_FAULT');
  session.pf.adverse('PAGE_FAULT');
  const { runtime } = session.vf;
  const id = runtime.nextFault;
  runtime.nextFault = (id + 1) & 0xffff;
  context.run.faults.push({ id, lrc });
  const descriptor = context.lrcs[lrc] as LrcDescriptor;
  const asid = session.host.memory.readU32(lrcAddress(descriptor.low) + ASID) ?? 0;
  const dwords = encodePageFault({
    level: fault.level,
    engineClass: engine.engineClass,
    engineInstance: engine.instance,
    id,
    asid: asid & 0xf_ffff,
    access: ACCESS[fault.access],
    type: TYPE[fault.type],
    address: fault.address,
  });
  postEvent(session, G2H_ACTION.REPORT_PAGE_FAULT_REQ_DESC, ...dwords);
}
