/**
 * Messages between the PF and the drivers of its VFs, which firmware carries.
 *
 * Source: drivers/gpu/drm/xe/xe_guc_relay.c.
 */
import { Fault, toFault } from '../base/fault.ts';
import { HXG_ORIGIN, HXG_TYPE, hxgData0, hxgFromGuc, hxgRequest, hxgType } from '../xe/guc/hxg.ts';
import { CTB_MAX_DWORDS, PF2GUC_ACTION, RELAY_HEADER_DWORDS } from '../xe/guc/pf-actions.ts';
import type { Executor } from './gt-control.ts';
import type { GtPort } from './ports.ts';

/** A relay's surroundings. */
export interface RelayOptions {
  readonly gt: GtPort;
  readonly totalVfs: number;
  readonly executor: Executor;
  /** Answers a VF's request. @throws {Fault} what the VF is refused with */
  readonly process: (vfid: number, message: readonly number[]) => number[];
  /** Told when a request was refused or an answer could not be sent. */
  readonly failed: (cause: Fault) => void;
}

/**
 * The answer to a request that failed. Like Linux outside of debug builds it does not tell the VF
 * why (GUC_RELAY_ERROR_UNDISCLOSED).
 */
const UNDISCLOSED = ((HXG_ORIGIN.HOST << 31) | (HXG_TYPE.RESPONSE_FAILURE << 28)) >>> 0;

/** The relay of one GT. */
export class PfRelay {
  readonly #options: RelayOptions;

  constructor(options: RelayOptions) {
    this.#options = options;
  }

  /**
   * Takes GUC2PF_RELAY_FROM_VF and answers later.
   * @throws {Fault} EPROTO when it is too short or not a host's message, EMSGSIZE when too long,
   * EPFNOSUPPORT when a reserved field is set, ENOENT for a VF that cannot be, EBADRQC for an unknown
   * type, ESRCH for an answer that nobody awaits
   */
  fromVf(message: readonly number[]): void {
    const [outer = 0, vfid = 0, relayId = 0, header] = message;
    if (message.length < RELAY_HEADER_DWORDS || header === undefined)
      throw new Fault('EPROTO', `a relay message of ${message.length} dwords`);
    if (message.length > CTB_MAX_DWORDS)
      throw new Fault('EMSGSIZE', `a relay message of ${message.length} dwords`);
    if (hxgData0(outer) !== 0)
      throw new Fault('EPFNOSUPPORT', 'a relay message with a reserved field set');
    if (vfid === 0 || vfid > this.#options.totalVfs)
      throw new Fault('ENOENT', `a relay message of VF${vfid}`);
    if (hxgFromGuc(header))
      throw new Fault('EPROTO', `a relayed message of VF${vfid} is firmware's`);
    this.#dispatch(vfid, relayId, message.slice(RELAY_HEADER_DWORDS));
  }

  #dispatch(vfid: number, relayId: number, message: readonly number[]): void {
    const type = hxgType(message[0] as number);
    switch (type) {
      case HXG_TYPE.REQUEST:
      case HXG_TYPE.FAST_REQUEST:
      case HXG_TYPE.EVENT:
        return this.#options.executor(() => this.#handle(type, vfid, relayId, message));
      case HXG_TYPE.RESPONSE_SUCCESS:
      case HXG_TYPE.RESPONSE_FAILURE:
      case HXG_TYPE.NO_RESPONSE_BUSY:
      case HXG_TYPE.NO_RESPONSE_RETRY:
        throw new Fault('ESRCH', `VF${vfid} answered what nobody asked`);
      default:
        throw new Fault('EBADRQC', `VF${vfid} sent a message of type ${type}`);
    }
  }

  #handle(type: number, vfid: number, relayId: number, message: readonly number[]): void {
    const { process, failed } = this.#options;
    try {
      if (type !== HXG_TYPE.REQUEST)
        throw new Fault('EOPNOTSUPP', `VF${vfid} sent a message of type ${type}`);
      this.#send(vfid, relayId, process(vfid, message));
    } catch (error) {
      failed(toFault(error));
      try {
        this.#send(vfid, relayId, [UNDISCLOSED]);
      } catch (cause) {
        failed(toFault(cause));
      }
    }
  }

  #send(vfid: number, relayId: number, message: readonly number[]): void {
    const header = hxgRequest(PF2GUC_ACTION.RELAY_TO_VF.action);
    const value = this.#options.gt.guc.send([header, vfid, relayId, ...message]);
    if (value !== 0) throw new Fault('EPROTO', `firmware answered a relay message with ${value}`);
  }
}
