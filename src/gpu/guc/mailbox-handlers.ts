/**
 * What a GuC does for each mailbox action. New actions are added to the table.
 *
 * Source: drivers/gpu/drm/xe/abi/guc_actions_sriov_abi.h, abi/guc_actions_abi.h.
 */
import { TWO_32 } from '../../base/int.ts';
import { GUC_RESPONSE, hxgData0 } from '../../xe/guc/hxg.ts';
import { VF_CFG_KLV, VF_NOTIFY } from '../../xe/guc/pf-actions.ts';
import {
  GLOBAL_CFG_KLV,
  MAILBOX_ACTION,
  SELF_CFG_KLV,
  VF_ABI_MIGRATION,
} from '../../xe/guc/vf-actions.ts';
import { GUC_INTR } from '../../xe/memirq.ts';
import { startCtb } from './ctb-channel.ts';
import { dropOutdated } from './g2h.ts';
import { GucError } from './guc-error.ts';
import type { VfSession } from './vf-session.ts';
import { noteStart } from './vf-start.ts';

/** A success: DATA0 of the header, and the dwords after it. */
export interface MailboxAnswer {
  readonly value: number;
  readonly data?: readonly number[];
}

/**
 * Does one action. `message` is the four registers, read only.
 * @throws {GucError} to answer with a failure
 */
export type MailboxHandler = (session: VfSession, message: Uint32Array) => MailboxAnswer;

/** The handlers by action. */
export const MAILBOX_HANDLERS: ReadonlyMap<number, MailboxHandler> = new Map([
  [MAILBOX_ACTION.VF2GUC_VF_RESET, vfReset],
  [MAILBOX_ACTION.VF2GUC_MATCH_VERSION, matchVersion],
  [MAILBOX_ACTION.VF2GUC_QUERY_SINGLE_KLV, querySingleKlv],
  [MAILBOX_ACTION.GET_HWCONFIG, getHwconfig],
  [MAILBOX_ACTION.HOST2GUC_SELF_CFG, selfCfg],
  [MAILBOX_ACTION.HOST2GUC_CONTROL_CTB, controlCtb],
  [MAILBOX_ACTION.VF2GUC_RESFIX_START, resfixStart],
  [MAILBOX_ACTION.VF2GUC_RESFIX_DONE, resfixDone],
]);

/** Minor version from which drivers ask for paging engines. */
const ABI_MINOR_WITH_PAGING_ENGINES = 36;

const DONE: MailboxAnswer = { value: 0 };

function vfReset({ vf, scheduler }: VfSession): MailboxAnswer {
  scheduler.reset(vf.vfid);
  vf.resetRuntime();
  return DONE;
}

/** [1] address low, [2] high, [3] size in bytes; all zero asks for the size. Main GT only. */
function getHwconfig({ guc, host }: VfSession, message: Uint32Array): MailboxAnswer {
  const { hwconfig } = guc;
  if (hwconfig === undefined)
    throw new GucError(GUC_RESPONSE.NOT_SUPPORTED, 'the main GT has the configuration table');
  const address = (message[1] as number) + (message[2] as number) * TWO_32;
  const size = message[3] as number;
  if (address === 0 && size === 0) return { value: hwconfig.length };
  if (size < hwconfig.length)
    throw new GucError(GUC_RESPONSE.INVALID_SIZE, `${size} of ${hwconfig.length} bytes`);
  if (!host.memory.write(address, hwconfig))
    throw new GucError(GUC_RESPONSE.INVALID_GGTT_ADDRESS, `address 0x${address.toString(16)}`);
  return { value: hwconfig.length };
}

function matchVersion(session: VfSession, message: Uint32Array): MailboxAnswer {
  const { vf, guc } = session;
  const wanted = message[1] as number;
  const [branch, major, minor] = [wanted >>> 24, (wanted >>> 16) & 0xff, (wanted >>> 8) & 0xff];
  const { abi } = guc;
  // Zero means any.
  const fits = branch === 0 && (major === 0 || (major === abi.major && minor <= abi.minor));
  if (!fits || (wanted & 0xff) !== 0)
    throw new GucError(GUC_RESPONSE.UNSUPPORTED_VERSION, `interface ${branch}.${major}.${minor}`);
  vf.runtime.handshake = abi;
  noteStart(session);
  return { value: 0, data: [(abi.major << 16) | (abi.minor << 8) | abi.patch] };
}

function querySingleKlv(session: VfSession, message: Uint32Array): MailboxAnswer {
  const key = message[1] as number;
  if (key === VF_CFG_KLV.GGTT_START.key) session.host.ggttAsked();
  const value = queryKlv(session, key);
  if (value === undefined)
    throw new GucError(GUC_RESPONSE.INVALID_KLV_KEY, `key 0x${key.toString(16)}`);
  return { value: value.length, data: value };
}

function queryKlv({ vf, guc, scheduler }: VfSession, key: number): readonly number[] | undefined {
  const { GGTT_START, GGTT_SIZE, LMEM_SIZE, NUM_CONTEXTS, TILE_MASK, NUM_DOORBELLS } = VF_CFG_KLV;
  switch (key) {
    case GGTT_START.key:
    case GGTT_SIZE.key:
      return vf.config.get(key) ?? [0, 0];
    case LMEM_SIZE.key:
      if (!guc.discrete || guc.gt.type !== 'main') return undefined;
      return vf.config.get(key) ?? [0, 0];
    case NUM_CONTEXTS.key:
    case NUM_DOORBELLS.key:
      return vf.config.get(key) ?? [0];
    case TILE_MASK.key:
      return vf.config.get(key) ?? [1 << guc.gt.tileId];
    case GLOBAL_CFG_KLV.GMD_ID:
      return [guc.gt.gmdId];
    case GLOBAL_CFG_KLV.GROUP_SCHEDULING_AVAILABLE:
      return [scheduler.isGrouped ? 1 : 0];
    case GLOBAL_CFG_KLV.NUM_PAGING_ENGINE_INSTANCES:
      // Binds go to an ordinary copy engine, as they do without the key.
      return guc.abi.minor < ABI_MINOR_WITH_PAGING_ENGINES ? undefined : [0];
    default:
      return undefined;
  }
}

function selfCfg(session: VfSession, message: Uint32Array): MailboxAnswer {
  const [key, length] = [(message[1] as number) >>> 16, (message[1] as number) & 0xffff];
  const spec = Object.values(SELF_CFG_KLV).find((candidate) => candidate.key === key);
  // The driver is told that the key was not recognised, not that it failed.
  if (spec === undefined) return { value: 0 };
  if (spec.length !== length) throw new GucError(GUC_RESPONSE.INVALID_KLV_DATA, 'a wrong length');
  const value = (message[2] as number) + (length === 2 ? (message[3] as number) * TWO_32 : 0);
  applySelfCfg(session, key, value);
  noteStart(session);
  return { value: 1 };
}

function applySelfCfg({ vf, host }: VfSession, key: number, value: number): void {
  const { runtime } = vf;
  const address = () => {
    if (!host.memory.contains(value, 1))
      throw new GucError(GUC_RESPONSE.INVALID_GGTT_ADDRESS, `address 0x${value.toString(16)}`);
    return value;
  };
  const size = () => {
    if (value === 0 || value % 4096 !== 0 || value > 16 * 2 ** 20)
      throw new GucError(GUC_RESPONSE.INVALID_SIZE, `CTB size ${value}`);
    return value;
  };
  switch (key) {
    case SELF_CFG_KLV.MEMIRQ_STATUS_ADDR.key:
      runtime.memirqStatus = address();
      break;
    case SELF_CFG_KLV.MEMIRQ_SOURCE_ADDR.key:
      runtime.memirqSource = address();
      break;
    case SELF_CFG_KLV.H2G_CTB_ADDR.key:
      runtime.h2g.address = address();
      break;
    case SELF_CFG_KLV.H2G_CTB_DESCRIPTOR_ADDR.key:
      runtime.h2g.descriptor = address();
      break;
    case SELF_CFG_KLV.H2G_CTB_SIZE.key:
      runtime.h2g.size = size();
      break;
    case SELF_CFG_KLV.G2H_CTB_ADDR.key:
      runtime.g2h.address = address();
      break;
    case SELF_CFG_KLV.G2H_CTB_DESCRIPTOR_ADDR.key:
      runtime.g2h.descriptor = address();
      break;
    case SELF_CFG_KLV.G2H_CTB_SIZE.key:
      runtime.g2h.size = size();
      break;
  }
}

function controlCtb(session: VfSession, message: Uint32Array): MailboxAnswer {
  if (message[1] === 0) session.vf.runtime.ctbEnabled = false;
  else startCtb(session);
  noteStart(session);
  return DONE;
}

/**
 * A driver may be in the recovery from an earlier move when it is interrupted for this one. What it
 * begins after that covers both, so the interrupt is taken back; where it had been seen already, the
 * driver begins once more when it is done, and refusing that would end it for good.
 */
function resfixStart(session: VfSession, message: Uint32Array): MailboxAnswer {
  const { fixup, vfid } = session.vf;
  const marker = hxgData0(message[0] as number);
  if (marker === 0) throw new GucError(GUC_RESPONSE.INVALID_PARAMS, 'the marker is zero');
  if (!fixup.blocked && !fixup.told)
    throw new GucError(GUC_RESPONSE.INVALID_STATE, 'nothing to fix up');
  if (!fixup.blocked) session.scheduler.pause(vfid);
  fixup.blocked = true;
  fixup.marker = marker;
  session.takeBack(GUC_INTR.SW_INT_0);
  return DONE;
}

function resfixDone(session: VfSession, message: Uint32Array): MailboxAnswer {
  const { vf, pf, scheduler, ccs } = session;
  if (!vf.fixup.blocked) throw new GucError(GUC_RESPONSE.INVALID_STATE, 'nothing to fix up');
  const { handshake } = vf.runtime;
  const usesMarkers = (handshake?.minor ?? VF_ABI_MIGRATION.minor) >= VF_ABI_MIGRATION.minor;
  const marker = hxgData0(message[0] as number);
  // Another marker, or none yet: the VF was migrated again since it began.
  if (marker !== vf.fixup.marker || (usesMarkers && marker === 0))
    throw new GucError(GUC_RESPONSE.VF_MIGRATED, 'the VF was migrated again');
  vf.fixup.blocked = false;
  vf.fixup.marker = 0;
  dropOutdated(session);
  // The answers to page faults were lost on the way: what faulted is tried again.
  for (const { run } of vf.runtime.contexts.values()) {
    run.faults.length = 0;
    run.disabling = false;
  }
  ccs.restore(session);
  scheduler.resume(session);
  pf.notify(VF_NOTIFY.FIXUP_DONE);
  return DONE;
}
