/** Sockets of a migration between hosts: TCP, or TLS 1.3 by which each end proves who it is. */
import {
  type AddressInfo,
  createServer,
  connect as netConnect,
  type Server,
  type Socket,
} from 'node:net';
import { createServer as createTlsServer, connect as tlsConnect } from 'node:tls';
import { isErrnoName } from '../base/errno.ts';
import { Fault } from '../base/fault.ts';
import { formatNetworkAddress, type NetworkAddress, type TlsIdentity } from './network-address.ts';

/** Connections that may wait for their first frame; a stranger can hold no more. */
const MAX_CONNECTIONS = 64;

/** What a call of node:net or node:tls failed with, as a Fault that names the address. */
export function networkFault(error: unknown, what: string): Fault {
  if (error instanceof Fault) return error;
  const { code = '', message } = error as NodeJS.ErrnoException;
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return new Fault('ENOENT', `${what}: there is no host of this name`, { cause: error });
  if (isErrnoName(code))
    return new Fault(code, `${what}: ${reasonOf(code, message)}`, { cause: error });
  // What OpenSSL and Node's own checks of certificates say.
  return new Fault('EKEYREJECTED', `${what}: TLS failed: ${message.trim()}`, {
    cause: error,
    hint: 'check the certificates, their CA and the names in them on both ends',
  });
}

function reasonOf(code: string, message: string): string {
  if (code === 'ECONNREFUSED') return 'nobody listens there';
  if (code === 'ECONNRESET' || code === 'EPIPE') return 'the connection was cut';
  return message;
}

/**
 * Connects.
 *
 * @param timeoutMs for the connection and the handshake
 * @throws {Fault} ECONNREFUSED, EHOSTUNREACH, ENOENT for an unknown host, ETIMEDOUT; EKEYREJECTED when
 * one end does not accept the other's certificate
 */
export function connectSocket(
  address: NetworkAddress,
  identity: TlsIdentity | undefined,
  timeoutMs: number,
): Promise<Socket> {
  const { host, port } = address;
  const what = formatNetworkAddress(address);
  return new Promise((resolve, reject) => {
    const name = identity?.hostname;
    const socket =
      identity === undefined
        ? netConnect({ host, port })
        : tlsConnect({
            host,
            port,
            cert: identity.cert,
            key: identity.key,
            ca: identity.ca,
            minVersion: 'TLSv1.3',
            ...(name === undefined ? {} : { servername: name }),
          });
    const fail = (error: unknown) => {
      clearTimeout(timer);
      socket.destroy();
      reject(networkFault(error, what));
    };
    const timer = setTimeout(
      () => fail(new Fault('ETIMEDOUT', `${what}: no answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    socket.once('error', fail);
    socket.once(identity === undefined ? 'connect' : 'secureConnect', () => {
      clearTimeout(timer);
      socket.off('error', fail);
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}

/** A listening socket. */
export interface Listener {
  /** Where it listens, with the port that the system chose for port 0. */
  readonly address: NetworkAddress;
  /** Takes no more connections; those that are there stay. Idempotent. */
  close(): void;
}

/**
 * Listens; with TLS a connection is handed over only when its certificate was accepted.
 *
 * @throws {Fault} EADDRINUSE, EACCES, EADDRNOTAVAIL; EKEYREJECTED for files that are no certificates
 */
export function listenSocket(
  address: NetworkAddress,
  identity: TlsIdentity | undefined,
  onSocket: (socket: Socket) => void,
): Promise<Listener> {
  const what = formatNetworkAddress(address);
  return new Promise((resolve, reject) => {
    let server: Server;
    const take = (socket: Socket) => {
      socket.setNoDelay(true);
      onSocket(socket);
    };
    try {
      server =
        identity === undefined
          ? createServer({ noDelay: true }, take)
          : createTlsServer(
              {
                cert: identity.cert,
                key: identity.key,
                ca: identity.ca,
                minVersion: 'TLSv1.3',
                requestCert: true,
                rejectUnauthorized: true,
                handshakeTimeout: 10_000,
              },
              take,
            );
    } catch (error) {
      reject(networkFault(error, what));
      return;
    }
    server.maxConnections = MAX_CONNECTIONS;
    server.once('error', (error) => reject(networkFault(error, what)));
    server.listen(address.port, address.host, () => {
      const { port } = server.address() as AddressInfo;
      resolve({ address: { ...address, port }, close: () => server.close() });
    });
  });
}
