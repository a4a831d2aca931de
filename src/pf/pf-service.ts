/**
 * What the PF does for the drivers of its VFs: agree on a version, tell them fuse registers.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_pf_service.c, xe_gt_sriov_pf_service.c.
 */
import { Fault } from '../base/fault.ts';
import { HXG_ORIGIN, HXG_TYPE, hxgAction, hxgData0 } from '../xe/guc/hxg.ts';
import { RELAY_MSG_MAX_DWORDS, RELAY_VERSION, VF2PF_ACTION } from '../xe/guc/pf-actions.ts';
import { MEDIA_GT_GSI_OFFSET } from '../xe/registers.ts';
import type { GtPort } from './ports.ts';
import { RUNTIME_REGISTER, runtimeRegisters } from './runtime-registers.ts';

/** A version of the VF/PF interface. */
export interface RelayVersion {
  readonly major: number;
  readonly minor: number;
}

/** Dwords of both requests, and of an answer to QUERY_RUNTIME before its registers. */
const REQUEST_DWORDS = 2;
const RUNTIME_ANSWER_DWORDS = 2;
const REGISTER_DWORDS = 2;

/**
 * The version that VF and PF share.
 * @param wanted 0.0 for any
 * @throws {Fault} EPERM for a version below the base, ENOPKG for an older major
 */
export function negotiateVersion(wanted: RelayVersion): RelayVersion {
  const { BASE: base, LATEST: latest } = RELAY_VERSION;
  if (wanted.major === 0 && wanted.minor === 0) return latest;
  if (wanted.major > latest.major) return latest;
  if (wanted.major < base.major || (wanted.major === base.major && wanted.minor < base.minor))
    throw new Fault('EPERM', `version ${wanted.major}.${wanted.minor} is too old`);
  if (wanted.major < latest.major)
    throw new Fault('ENOPKG', `version ${wanted.major} is not spoken any more`);
  return { major: wanted.major, minor: Math.min(wanted.minor, latest.minor) };
}

/** Header of the PF's success with `value`. */
function success(value: number): number {
  return ((HXG_ORIGIN.HOST << 31) | (HXG_TYPE.RESPONSE_SUCCESS << 28) | value) >>> 0;
}

/** The PF's services for VFs. */
export class PfService {
  readonly #registers: readonly number[];
  readonly #agreed: (vfid: number, version: RelayVersion) => void;
  readonly #versions = new Map<number, RelayVersion>();

  /**
   * @param agreed told when a VF's driver agreed on a version
   * @throws {Fault} ENOPKG for a graphics version without a table of registers
   */
  constructor(verx100: number, agreed: (vfid: number, version: RelayVersion) => void) {
    this.#registers = runtimeRegisters(verx100).map((name) => RUNTIME_REGISTER[name]);
    this.#agreed = agreed;
  }

  /** The version that a VF's driver agreed on, undefined before it did. */
  version(vfid: number): RelayVersion | undefined {
    return this.#versions.get(vfid);
  }

  /** Goes on with what a VF's driver agreed on with another PF, undefined for nothing. */
  carry(vfid: number, version: RelayVersion | undefined): void {
    if (version === undefined) this.#versions.delete(vfid);
    else this.#versions.set(vfid, negotiateVersion(version));
  }

  /** Forgets what a VF's driver agreed on. */
  reset(vfid: number): void {
    this.#versions.delete(vfid);
  }

  /**
   * Answers a request of a VF that came through `gt`.
   * @param message dwords, HXG header first
   * @returns the answer's dwords
   * @throws {Fault} EOPNOTSUPP for an unknown action, EMSGSIZE, EPROTO, EPFNOSUPPORT for a malformed
   * request, EPERM, EACCES before a handshake, ERANGE
   */
  process(gt: GtPort, vfid: number, message: readonly number[]): number[] {
    const action = hxgAction(message[0] ?? 0);
    if (action === VF2PF_ACTION.HANDSHAKE) return this.#handshake(vfid, message);
    if (action === VF2PF_ACTION.QUERY_RUNTIME) return this.#queryRuntime(gt, vfid, message);
    throw new Fault('EOPNOTSUPP', `VF${vfid} asked for unknown action 0x${action.toString(16)}`);
  }

  #handshake(vfid: number, message: readonly number[]): number[] {
    const [header = 0, wanted = 0] = message;
    if (message.length !== REQUEST_DWORDS)
      throw new Fault('EMSGSIZE', `a handshake of ${message.length} dwords`);
    if (hxgData0(header) !== 0)
      throw new Fault('EPFNOSUPPORT', 'a handshake with a reserved field set');
    this.#versions.delete(vfid);
    const version = negotiateVersion({ major: wanted >>> 16, minor: wanted & 0xffff });
    this.#versions.set(vfid, version);
    this.#agreed(vfid, version);
    return [success(0), ((version.major << 16) | version.minor) >>> 0];
  }

  #queryRuntime(gt: GtPort, vfid: number, message: readonly number[]): number[] {
    const [header = 0, start = 0] = message;
    if (this.version(vfid)?.major !== 1)
      throw new Fault('EACCES', `VF${vfid} has not agreed on a version`);
    if (message.length > REQUEST_DWORDS)
      throw new Fault('EMSGSIZE', `a query of ${message.length} dwords`);
    if (message.length < REQUEST_DWORDS)
      throw new Fault('EPROTO', `a query of ${message.length} dwords`);
    const total = this.#registers.length;
    if (start > total) throw new Fault('ERANGE', `register ${start} of ${total}`);
    const room = Math.floor((RELAY_MSG_MAX_DWORDS - RUNTIME_ANSWER_DWORDS) / REGISTER_DWORDS);
    const count = Math.min(total - start, hxgData0(header) || room, room);
    const answer = [success(count), total - start - count];
    const shift = gt.type === 'media' ? MEDIA_GT_GSI_OFFSET : 0;
    for (const offset of this.#registers.slice(start, start + count))
      answer.push(offset + shift, gt.readRegister?.(offset + shift) ?? 0);
    return answer;
  }
}
