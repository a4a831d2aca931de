/**
 * PF2GUC_SAVE_RESTORE_VF: ask for the size of a VF's state, save it, restore it.
 *
 * Asking is possible at any time and tells the size that saving would use now; saving and restoring
 * need a paused VF. Source: abi/guc_actions_sriov_abi.h, xe_gt_sriov_pf_migration.c.
 */
import { Fault } from '../../base/fault.ts';
import { TWO_32 } from '../../base/int.ts';
import { GUC_RESPONSE, hxgData0 } from '../../xe/guc/hxg.ts';
import { SAVE_RESTORE_OPCODE } from '../../xe/guc/pf-actions.ts';
import { applyCcsRuns, type CcsRun, ccsRuns } from './ccs-section.ts';
import type { Guc } from './guc.ts';
import { GucError } from './guc-error.ts';
import { decodeGucState, encodeGucState } from './state-blob.ts';
import type { StateOwner } from './state-format.ts';
import { type GucVf, noFixup } from './vf-state.ts';

type Operation = 'query' | 'save' | 'restore';

/**
 * Does one operation.
 * @returns dwords of state: that there are, that were written, that were read
 * @throws {GucError} INVALID_VFID, INVALID_STATE, INVALID_PARAMS, DATA_TOO_LARGE ...
 * @throws {Fault} EIO with the reason when a state to restore is wrong; nothing is then applied
 */
export function saveRestoreVf(guc: Guc, message: readonly number[]): number {
  const vf = guc.vf(message[1] ?? 0);
  const address = (message[2] ?? 0) + (message[3] ?? 0) * TWO_32;
  const dwords = message[4] ?? 0;
  const operation = operationOf(hxgData0(message[0] ?? 0), address, dwords);
  const { id } = guc.identity.gt;
  const fault = guc.faults.take(
    'save-restore',
    id,
    vf.vfid,
    (candidate) => (candidate.operation ?? operation) === operation,
  );
  if (fault !== undefined)
    throw new Fault(fault.error, `GuC of GT ${id} refused to ${operation} VF state (injected)`);
  if (operation !== 'query' && vf.execution !== 'paused')
    throw new GucError(GUC_RESPONSE.INVALID_STATE, `VF${vf.vfid} is ${vf.execution}, not paused`);
  if (operation === 'restore') return restore(guc, vf, address, dwords);
  const beside = { fixup: vf.fixup, ccs: ccsOf(guc, vf) };
  const state = encodeGucState(vf.existingRuntime, owner(guc, vf), beside);
  if (operation === 'query') return state.length / 4;
  if (state.length > dwords * 4)
    throw new GucError(GUC_RESPONSE.DATA_TOO_LARGE, `the state needs ${state.length / 4} dwords`);
  guc.pfMemory(address, state.length).set(state);
  return state.length / 4;
}

function operationOf(opcode: number, address: number, dwords: number): Operation {
  if (opcode === SAVE_RESTORE_OPCODE.RESTORE) return 'restore';
  if (opcode !== SAVE_RESTORE_OPCODE.SAVE)
    throw new GucError(GUC_RESPONSE.INVALID_PARAMS, `opcode ${opcode}`);
  return address === 0 && dwords === 0 ? 'query' : 'save';
}

function restore(guc: Guc, vf: GucVf, address: number, dwords: number): number {
  const ccs: CcsRun[] = [];
  const runtime = decodeGucState(guc.pfMemory(address, dwords * 4), owner(guc, vf), ccs);
  vf.replaceRuntime(runtime);
  if (keepsCcs(guc)) applyCcsRuns(guc.session(vf.vfid).host.flatCcs, ccs);
  // A driver that never talked to the GuC has nothing to recover.
  Object.assign(vf.fixup, noFixup(), { blocked: runtime.handshake !== undefined });
  vf.ccsOwed = true;
  return dwords;
}

/** Metadata of VRAM goes with the main GT; that of guest memory is its driver's, see ccs-contexts.ts. */
function keepsCcs({ identity: { discrete, gt } }: Guc): boolean {
  return discrete && gt.type === 'main';
}

function ccsOf(guc: Guc, { vfid }: GucVf): readonly CcsRun[] {
  return keepsCcs(guc) ? ccsRuns(guc.session(vfid).host.flatCcs) : [];
}

function owner(guc: Guc, vf: GucVf): StateOwner {
  const { gt, version, abi } = guc.identity;
  return {
    ggttStart: vf.provisioned('GGTT_START'),
    ggttSize: vf.provisioned('GGTT_SIZE'),
    gtType: gt.type,
    contexts: vf.provisioned('NUM_CONTEXTS'),
    doorbells: vf.provisioned('NUM_DOORBELLS'),
    vramSize: keepsCcs(guc) ? vf.provisioned('LMEM_SIZE') : 0,
    firmware: version,
    abi,
    now: guc.now(),
    position: (dwords) => guc.loader.position(dwords),
  };
}
