/** Connecting to a server and agreeing on a version. */
import { setTimeout as delay } from 'node:timers/promises';
import { Fault } from '../base/fault.ts';
import { closeFd } from '../sys/descriptor.ts';
import { UnixSocket } from '../sys/unix-socket.ts';
import {
  type Capabilities,
  decodeVersion,
  encodeVersion,
  type VersionMessage,
} from './capabilities.ts';
import { ClientLink } from './client-link.ts';
import { ClientMemory } from './client-memory.ts';
import { DEFAULT_LIMITS, PROTOCOL_VERSION, VFIO_USER } from './protocol.ts';

/** No server needs to be given more at once. */
const MOST_DATA = 64 * 2 ** 20;
/** Pause between two tries while a server's backlog is full. */
const RETRY_MS = 20;

/** How a client connects. */
export interface ClientOptions {
  /** Further capabilities to propose, such as `xe_vfio`. */
  readonly capabilities?: Readonly<Record<string, unknown>>;
  /** Greatest count of a data transfer that this side takes, bytes; 16 MiB unless given. */
  readonly maxDataXferSize?: number;
  /** Whether to ask for a socket of its own for the server's commands; not unless given. */
  readonly twinSocket?: boolean;
  /** Microseconds to spin for the reply of a synchronous call before blocking; 0 unless given. */
  readonly pollUs?: number;
  /** Time for connecting and for a reply, milliseconds; 10 s unless given. */
  readonly timeoutMs?: number;
  /** Time for a reset, a change of state or a piece of migration data; 120 s unless given. */
  readonly slowTimeoutMs?: number;
}

/** A negotiated connection. */
export interface Connected {
  readonly link: ClientLink;
  readonly memory: ClientMemory;
  readonly version: VersionMessage;
  readonly maxDataXferSize: number;
  readonly slowTimeoutMs: number;
}

async function connectSocket(path: string, timeoutMs: number): Promise<UnixSocket> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    try {
      return UnixSocket.connect(path);
    } catch (error) {
      const isFull = error instanceof Fault && error.code === 'EAGAIN';
      if (!isFull || performance.now() > end) throw error;
    }
    await delay(RETRY_MS);
  }
}

/** @throws {Fault} EPROTO when the reply is not what was proposed */
function checkReply(version: VersionMessage): void {
  const { major, minor } = version;
  if (major !== PROTOCOL_VERSION.major || minor > PROTOCOL_VERSION.minor)
    throw new Fault('EPROTO', `the server speaks version ${major}.${minor}`);
  if (version.capabilities.maxDataXferSize > MOST_DATA)
    throw new Fault('EPROTO', 'the server announces transfers above 64 MiB');
}

/** A connection on which nothing was said yet. */
export interface OpenedLink {
  /**
   * Negotiates; once.
   *
   * @param capabilities further ones to propose, such as `xe_vfio`
   * @throws {Fault} EBUSY, ETIMEDOUT, EPROTO, ECONNRESET; the connection is then closed
   */
  agree(capabilities?: ClientOptions['capabilities']): Promise<Connected>;
  /** Ends the connection. Idempotent. */
  close(): void;
}

/**
 * Connects without a word, so that what is said later is answered at once.
 *
 * @throws {Fault} ENOENT, ECONNREFUSED, EACCES, ETIMEDOUT
 */
export async function openLink(
  path: string,
  options: Omit<ClientOptions, 'capabilities'>,
): Promise<OpenedLink> {
  const { timeoutMs = 10_000, slowTimeoutMs = 120_000, pollUs = 0 } = options;
  const maxDataXferSize = options.maxDataXferSize ?? 16 * 2 ** 20;
  const socket = await connectSocket(path, timeoutMs);
  const memory = new ClientMemory(maxDataXferSize);
  const link = new ClientLink(socket, memory, { timeoutMs, pollUs });
  const proposal: Capabilities = {
    maxMsgFds: 16,
    maxDataXferSize,
    maxDmaMaps: DEFAULT_LIMITS.maxDmaMaps,
    pgsizes: DEFAULT_LIMITS.pgsizes,
    writeMultiple: true,
    twinSocket: options.twinSocket === true ? { supported: true } : undefined,
    role: undefined,
  };
  const agree = async (capabilities: ClientOptions['capabilities']) => {
    const { minor } = PROTOCOL_VERSION;
    const payload = encodeVersion(minor, proposal, undefined, capabilities);
    const reply = await link.request(VFIO_USER.VERSION, (view, at) => {
      new Uint8Array(view.buffer, view.byteOffset).set(payload, at);
      return payload.length;
    });
    const version = decodeVersion(reply.payload);
    checkReply(version);
    takeTwin(link, version.capabilities, reply.fds);
    return { link, memory, version, maxDataXferSize, slowTimeoutMs };
  };
  return {
    agree: async (capabilities) => {
      try {
        return await agree(capabilities);
      } catch (error) {
        link.close();
        throw error;
      }
    },
    close: () => link.close(),
  };
}

/**
 * Connects and negotiates.
 *
 * @throws {Fault} ENOENT, ECONNREFUSED, EACCES, EBUSY, ETIMEDOUT, EPROTO
 */
export async function connectLink(path: string, options: ClientOptions): Promise<Connected> {
  const { capabilities, ...others } = options;
  return await (await openLink(path, others)).agree(capabilities);
}

/** @throws {Fault} EPROTO when the twin socket is announced but is not there */
function takeTwin(link: ClientLink, { twinSocket }: Capabilities, fds: readonly number[]): void {
  const index = twinSocket?.supported === true ? (twinSocket.fdIndex ?? -1) : undefined;
  const twin = index === undefined ? undefined : fds[index];
  for (const fd of fds) if (fd !== twin) closeFd(fd);
  if (index === undefined) return;
  if (twin === undefined)
    throw new Fault('EPROTO', 'the server announces a twin socket and sends none');
  link.adoptTwin(twin);
}
