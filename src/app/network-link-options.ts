/** How a receiver at another host is reached. */
import {
  checkSecurity,
  parseNetworkAddress,
  readTlsIdentity,
  type TlsFiles,
} from '../migration/network-address.ts';
import { type LinkOptions, NetworkLink } from '../migration/network-link.ts';

export { STREAMS_MAX } from '../migration/network-messages.ts';

/** How two hosts know each other. */
export interface NetworkOptions {
  readonly tls: TlsFiles;
  /** True when plain TCP may leave this machine. */
  readonly insecure: boolean;
  /** How long a cut connection is tried again. */
  readonly reconnectMs: number;
}

/** How a VF goes over the network. */
export interface ViaOptions extends NetworkOptions {
  /** `tcp:HOST:PORT` or `tls:HOST:PORT` of the receiver. */
  readonly via: string;
  readonly streams: number;
  /** Bytes a second. */
  readonly rateLimit?: number | undefined;
  readonly compress: boolean;
  /** Milliseconds for which the VF may be stopped. */
  readonly maxDowntimeMs?: number | undefined;
}

/**
 * Opens a link to a receiver.
 *
 * @throws {Fault} EINVAL for a bad address, EPERM for plain TCP that leaves this machine; see
 * {@link NetworkLink.open}
 */
export async function openLink(
  options: Omit<ViaOptions, 'maxDowntimeMs'>,
  rest: Pick<LinkOptions, 'kind' | 'to' | 'profile' | 'signal'>,
): Promise<NetworkLink> {
  const { via, tls, insecure, streams, rateLimit, compress, reconnectMs } = options;
  const address = parseNetworkAddress(via);
  checkSecurity(address, insecure);
  const identity = await readTlsIdentity(address, tls);
  return await NetworkLink.open({
    address,
    identity,
    streams,
    rateLimit,
    compress,
    reconnectMs,
    ...rest,
  });
}
