/**
 * What a GuC does for each H2G message of a VF. New actions are added to the table.
 *
 * Source: drivers/gpu/drm/xe/xe_guc_submit.c, xe_guc_tlb_inval.c, abi/guc_actions_abi.h.
 */
import { TWO_32 } from '../../base/int.ts';
import { GUC_RESPONSE } from '../../xe/guc/hxg.ts';
import { decodePageFaultResponse } from '../../xe/guc/page-fault.ts';
import { VF_RELAY_ACTION } from '../../xe/guc/pf-actions.ts';
import {
  CONTEXT_POLICY_KLV,
  G2H_ACTION,
  H2G_ACTION,
  REGISTER_CONTEXT,
  REGISTER_CONTEXT_MULTI_LRC,
} from '../../xe/guc/vf-actions.ts';
import { registerContext } from './contexts.ts';
import { postEvent } from './g2h.ts';
import { GucError } from './guc-error.ts';
import { relayToPf } from './relay.ts';
import type { VfSession } from './vf-session.ts';
import { noteContext, noteStart } from './vf-start.ts';
import type { GucContext } from './vf-state.ts';

/**
 * Does one action.
 * @param hxg the message, valid during the call
 * @returns DATA0 of the answer if one was asked for
 * @throws {GucError} to answer with a failure
 */
export type H2gHandler = (session: VfSession, hxg: Uint32Array) => number;

/** The handlers by action. */
export const H2G_HANDLERS: ReadonlyMap<number, H2gHandler> = new Map<number, H2gHandler>([
  [H2G_ACTION.REGISTER_CONTEXT, registerSingle],
  [H2G_ACTION.REGISTER_CONTEXT_MULTI_LRC, registerMulti],
  [H2G_ACTION.DEREGISTER_CONTEXT, deregisterContext],
  [H2G_ACTION.SCHED_CONTEXT, schedContext],
  [H2G_ACTION.SCHED_CONTEXT_MODE_SET, schedContextModeSet],
  [H2G_ACTION.SCHED_ENGINE_MODE_SET, schedEngineModeSet],
  [H2G_ACTION.SET_CONTEXT_PRIORITY, setContextPolicy(CONTEXT_POLICY_KLV.SCHEDULING_PRIORITY)],
  [
    H2G_ACTION.SET_CONTEXT_EXECUTION_QUANTUM,
    setContextPolicy(CONTEXT_POLICY_KLV.EXECUTION_QUANTUM),
  ],
  [
    H2G_ACTION.SET_CONTEXT_PREEMPTION_TIMEOUT,
    setContextPolicy(CONTEXT_POLICY_KLV.PREEMPTION_TIMEOUT),
  ],
  [H2G_ACTION.UPDATE_CONTEXT_POLICIES, updateContextPolicies],
  [H2G_ACTION.UPDATE_SCHEDULING_POLICIES_KLV, updateSchedulingPolicies],
  [H2G_ACTION.OPT_IN_FEATURE_KLV, optInFeatures],
  [H2G_ACTION.ALLOCATE_DOORBELL, allocateDoorbell],
  [H2G_ACTION.DEALLOCATE_DOORBELL, deallocateDoorbell],
  [H2G_ACTION.PAGE_FAULT_RES_DESC, pageFaultResponse],
  [H2G_ACTION.TLB_INVALIDATION, tlbInvalidation],
  [H2G_ACTION.TLB_INVALIDATION_ALL, tlbInvalidation],
  [H2G_ACTION.PAGE_RECLAMATION, pageReclamation],
  [VF_RELAY_ACTION.VF2GUC_RELAY_TO_PF, relayToPf],
]);

function dword(hxg: Uint32Array, index: number): number {
  const value = hxg[index];
  if (value === undefined) throw new GucError(GUC_RESPONSE.INVALID_SIZE, 'a message is too short');
  return value;
}

function contextOf({ vf }: VfSession, id: number): GucContext {
  const context = vf.runtime.contexts.get(id);
  if (context === undefined)
    throw new GucError(GUC_RESPONSE.CONTEXT_NOT_REGISTERED, `context ${id}`);
  return context;
}

function registerSingle(session: VfSession, hxg: Uint32Array): number {
  const at = REGISTER_CONTEXT.HW_LRC_ADDR;
  registerContext(session, hxg, [{ low: dword(hxg, at), high: dword(hxg, at + 1) }]);
  return 0;
}

function registerMulti(session: VfSession, hxg: Uint32Array): number {
  const count = dword(hxg, REGISTER_CONTEXT_MULTI_LRC.NUM_CTXS);
  const at = REGISTER_CONTEXT_MULTI_LRC.HW_LRC_ADDR;
  if (count === 0 || hxg.length !== at + count * 2)
    throw new GucError(GUC_RESPONSE.INVALID_SIZE, `${count} LRCs in ${hxg.length} dwords`);
  const lrcs = Array.from({ length: count }, (_, n) => ({
    low: dword(hxg, at + n * 2),
    high: dword(hxg, at + n * 2 + 1),
  }));
  registerContext(session, hxg, lrcs);
  session.pf.adverse('MULTI_LRC_COUNT');
  return 0;
}

function deregisterContext(session: VfSession, hxg: Uint32Array): number {
  const context = contextOf(session, dword(hxg, 1));
  const { id } = context;
  noteContext(session, context.lrcs);
  const { contexts, doorbells } = session.vf.runtime;
  session.scheduler.forget(session, context);
  contexts.delete(id);
  for (const doorbell of [...doorbells.values()])
    if (doorbell.contextId === id) doorbells.delete(doorbell.id);
  postEvent(session, G2H_ACTION.DEREGISTER_CONTEXT_DONE, id);
  return 0;
}

function schedContext(session: VfSession, hxg: Uint32Array): number {
  session.scheduler.poke(session, contextOf(session, dword(hxg, 1)));
  return 0;
}

function schedContextModeSet(session: VfSession, hxg: Uint32Array): number {
  const context = contextOf(session, dword(hxg, 1));
  if (dword(hxg, 2) === 1) {
    postEvent(session, G2H_ACTION.SCHED_CONTEXT_MODE_DONE, context.id, 1);
    session.scheduler.enable(session, context);
  } else {
    session.scheduler.disable(session, context);
  }
  return 0;
}

/** Linux never sends it; engines are always enabled. [1] class, [2] instance, [3] mode. */
function schedEngineModeSet(session: VfSession, hxg: Uint32Array): number {
  const [engineClass, instance, mode] = [dword(hxg, 1), dword(hxg, 2), dword(hxg, 3)];
  postEvent(session, G2H_ACTION.SCHED_ENGINE_MODE_DONE, engineClass, instance, mode);
  return 0;
}

/** The older way to set one policy: [1] context, [2] value. */
function setContextPolicy(key: number): H2gHandler {
  return (session, hxg) => {
    contextOf(session, dword(hxg, 1)).policies.set(key, dword(hxg, 2));
    return 0;
  };
}

function pageFaultResponse(session: VfSession, hxg: Uint32Array): number {
  const response = decodePageFaultResponse(dword(hxg, 1), dword(hxg, 2));
  if (response === undefined)
    throw new GucError(GUC_RESPONSE.INVALID_PARAMS, 'a page fault response that is not valid');
  session.scheduler.faultAnswered(session, response.id, response.repaired);
  return 0;
}

function updateContextPolicies(session: VfSession, hxg: Uint32Array): number {
  const context = contextOf(session, dword(hxg, 1));
  for (let at = 2; at < hxg.length; at += 2) {
    const header = dword(hxg, at);
    if ((header & 0xffff) !== 1)
      throw new GucError(GUC_RESPONSE.MALFORMED_KLV, 'a context policy has one dword');
    context.policies.set(header >>> 16, dword(hxg, at + 1));
  }
  return 0;
}

function updateSchedulingPolicies({ vf }: VfSession, hxg: Uint32Array): number {
  const policies: Array<readonly [number, readonly number[]]> = [];
  for (let at = 1; at < hxg.length; ) {
    const header = dword(hxg, at);
    const end = at + 1 + (header & 0xffff);
    if (end > hxg.length) throw new GucError(GUC_RESPONSE.MALFORMED_KLV, 'a policy is cut');
    policies.push([header >>> 16, [...hxg.subarray(at + 1, end)]]);
    at = end;
  }
  for (const [key, value] of policies) vf.runtime.schedulingPolicies.set(key, value);
  return 0;
}

/** KLVs of opt-in features at most, dwords. */
const MAX_OPT_IN_DWORDS = 1024;

function optInFeatures(session: VfSession, hxg: Uint32Array): number {
  const { vf, host } = session;
  const address = dword(hxg, 1) + dword(hxg, 2) * TWO_32;
  const length = dword(hxg, 3);
  if (length > MAX_OPT_IN_DWORDS)
    throw new GucError(GUC_RESPONSE.DATA_TOO_LARGE, `${length} dwords of KLVs`);
  const klvs = new Uint32Array(length);
  if (!host.memory.read(address, new Uint8Array(klvs.buffer)))
    throw new GucError(GUC_RESPONSE.INVALID_GGTT_ADDRESS, 'the KLVs cannot be read');
  let count = 0;
  for (let at = 0; at < length; at += 1 + ((klvs[at] as number) & 0xffff), count++)
    vf.runtime.optIns.add((klvs[at] as number) >>> 16);
  noteStart(session);
  return count;
}

/**
 * The layout (context, doorbell, address low, high) is this project's: the action's number is
 * public, its message is not, and Linux never sends it.
 */
function allocateDoorbell(session: VfSession, hxg: Uint32Array): number {
  const context = contextOf(session, dword(hxg, 1));
  const id = dword(hxg, 2);
  const address = dword(hxg, 3) + dword(hxg, 4) * TWO_32;
  if (id >= session.vf.provisioned('NUM_DOORBELLS') || !Number.isSafeInteger(address))
    throw new GucError(GUC_RESPONSE.INVALID_DOORBELL_ID, `doorbell ${id}`);
  session.vf.runtime.doorbells.set(id, { id, contextId: context.id, address });
  return 0;
}

function deallocateDoorbell({ vf }: VfSession, hxg: Uint32Array): number {
  if (!vf.runtime.doorbells.delete(dword(hxg, 1)))
    throw new GucError(GUC_RESPONSE.INVALID_DOORBELL_ID, `doorbell ${dword(hxg, 1)}`);
  return 0;
}

// Everything is forgotten, whatever was asked for: walking again costs little. The driver waits
// for the answers in the order in which it asked.
function tlbInvalidation(session: VfSession, hxg: Uint32Array): number {
  session.host.invalidateTlbs();
  postEvent(session, G2H_ACTION.TLB_INVALIDATION_DONE, dword(hxg, 1));
  return 0;
}

/** Nothing is cached besides translations, so that there is nothing to write back. */
function pageReclamation(session: VfSession, hxg: Uint32Array): number {
  session.host.invalidateTlbs();
  postEvent(session, G2H_ACTION.PAGE_RECLAMATION_DONE, dword(hxg, 1));
  return 0;
}
