/** The use cases migrate --via and receive: one VF goes from this host to another, or comes. */
import { Fault, MigrationFault, toFault } from '../base/fault.ts';
import type {
  MigrationEvent,
  MigrationResult,
  SessionOptions,
} from '../migration/migration-phase.ts';
import {
  checkSecurity,
  formatNetworkAddress,
  parseNetworkAddress,
  readTlsIdentity,
} from '../migration/network-address.ts';
import { FRAME_TYPE } from '../migration/network-frame.ts';
import type { NetworkLink } from '../migration/network-link.ts';
import { NetworkReceiver } from '../migration/network-receiver.ts';
import { encodeEvent, encodeReport } from '../migration/network-report.ts';
import type { SenderCounts } from '../migration/network-sender.ts';
import { listenSocket } from '../migration/network-socket.ts';
import { networkTarget } from '../migration/network-target.ts';
import { migrate } from '../migration/session.ts';
import { deviceEndpoint, parseEndpoint } from './endpoint.ts';
import { refuseOverrun } from './network-check.ts';
import { type NetworkOptions, openLink, type ViaOptions } from './network-link-options.ts';
import { askRefusal, explain, reportRollback } from './vf-connection.ts';
import { openVfEnd, type VfEnd } from './vf-end.ts';

/** What went over the network. */
export interface NetworkTraffic extends SenderCounts {
  /** Times that the connections were made again. */
  readonly resumptions: number;
}

/**
 * Moves the state of a served VF to the receiver at another host.
 *
 * @param to the VF that the receiver must offer; undefined for whatever it offers
 * @throws {Fault} when the VF or the receiver cannot be reached
 * @throws {MigrationFault} see {@link migrate}; ETIME when `maxDowntimeMs` is or would be over
 */
export async function migrateVia(
  from: string,
  to: string | undefined,
  options: ViaOptions & SessionOptions,
): Promise<MigrationResult & { readonly network: NetworkTraffic }> {
  const endpoint = deviceEndpoint(await parseEndpoint(from));
  const deadline = new DowntimeLimit(options.maxDowntimeMs);
  const signal =
    options.signal === undefined
      ? deadline.signal
      : AbortSignal.any([options.signal, deadline.signal]);
  const source = await openVfEnd(endpoint);
  let link: NetworkLink | undefined;
  let report: Uint8Array | undefined;
  try {
    link = await openLink(options, { kind: 'migrate', to, profile: source.profile, signal });
    const network = link;
    const { maxDowntimeMs, precopy = 'auto' } = options;
    if (maxDowntimeMs !== undefined) await refuseBefore(link, source, maxDowntimeMs, precopy);
    const onEvent = (event: MigrationEvent) => {
      deadline.hear(event);
      const payload = encodeEvent(event);
      if (payload !== undefined) network.tell(FRAME_TYPE.EVENT, payload);
      options.onEvent?.(event);
    };
    const result = await migrate(source, networkTarget(link), { ...options, signal, onEvent });
    report = encodeReport({ result });
    return { ...result, network: { ...link.sender.counts, resumptions: link.resumptions } };
  } catch (error) {
    if (!(error instanceof MigrationFault)) throw error;
    await source.close();
    const served = endpoint.kind === 'vfio-user' ? endpoint.path : undefined;
    const ours = served !== undefined && error.role === 'source';
    const fault = ours ? await explain(served, error) : error;
    report = encodeReport({ fault });
    if (served !== undefined) await reportRollback(served, fault);
    throw fault;
  } finally {
    deadline.close();
    await link?.close(report);
    await source.close();
  }
}

/** @throws {MigrationFault} ETIME; both ends report it, and neither was touched */
async function refuseBefore(
  link: NetworkLink,
  source: VfEnd,
  maxDowntimeMs: number,
  precopy: 'auto' | 'off',
): Promise<void> {
  try {
    await refuseOverrun(link, source.device, maxDowntimeMs, precopy);
  } catch (error) {
    const fault = toFault(error);
    const ends = { source: 'untouched', target: 'untouched' } as const;
    throw new MigrationFault(
      fault.code,
      `prepare: ${fault.message}`,
      { phase: 'prepare', role: 'tool', ends },
      { cause: fault, ...(fault.hint === undefined ? {} : { hint: fault.hint }) },
    );
  }
}

/** Calls a session off when its VF has been stopped for too long. */
class DowntimeLimit {
  readonly #maxMs: number | undefined;
  readonly #abort = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor(maxMs: number | undefined) {
    this.#maxMs = maxMs;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** The time runs from the phase in which the source is stopped. */
  hear(event: MigrationEvent): void {
    const maxMs = this.#maxMs;
    if (maxMs === undefined || event.type !== 'phase' || event.phase !== 'stop') return;
    const reason = `the VF would be stopped for more than the ${maxMs} ms that are allowed`;
    this.#timer = setTimeout(() => this.#abort.abort(new Fault('ETIME', reason)), maxMs);
  }

  close(): void {
    clearTimeout(this.#timer);
  }
}

/** What a receiver tells. */
export type ReceiveEvent =
  | { readonly type: 'listening'; readonly address: string }
  | MigrationEvent;

/** How a VF is received. */
export interface ReceiveOptions extends NetworkOptions {
  /** `tcp:ADDRESS:PORT` or `tls:ADDRESS:PORT`; port 0 for any that is free. */
  readonly listen: string;
  readonly signal: AbortSignal;
  readonly onEvent: (event: ReceiveEvent) => void;
}

/**
 * Receives one VF into the one served at `to`.
 *
 * @returns the source's report; undefined when the VF runs here but the source was not heard again
 * @throws {Fault} when the VF cannot be reached, or the address cannot be listened on
 * @throws {MigrationFault} when the VF did not come, with the cause that the source has too
 */
export async function receiveVf(
  to: string,
  options: ReceiveOptions,
): Promise<MigrationResult | undefined> {
  const { listen, tls, insecure, reconnectMs, signal, onEvent } = options;
  const endpoint = deviceEndpoint(await parseEndpoint(to));
  const { path } = endpoint;
  const isServed = endpoint.kind === 'vfio-user';
  const address = parseNetworkAddress(listen);
  checkSecurity(address, insecure);
  const identity = await readTlsIdentity(address, tls);
  const target = await openVfEnd(endpoint);
  try {
    const receiver = new NetworkReceiver({
      target,
      to: path,
      reconnectMs,
      signal,
      onEvent,
      explain: async (fault) =>
        (isServed ? await askRefusal(path, fault.code) : undefined) ?? fault,
    });
    const listener = await listenSocket(address, identity, (socket) => receiver.accept(socket));
    try {
      onEvent({ type: 'listening', address: formatNetworkAddress(listener.address) });
      const { report } = await receiver.ended;
      return report !== undefined && 'result' in report ? report.result : undefined;
    } finally {
      listener.close();
    }
  } catch (error) {
    await target.close();
    if (error instanceof MigrationFault && isServed) await reportRollback(path, error);
    throw error;
  } finally {
    await target.close();
  }
}
