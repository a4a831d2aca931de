/**
 * What a GuC does for each request of the PF's driver. New actions are added to the table.
 *
 * Source: drivers/gpu/drm/xe/abi/guc_actions_sriov_abi.h.
 */
import { Fault } from '../../base/fault.ts';
import { TWO_32 } from '../../base/int.ts';
import { GUC_RESPONSE } from '../../xe/guc/hxg.ts';
import { decodeKlvs, type Klv } from '../../xe/guc/klv.ts';
import {
  type KlvSpec,
  PF2GUC_ACTION,
  SCHED_PRIORITY,
  VF_CFG_KLV,
  VGT_POLICY_KLV,
} from '../../xe/guc/pf-actions.ts';
import type { Guc } from './guc.ts';
import { GucError } from './guc-error.ts';
import { relayToVf } from './relay.ts';
import { saveRestoreVf } from './save-restore.ts';
import { controlVf } from './vf-control.ts';

/**
 * Does one request.
 * @returns DATA0 of the success
 * @throws {GucError} to refuse, {Fault} as the PF's send would see it
 */
export type PfHandler = (guc: Guc, message: readonly number[]) => number;

/** The handlers by action. */
export const PF_HANDLERS: ReadonlyMap<number, PfHandler> = new Map<number, PfHandler>([
  [
    PF2GUC_ACTION.RELAY_TO_VF.action,
    (guc, message) => relayToVf(guc.session(message[1] ?? 0), message),
  ],
  [PF2GUC_ACTION.UPDATE_VGT_POLICY.action, ofLength(updateVgtPolicy, 4)],
  [PF2GUC_ACTION.UPDATE_VF_CFG.action, ofLength(updateVfCfg, 5)],
  [PF2GUC_ACTION.VF_CONTROL.action, ofLength(controlVf, 3)],
  [PF2GUC_ACTION.SAVE_RESTORE_VF.action, ofLength(saveRestoreVf, 5)],
]);

function ofLength(handler: PfHandler, dwords: number): PfHandler {
  return (guc, message) => {
    if (message.length !== dwords)
      throw new GucError(GUC_RESPONSE.INVALID_SIZE, `${message.length} dwords, not ${dwords}`);
    return handler(guc, message);
  };
}

const POLICY_SPECS = specsByKey(VGT_POLICY_KLV, { ENGINE_GROUP_CONFIG: 8 * 16 });
const CONFIG_SPECS = specsByKey(VF_CFG_KLV, {});
/** Keys from here on came with firmware 70.53. */
const FIRST_KEY_OF_70_53 = VF_CFG_KLV.THRESHOLD_MULTI_LRC_COUNT.key;

/** Classes that a scheduling group has a mask for (GUC_MAX_ENGINE_CLASSES). */
const ENGINE_CLASSES = 16;

function updateVgtPolicy(guc: Guc, message: readonly number[]): number {
  const before = new Map(guc.policies);
  const count = applyKlvs(guc, message, 1, POLICY_SPECS, guc.policies);
  const changed = ({ key }: KlvSpec) => {
    const value = guc.policies.get(key);
    return value === before.get(key) ? undefined : value;
  };
  const masks = changed(VGT_POLICY_KLV.ENGINE_GROUP_CONFIG);
  if (masks !== undefined) guc.scheduler.regroup(groupsOf(masks));
  const schedIfIdle = changed(VGT_POLICY_KLV.SCHED_IF_IDLE);
  if (schedIfIdle !== undefined)
    guc.setPriorities(schedIfIdle[0] === 0 ? SCHED_PRIORITY.LOW : SCHED_PRIORITY.NORMAL);
  return count;
}

function groupsOf(masks: readonly number[]): readonly (readonly number[])[] {
  return Array.from({ length: Math.floor(masks.length / ENGINE_CLASSES) }, (_, n) =>
    masks.slice(n * ENGINE_CLASSES, (n + 1) * ENGINE_CLASSES),
  );
}

function updateVfCfg(guc: Guc, message: readonly number[]): number {
  const vf = guc.function(message[1] ?? 0);
  if (message[2] === 0 && message[3] === 0 && message[4] === 0) {
    vf.config.clear();
    return 0;
  }
  return applyKlvs(guc, message, 2, CONFIG_SPECS, vf.config);
}

/** Takes KLVs until one is not known or malformed; the count says how far that was. */
function applyKlvs(
  guc: Guc,
  message: readonly number[],
  at: number,
  specs: ReadonlyMap<number, KlvSpec>,
  into: Map<number, readonly number[]>,
): number {
  const address = (message[at] ?? 0) + (message[at + 1] ?? 0) * TWO_32;
  const bytes = guc.pfMemory(address, (message[at + 2] ?? 0) * 4);
  const dwords = new Uint32Array(bytes.slice().buffer);
  let count = 0;
  for (const { key, value } of wholeKlvs(dwords)) {
    const spec = specs.get(key);
    if (spec === undefined || !knowsKey(guc, key)) break;
    if (value.length < spec.length || value.length > (spec.maxLength ?? spec.length)) break;
    into.set(key, [...value]);
    count++;
  }
  return count;
}

function knowsKey({ version }: Guc, key: number): boolean {
  const isOld = version.major < 70 || (version.major === 70 && version.minor < 53);
  return !(isOld && CONFIG_SPECS.has(key) && key >= FIRST_KEY_OF_70_53);
}

function wholeKlvs(dwords: Uint32Array): readonly Klv[] {
  try {
    return [...decodeKlvs(dwords)];
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    throw new GucError(GUC_RESPONSE.MALFORMED_KLV, error.message);
  }
}

function specsByKey(
  specs: Readonly<Record<string, KlvSpec>>,
  maxLengths: Readonly<Record<string, number>>,
): ReadonlyMap<number, KlvSpec> {
  return new Map(
    Object.entries(specs).map(([name, spec]) => {
      const maxLength = maxLengths[name] ?? spec.maxLength ?? spec.length;
      return [spec.key, { ...spec, maxLength }];
    }),
  );
}
