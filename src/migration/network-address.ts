/** Where a migration goes over the network, and who may see it on the way. */
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { Fault } from '../base/fault.ts';
import { fileFault } from './file-fault.ts';

/** `tcp:HOST:PORT` or `tls:HOST:PORT`. */
export interface NetworkAddress {
  readonly scheme: 'tcp' | 'tls';
  /** A name or an address, without the brackets of IPv6. */
  readonly host: string;
  /** 0 to 65535. */
  readonly port: number;
}

/** The files by which the two ends know each other; all three belong to TLS. */
export interface TlsFiles {
  /** Certificate of this end, PEM. */
  readonly cert?: string | undefined;
  /** Its private key, PEM. */
  readonly key?: string | undefined;
  /** Certificates that the other end's must be signed by, PEM. */
  readonly ca?: string | undefined;
  /** The name that the receiver's certificate must carry, when it is not the host's. */
  readonly hostname?: string | undefined;
}

/** What the files hold. */
export interface TlsIdentity {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer;
  readonly hostname: string | undefined;
}

/**
 * Understands `tcp:HOST:PORT` and `tls:HOST:PORT`; an IPv6 address stands in brackets.
 *
 * @throws {Fault} EINVAL for anything else
 * @example parseNetworkAddress('tcp:[::1]:4444') // { scheme: 'tcp', host: '::1', port: 4444 }
 */
export function parseNetworkAddress(text: string): NetworkAddress {
  const match = /^(tcp|tls):(?:\[([0-9a-f:.]+)\]|([^:[\]/\s]+)):(\d{1,5})$/i.exec(text);
  const port = Number(match?.[4]);
  const host = match?.[2] ?? match?.[3];
  if (match === null || host === undefined || port > 0xffff || (match[2] && isIP(host) !== 6))
    throw new Fault('EINVAL', `"${text}" is no network address`, {
      hint: 'write tcp:HOST:PORT or tls:HOST:PORT, IPv6 addresses in brackets',
    });
  return { scheme: match[1]?.toLowerCase() as NetworkAddress['scheme'], host, port };
}

/** An address as people write it. */
export function formatNetworkAddress({ scheme, host, port }: NetworkAddress): string {
  return `${scheme}:${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

/**
 * Refuses plain TCP that leaves this machine: the state of a VF is the guest's memory, and whoever
 * reaches the port could bring another one.
 *
 * @throws {Fault} EPERM unless the host is this machine's own loopback or `insecure` is set
 */
export function checkSecurity({ scheme, host }: NetworkAddress, insecure: boolean): void {
  if (scheme === 'tls' || insecure || isLoopback(host)) return;
  throw new Fault('EPERM', `plain TCP to ${host} would show the guest's memory to the network`, {
    hint: 'use tls: with --tls-cert, --tls-key and --tls-ca, or say --insecure',
  });
}

/** True for names and addresses that never leave this machine. */
function isLoopback(host: string): boolean {
  if (isIP(host) === 4) return host.startsWith('127.');
  return host === '::1' || host.toLowerCase() === 'localhost';
}

/**
 * Reads the files of TLS.
 *
 * @returns undefined for plain TCP
 * @throws {Fault} EINVAL when one is missing for TLS or given for TCP; ENOENT, EACCES ...
 */
export async function readTlsIdentity(
  { scheme }: NetworkAddress,
  { cert, key, ca, hostname }: TlsFiles,
): Promise<TlsIdentity | undefined> {
  if (scheme === 'tcp') {
    if ((cert ?? key ?? ca ?? hostname) === undefined) return undefined;
    throw new Fault('EINVAL', 'certificates are given, but the address says tcp:', {
      hint: 'write tls:HOST:PORT',
    });
  }
  if (cert === undefined || key === undefined || ca === undefined)
    throw new Fault('EINVAL', 'tls: needs a certificate, its key and the CA of the other end', {
      hint: 'give --tls-cert, --tls-key and --tls-ca: each end proves who it is',
    });
  const read = async (path: string) => {
    try {
      return await readFile(path);
    } catch (error) {
      throw fileFault(error, path);
    }
  };
  return { cert: await read(cert), key: await read(key), ca: await read(ca), hostname };
}
