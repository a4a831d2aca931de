/**
 * Asks a server for something beside the protocol: the member `control` of the capability `xe_vfio` of
 * a migration client's VERSION message. Blocking; what comes back may bring a socket.
 */
import { Fault } from '../base/fault.ts';
import { closeFd } from '../sys/descriptor.ts';
import { UnixSocket } from '../sys/unix-socket.ts';
import { decodeVersion, encodeVersion } from './capabilities.ts';
import { CODECS } from './codecs.ts';
import { DEFAULT_LIMITS, HEADER_SIZE, MESSAGE, PROTOCOL_VERSION, VFIO_USER } from './protocol.ts';

/** Bytes of a VERSION reply beyond which it is none. */
const MAX_REPLY = 65536;

/** What a server answered. */
export interface ControlReply {
  /** The member `control` of its answer; undefined when it does not know what that is. */
  readonly told: unknown;
  /** Descriptors beside it, the caller's to close. */
  readonly fds: readonly number[];
}

/**
 * Asks the server at `path`.
 *
 * @param request JSON
 * @throws {Fault} ENOENT, ECONNREFUSED when nobody serves it; EAGAIN after the time-out; EPROTO
 */
export function requestControl(path: string, request: object, timeoutMs: number): ControlReply {
  using socket = UnixSocket.connect(path);
  socket.setReceiveTimeout(timeoutMs);
  socket.setSendTimeout(timeoutMs);
  const capabilities = {
    ...DEFAULT_LIMITS,
    maxMsgFds: 16,
    writeMultiple: false,
    twinSocket: undefined,
    role: 'migration' as const,
    extension: { control: request },
  };
  const payload = encodeVersion(PROTOCOL_VERSION.minor, capabilities);
  const message = new Uint8Array(HEADER_SIZE + payload.length);
  const header = { id: 1, command: VFIO_USER.VERSION, size: message.length, error: 0 };
  CODECS.header.write(new DataView(message.buffer), 0, { ...header, flags: MESSAGE.COMMAND });
  message.set(payload, HEADER_SIZE);
  socket.send(message);
  const { body, fds } = receiveReply(socket);
  try {
    return { told: decodeVersion(body).capabilities.extension?.['control'], fds };
  } catch (error) {
    for (const fd of fds) closeFd(fd);
    throw error;
  }
}

function receiveReply(socket: UnixSocket): { readonly body: Uint8Array; readonly fds: number[] } {
  const buffer = new Uint8Array(MAX_REPLY);
  const view = new DataView(buffer.buffer);
  const fds: number[] = [];
  let done = 0;
  try {
    for (;;) {
      const part = socket.receive(buffer.subarray(done));
      fds.push(...part.fds);
      done += part.length;
      if (part.length === 0) throw new Fault('EPROTO', 'the server closed in its first reply');
      if (done < HEADER_SIZE) continue;
      const { size, flags, error } = CODECS.header.read(view, 0);
      if ((flags & MESSAGE.ERROR) !== 0)
        throw new Fault('EPROTO', `the server refused: errno ${error}`);
      if (size > MAX_REPLY) throw new Fault('EPROTO', `a first reply of ${size} bytes`);
      if (done >= size) return { body: buffer.slice(HEADER_SIZE, size), fds };
    }
  } catch (error) {
    for (const fd of fds) closeFd(fd);
    throw error;
  }
}
