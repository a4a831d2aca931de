/** Registration of contexts. Source: drivers/gpu/drm/xe/xe_guc_submit.c:__register_exec_queue. */
import { TWO_32 } from '../../base/int.ts';
import { GUC_RESPONSE } from '../../xe/guc/hxg.ts';
import { GUC_CLASS, LRC_DESCRIPTOR_FLAGS, REGISTER_CONTEXT } from '../../xe/guc/vf-actions.ts';
import { GucError } from './guc-error.ts';
import type { VfSession } from './vf-session.ts';
import { noteContext } from './vf-start.ts';
import { freshRun, type LrcDescriptor } from './vf-state.ts';

/** LRCs of a parallel context at most (XE_HW_ENGINE_MAX_INSTANCE). */
const MAX_LRCS = 9;
const GREATEST_CLASS = Math.max(...Object.values(GUC_CLASS));

/**
 * Registers the context of a REGISTER_CONTEXT message. One that is registered already keeps its
 * state: a driver that recovers from a migration sends it again to be sure.
 *
 * @throws {GucError} for an id, class or address that the VF does not own
 */
export function registerContext(
  session: VfSession,
  hxg: Uint32Array,
  lrcs: readonly LrcDescriptor[],
): void {
  const { vf, host } = session;
  const id = hxg[REGISTER_CONTEXT.CONTEXT_INDEX] as number;
  const engineClass = hxg[REGISTER_CONTEXT.ENGINE_CLASS] as number;
  if (id >= vf.provisioned('NUM_CONTEXTS'))
    throw new GucError(GUC_RESPONSE.INVALID_CONTEXT_INDEX, `context ${id}`);
  if (vf.runtime.contexts.has(id))
    throw new GucError(GUC_RESPONSE.CONTEXT_ALREADY_REGISTERED, `context ${id}`);
  if (engineClass > GREATEST_CLASS)
    throw new GucError(GUC_RESPONSE.INVALID_ENGINE_ID, `class ${engineClass}`);
  if (lrcs.length > MAX_LRCS) throw new GucError(GUC_RESPONSE.INVALID_PARAMS, 'too many LRCs');
  const owned = (address: number, what: string) => {
    if (!host.memory.contains(address, 1))
      throw new GucError(GUC_RESPONSE.INVALID_GGTT_ADDRESS, `${what} of context ${id}`);
    return address;
  };
  for (const { low } of lrcs) owned((low & ~LRC_DESCRIPTOR_FLAGS) >>> 0, 'an LRC');
  const wqDesc = address64(hxg, REGISTER_CONTEXT.WQ_DESC_ADDR);
  const wqBase = address64(hxg, REGISTER_CONTEXT.WQ_BUF_BASE);
  vf.runtime.contexts.set(id, {
    id,
    flags: hxg[REGISTER_CONTEXT.FLAGS] as number,
    engineClass,
    submitMask: hxg[REGISTER_CONTEXT.ENGINE_SUBMIT_MASK] as number,
    wqDesc: wqDesc === 0 ? 0 : owned(wqDesc, 'the work queue'),
    wqBase: wqBase === 0 ? 0 : owned(wqBase, 'the work queue'),
    wqSize: hxg[REGISTER_CONTEXT.WQ_BUF_SIZE] as number,
    lrcs,
    enabled: false,
    pending: false,
    policies: new Map(),
    run: freshRun(),
  });
  noteContext(session, lrcs);
}

function address64(hxg: Uint32Array, at: number): number {
  return (hxg[at] as number) + (hxg[at + 1] as number) * TWO_32;
}
