/** Stream sockets in the file system, with descriptors in messages. Source: unix(7), socket(7). */

import { fchmodSync } from 'node:fs';
import { ERRNO } from '../base/errno.ts';
import { Fault } from '../base/fault.ts';
import { closeFd, scratchPage, setBlocking } from './descriptor.ts';
import { checked, lastErrno, libc, systemFault } from './libc.ts';
import { SocketIo } from './socket-io.ts';

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO = {
  SNDBUF: 7,
  RCVBUF: 8,
  PEERCRED: 17,
  RCVTIMEO: 20,
  SNDTIMEO: 21,
  ACCEPTCONN: 30,
} as const;
const SHUT = { RD: 0, WR: 1, RDWR: 2 } as const;
/** `sizeof(sun_path)`, the terminating NUL included. */
const PATH_SIZE = 108;

/** Only the user who serves may connect. */
const SOCKET_MODE = 0o600;

/** What {@link UnixSocket.receive} returned. */
export interface Received {
  /** Bytes that came; 0 when the peer has closed. */
  readonly length: number;
  /** Descriptors that came with them, close-on-exec; the receiver's to close. */
  readonly fds: readonly number[];
}

function writeAddress(path: string): { address: number; length: number } {
  const bytes = new TextEncoder().encode(path);
  if (bytes.length === 0 || bytes.length >= PATH_SIZE || bytes.includes(0))
    throw new Fault('EINVAL', `"${path}" cannot be a socket path: it has ${bytes.length} bytes`, {
      hint: `a socket path has 1 to ${PATH_SIZE - 1} bytes; use a shorter directory`,
    });
  const { address, view } = scratchPage();
  view.setUint16(0, AF_UNIX, true);
  for (const [index, byte] of bytes.entries()) view.setUint8(2 + index, byte);
  view.setUint8(2 + bytes.length, 0);
  return { address, length: 2 + bytes.length + 1 };
}

/** A connected or listening stream socket. */
export class UnixSocket implements Disposable {
  #fd: number;
  #io: SocketIo | undefined;

  /** Takes over descriptor `fd`. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  static #create(flags = 0): UnixSocket {
    const kind = SOCK_STREAM | SOCK_CLOEXEC | flags;
    return new UnixSocket(checked(libc.socket(AF_UNIX, kind, 0), 'create a socket'));
  }

  /**
   * Listens at `path`, which must not exist; its mode is 0600.
   *
   * @param backlog connections that may wait for {@link accept}
   * @throws {Fault} EADDRINUSE, EACCES, ENOENT, EINVAL for a path that is too long
   */
  static listen(path: string, backlog = 16): UnixSocket {
    const socket = UnixSocket.#create(SOCK_NONBLOCK);
    try {
      const { address, length } = writeAddress(path);
      // The file takes its mode from the socket; after bind(2) it could be opened before a chmod.
      fchmodSync(socket.#fd, SOCKET_MODE);
      checked(libc.bind(socket.#fd, address, length), `listen at ${path}`);
      checked(libc.listen(socket.#fd, backlog), `listen at ${path}`);
      return socket;
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  /**
   * Connects to the socket at `path` without waiting for its backlog; the socket is blocking.
   *
   * @throws {Fault} ENOENT, ECONNREFUSED, EACCES; EAGAIN when the backlog is full
   */
  static connect(path: string): UnixSocket {
    const socket = UnixSocket.#create(SOCK_NONBLOCK);
    try {
      const { address, length } = writeAddress(path);
      if (libc.connect(socket.#fd, address, length) < 0) {
        const errno = lastErrno();
        const hint =
          errno === ERRNO.ENOENT || errno === ERRNO.ECONNREFUSED
            ? 'start the server first, with `xe-vfio serve --socket PATH`'
            : undefined;
        throw systemFault(errno, `connect to ${path}`, hint);
      }
      setBlocking(socket.#fd, true);
      return socket;
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  /** Two sockets connected to each other. @throws {Fault} EMFILE */
  static pair(): [UnixSocket, UnixSocket] {
    const { address, view } = scratchPage();
    checked(libc.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, address), 'socketpair');
    return [new UnixSocket(view.getInt32(0, true)), new UnixSocket(view.getInt32(4, true))];
  }

  /** The descriptor, borrowed; -1 once closed. */
  get fd(): number {
    return this.#fd;
  }

  /**
   * The next waiting connection of a listening socket, which is blocking itself.
   *
   * @returns undefined when none waits (or the one that did has gone)
   * @throws {Fault} EMFILE, ENFILE ...
   */
  accept(): UnixSocket | undefined {
    const fd = libc.accept4(this.#fd, 0, 0, SOCK_CLOEXEC);
    if (fd >= 0) return new UnixSocket(fd);
    const errno = lastErrno();
    const gone: readonly number[] = [ERRNO.EAGAIN, ERRNO.ECONNABORTED, ERRNO.EINTR];
    if (gone.includes(errno)) return undefined;
    throw systemFault(errno, 'accept a connection');
  }

  /** True for a socket that accepts connections. */
  get isListening(): boolean {
    const { address, view } = scratchPage();
    view.setInt32(0, 0, true);
    view.setUint32(16, 4, true);
    libc.getsockopt(this.#fd, SOL_SOCKET, SO.ACCEPTCONN, address, address + 16);
    return view.getInt32(0, true) !== 0;
  }

  /** The peer's process and user at the time of its connect. @throws {Fault} EBADF */
  peerCredentials(): { readonly pid: number; readonly uid: number; readonly gid: number } {
    const { address, view } = scratchPage();
    view.setUint32(16, 12, true);
    checked(
      libc.getsockopt(this.#fd, SOL_SOCKET, SO.PEERCRED, address, address + 16),
      'ask for the peer of a socket',
    );
    return {
      pid: view.getInt32(0, true),
      uid: view.getUint32(4, true),
      gid: view.getUint32(8, true),
    };
  }

  /** Asks for kernel buffers of `bytes` each way; the system's limits apply. */
  setBufferSize(bytes: number): void {
    const { address, view } = scratchPage();
    view.setInt32(0, bytes, true);
    libc.setsockopt(this.#fd, SOL_SOCKET, SO.SNDBUF, address, 4);
    libc.setsockopt(this.#fd, SOL_SOCKET, SO.RCVBUF, address, 4);
  }

  /** How long a blocking receive waits before it returns EAGAIN; 0 waits for ever. */
  setReceiveTimeout(timeoutMs: number): void {
    this.#setTimeout(SO.RCVTIMEO, timeoutMs);
  }

  /** How long a blocking send waits before it returns EAGAIN; 0 waits for ever. */
  setSendTimeout(timeoutMs: number): void {
    this.#setTimeout(SO.SNDTIMEO, timeoutMs);
  }

  #setTimeout(option: number, timeoutMs: number): void {
    const { address, view } = scratchPage();
    view.setBigInt64(0, BigInt(Math.floor(timeoutMs / 1000)), true);
    view.setBigInt64(8, BigInt(Math.round((timeoutMs % 1000) * 1000)), true);
    checked(libc.setsockopt(this.#fd, SOL_SOCKET, option, address, 16), 'set a socket timeout');
  }

  /** Ends sending and receiving (or one of them); wakes whoever is blocked on the socket. */
  shutdown(how: keyof typeof SHUT = 'RDWR'): void {
    libc.shutdown(this.#fd, SHUT[how]);
  }

  #messages(): SocketIo {
    this.#io ??= new SocketIo(this.#fd);
    return this.#io;
  }

  /**
   * Sends all of `bytes`, blocking, with `fds` beside the first of them. Not for hot paths.
   *
   * @throws {Fault} EPIPE, ECONNRESET, EAGAIN after the send timeout
   */
  send(bytes: Uint8Array, fds: readonly number[] = []): void {
    const io = this.#messages();
    let sent = 0;
    do {
      const part = bytes.subarray(sent, sent + io.tx.length);
      io.tx.set(part);
      const result = io.send(part.length, 0, sent === 0 ? fds : []);
      if (result < 0) throw systemFault(-result, 'send');
      sent += result;
    } while (sent < bytes.length);
  }

  /**
   * Receives what is there, at most `bytes.length`; blocks while there is nothing.
   *
   * @throws {Fault} ECONNRESET, EAGAIN after the receive timeout
   */
  receive(bytes: Uint8Array): Received {
    const io = this.#messages();
    const wanted = Math.min(bytes.length, io.rx.length);
    const length = io.receive(0, wanted, 0);
    if (length < 0) throw systemFault(-length, 'receive');
    bytes.set(io.rx.subarray(0, length));
    return { length, fds: io.takeFds() };
  }

  /** Idempotent. */
  close(): void {
    closeFd(this.#fd);
    this.#fd = -1;
    this.#io?.close();
    this.#io = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
