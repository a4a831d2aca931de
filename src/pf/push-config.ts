/**
 * Gives a VF's configuration to firmware as KLVs in a buffer.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_config.c (pf_push_vf_cfg_klvs, pf_send_vf_cfg_reset).
 */
import { Fault } from '../base/fault.ts';
import { TWO_32 } from '../base/int.ts';
import { hxgRequest } from '../xe/guc/hxg.ts';
import { encodeKlvU32, encodeKlvU64 } from '../xe/guc/klv.ts';
import { type KlvSpec, PF2GUC_ACTION } from '../xe/guc/pf-actions.ts';
import type { GucPort } from './ports.ts';

/** A KLV to push: its key and its value, which the key's length makes 32 or 64 bits. */
export type ConfigKlv = readonly [spec: KlvSpec, value: number];

function updateVfCfg(guc: GucPort, vfid: number, address: number, dwords: number): number {
  const header = hxgRequest(PF2GUC_ACTION.UPDATE_VF_CFG.action);
  return guc.send([header, vfid, address % TWO_32, Math.floor(address / TWO_32), dwords]);
}

/**
 * Pushes KLVs of a VF (or of the PF, VFID 0) to one GuC.
 * @throws {Fault} ENOBUFS, ENOKEY when firmware took fewer than it was given, EPROTO when more,
 * what {@link GucPort.send} throws
 */
export function pushConfig(guc: GucPort, vfid: number, klvs: readonly ConfigKlv[]): void {
  const dwords = klvs.reduce((sum, [{ length }]) => sum + 1 + length, 0);
  const encoded = new Uint32Array(dwords);
  let at = 0;
  for (const [spec, value] of klvs)
    at = (spec.length === 2 ? encodeKlvU64 : encodeKlvU32)(encoded, at, spec.key, value);
  const buffer = guc.buffer(encoded.byteLength);
  try {
    buffer.bytes.set(new Uint8Array(encoded.buffer));
    const taken = updateVfCfg(guc, vfid, buffer.ggttAddress, dwords);
    if (taken === klvs.length) return;
    const names = klvs.map(([{ name }]) => name).join(', ');
    const reason = `firmware took ${taken} of ${klvs.length} KLVs of VF${vfid} (${names})`;
    throw new Fault(taken < klvs.length ? 'ENOKEY' : 'EPROTO', reason);
  } finally {
    buffer.release();
  }
}

/**
 * Makes firmware forget a VF's configuration.
 * @throws {Fault} EPROTO when it answers with a count, what {@link GucPort.send} throws
 */
export function forgetConfig(guc: GucPort, vfid: number): void {
  const taken = updateVfCfg(guc, vfid, 0, 0);
  if (taken !== 0) throw new Fault('EPROTO', `firmware took ${taken} KLVs of an empty config`);
}
