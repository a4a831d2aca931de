/** Opening the connections of a session: HELLO and WELCOME on the control one, then the data ones. */
import { Fault } from '../base/fault.ts';
import type { BlockPool } from './block-pool.ts';
import type { NetworkAddress, TlsIdentity } from './network-address.ts';
import { NetworkConnection } from './network-connection.ts';
import { checkPayload, FRAME_TYPE, type FrameHeader } from './network-frame.ts';
import {
  decodeRefuse,
  decodeWelcome,
  encodeHello,
  type SessionKind,
  type Welcome,
} from './network-messages.ts';
import { connectSocket } from './network-socket.ts';
import type { VfProfile } from './vf-profile.ts';

/** A peer that is silent for so long is gone. */
export const SILENCE_MS = 5000;

/** Where to, and what for. */
export interface HandshakeOptions {
  readonly address: NetworkAddress;
  readonly identity?: TlsIdentity | undefined;
  readonly kind: SessionKind;
  /** Data connections, 1 to 16. */
  readonly streams: number;
  /** The VF at the receiver, as its user named it; undefined for whatever it offers. */
  readonly to?: string | undefined;
  readonly profile?: VfProfile | undefined;
  /** The session to go on with; undefined for a new one. */
  readonly token: string | undefined;
}

/** Who hears what comes once the receiver has said welcome. */
export interface HandshakeEvents {
  /** A frame on the control connection. */
  readonly onFrame: (header: FrameHeader, payload: Uint8Array) => void;
  readonly onClose: (fault: Fault, connection: NetworkConnection) => void;
  /** A data connection has room. */
  readonly onDrain: () => void;
}

/** The connections of a session. */
export interface OpenConnections {
  readonly control: NetworkConnection;
  readonly data: readonly NetworkConnection[];
  readonly welcome: Welcome;
}

/**
 * Connects, says hello, and attaches the data connections.
 *
 * @param opened takes every connection that is made, for closing them when this fails
 * @throws {Fault} ECONNREFUSED, EHOSTUNREACH, ETIMEDOUT, EKEYREJECTED ...; what the receiver refuses
 * with; EPROTO when it is none; ECONNRESET
 */
export async function openConnections(
  options: HandshakeOptions,
  pool: BlockPool,
  timeoutMs: number,
  opened: NetworkConnection[],
  { onFrame, onClose, onDrain }: HandshakeEvents,
): Promise<OpenConnections> {
  const { address, identity, streams } = options;
  const deadline = performance.now() + timeoutMs;
  const left = () => Math.max(deadline - performance.now(), 1);
  const { control, welcome } = await shakeHands(options, pool, left(), opened, onFrame, onClose);
  const data: NetworkConnection[] = [];
  for (let index = 0; index < streams; index++) {
    const socket = await connectSocket(address, identity, left());
    const connection: NetworkConnection = new NetworkConnection(socket, pool, {
      onFrame: () => connection.close(new Fault('EPROTO', 'a frame on a data connection')),
      onClose: (fault) => onClose(fault, connection),
      onDrain,
    });
    opened.push(connection);
    data.push(connection);
    connection.message(FRAME_TYPE.ATTACH, index, Buffer.from(welcome.token, 'hex'));
  }
  if (opened.some(({ closed }) => closed)) throw new Fault('ECONNRESET', 'cut at once');
  return { control, data, welcome };
}

async function shakeHands(
  { address, identity, kind, streams, to, profile, token }: HandshakeOptions,
  pool: BlockPool,
  timeoutMs: number,
  opened: NetworkConnection[],
  onFrame: HandshakeEvents['onFrame'],
  onClose: HandshakeEvents['onClose'],
): Promise<{ readonly control: NetworkConnection; readonly welcome: Welcome }> {
  const socket = await connectSocket(address, identity, timeoutMs);
  return await new Promise((resolve, reject) => {
    let fault: Fault | undefined;
    const timer = setTimeout(
      () => control.close(new Fault('ETIMEDOUT', 'the receiver does not answer')),
      timeoutMs,
    );
    let welcomed = false;
    const control: NetworkConnection = new NetworkConnection(socket, pool, {
      onFrame: (header, payload) => {
        if (welcomed) return onFrame(header, payload);
        checkPayload(header, payload);
        if (header.type === FRAME_TYPE.REFUSE) fault = decodeRefuse(payload);
        if (header.type !== FRAME_TYPE.WELCOME)
          throw fault ?? new Fault('EPROTO', 'the peer does not answer as a receiver does');
        const welcome = decodeWelcome(payload);
        welcomed = true;
        clearTimeout(timer);
        control.watch(SILENCE_MS);
        resolve({ control, welcome });
      },
      onClose: (closed) => {
        clearTimeout(timer);
        if (welcomed) onClose(closed, control);
        else reject(closed);
      },
    });
    opened.push(control);
    control.message(FRAME_TYPE.HELLO, 0, encodeHello({ kind, streams, token, to, profile }));
  });
}
