/**
 * A vfio-user server: one device behind one socket.
 *
 * One client uses the device as a VMM does. Beside it any number of clients that say so in their
 * capabilities (`"xe_vfio": {"role": "migration"}`) may look at the device and, one at a time, move
 * its state.
 *
 * Source: QEMU docs/interop/vfio-user.rst.
 */
import { EventChannel } from '../base/event-channel.ts';
import { Fault } from '../base/fault.ts';
import { setBlocking } from '../sys/descriptor.ts';
import { POLL } from '../sys/poll.ts';
import { UnixSocket } from '../sys/unix-socket.ts';
import { VFIO_DEVICE_FLAGS } from '../vfio/uapi.ts';
import type { VfioDevice } from '../vfio/vfio-device.ts';
import { decodeVersion } from './capabilities.ts';
import { disableIrqs } from './command-irq.ts';
import type { ServerState } from './commands.ts';
import { Connection, type ConnectionHost } from './connection.ts';
import { MigrationSession } from './migration-session.ts';
import { NegotiatedClient, type ServerLimits } from './negotiation.ts';
import { commandName, DEFAULT_LIMITS, PROTOCOL_VERSION } from './protocol.ts';
import { RegionTable } from './region-io.ts';
import { demand } from './request.ts';
import { type Rewritten, rewriteDirty } from './rewrite-dirty.ts';
import type { ServerEvent } from './server-event.ts';
import type { LoopServer, LoopWatch, ServerLoop } from './server-loop.ts';
import { SocketPath } from './socket-path.ts';
import { VmmSlot } from './vmm-slot.ts';

/** Connections of one server at a time; more wait in the backlog. */
const MAX_CONNECTIONS = 32;

/** How a {@link VfioUserServer} serves. */
export interface VfioUserServerOptions extends Partial<ServerLimits> {
  /** What is served; the server does not close it. */
  readonly device: VfioDevice;
  /** The thread's loop. */
  readonly loop: ServerLoop;
  /** Where to listen; or {@link listenFd}. */
  readonly socketPath?: string;
  /** A listening or a connected socket, taken over. */
  readonly listenFd?: number;
  /**
   * Whether clients may offer memory that they can take away again (a memfd without F_SEAL_SHRINK,
   * as QEMU's is by default): touching that ends this process. Unless given, those of the same user
   * may. From others only sealed memory is mapped, the rest is reached by messages.
   */
  readonly trustClient?: boolean;
  /** How long a second VMM waits for the first one to leave before it is refused. */
  readonly patienceMs?: number;
  /** What clients that ask for it are told in the capability `xe_vfio`; JSON. */
  readonly extension?: (() => Readonly<Record<string, unknown>>) | undefined;
  /**
   * Answers the `request` that a migration client makes in the capability `xe_vfio` of its VERSION
   * message; what it returns goes into the capability of the reply.
   */
  readonly answer?: ((request: unknown) => Promise<Readonly<Record<string, unknown>>>) | undefined;
}

/** True when feature DMA_LOGGING is there: stopping what does not run changes nothing. */
function canLog(device: VfioDevice): boolean {
  try {
    device.dmaLoggingStop();
    return true;
  } catch (error) {
    return !(error instanceof Fault && error.code === 'ENOTTY');
  }
}

/** The server; it serves while its loop runs. */
export class VfioUserServer implements ConnectionHost, LoopServer {
  readonly loop: ServerLoop;
  /** Everything worth a log line. */
  readonly events = new EventChannel<ServerEvent>();
  readonly #state: ServerState;
  readonly #limits: ServerLimits;
  readonly #trustClient: boolean | undefined;
  readonly #answer: VfioUserServerOptions['answer'];
  readonly #path: SocketPath | undefined;
  readonly #listener: UnixSocket | undefined;
  #watch: LoopWatch | undefined;
  readonly #slot: VmmSlot;
  readonly #connections = new Set<Connection>();
  readonly #cleanups = new Set<Promise<void>>();
  #nextId = 1;
  #accepting = true;
  #resetDue = false;
  #closing: Promise<void> | undefined;

  /** @throws {Fault} EADDRINUSE when a server answers at the path; EACCES, ENOENT, EINVAL ... */
  constructor(options: VfioUserServerOptions) {
    const { device, loop, socketPath, listenFd } = options;
    this.loop = loop;
    this.#limits = {
      maxMsgFds: options.maxMsgFds ?? 16,
      maxDataXferSize: options.maxDataXferSize ?? DEFAULT_LIMITS.maxDataXferSize,
      maxMigrationXferSize: options.maxMigrationXferSize ?? 16 * 2 ** 20,
      maxDmaMaps: options.maxDmaMaps ?? DEFAULT_LIMITS.maxDmaMaps,
      dmaTimeoutMs: options.dmaTimeoutMs ?? 5000,
    };
    this.#trustClient = options.trustClient;
    this.#answer = options.answer;
    this.#slot = new VmmSlot(options.patienceMs ?? 1000);
    const greatest = Math.max(this.#limits.maxDataXferSize, this.#limits.maxMigrationXferSize);
    this.#state = {
      device,
      regions: new RegionTable(device, greatest),
      session: new MigrationSession(device),
      dmaLogging: canLog(device),
      extension: options.extension,
    };
    if (socketPath !== undefined) this.#path = new SocketPath(socketPath);
    this.#listener =
      this.#path?.socket ?? (listenFd === undefined ? undefined : new UnixSocket(listenFd));
    if (this.#listener === undefined) throw new TypeError('neither a socketPath nor a listenFd');
    loop.own(this);
    // A connection that was given up before its accept must not hold the thread.
    setBlocking(this.#listener.fd, !this.#listener.isListening);
    if (this.#listener.isListening)
      this.#watch = loop.watch(this.#listener.fd, POLL.IN, { ready: () => this.#accept() });
    else this.#adopt(this.#listener);
  }

  /** Where the server listens, undefined when it was given a descriptor. */
  get socketPath(): string | undefined {
    return this.#path?.path;
  }

  #accept(): void {
    if (this.#connections.size >= MAX_CONNECTIONS) {
      this.#accepting = false;
      this.#watch?.setEvents(0);
      return;
    }
    try {
      const socket = this.#listener?.accept();
      if (socket !== undefined) this.#adopt(socket);
    } catch (error) {
      this.events.emit({ type: 'error', connection: undefined, what: 'accept', error });
    }
  }

  #adopt(socket: UnixSocket): void {
    const id = this.#nextId++;
    socket.setBufferSize(4 * 2 ** 20);
    this.#connections.add(new Connection(this, id, socket));
    this.events.emit({ type: 'connected', connection: id });
  }

  #trust(connection: Connection): { readonly trusted: boolean; readonly reason: string } {
    if (this.#trustClient !== undefined)
      return { trusted: this.#trustClient, reason: 'as the server was told' };
    const { uid } = connection.socket.peerCredentials();
    const trusted = uid === process.getuid?.();
    return { trusted, reason: `the client's user is ${uid}` };
  }

  async negotiate(connection: Connection, payload: Uint8Array): Promise<NegotiatedClient> {
    const message = decodeVersion(payload);
    demand(
      message.major === PROTOCOL_VERSION.major,
      `protocol version ${message.major}.${message.minor} is not spoken here`,
    );
    const role = message.capabilities.role ?? 'vmm';
    if (role === 'vmm') {
      await this.#slot.take(connection);
      await this.#resetIfDue(connection);
    }
    if (connection.closed) {
      this.#slot.release(connection);
      throw new Fault('ECONNRESET', 'the client has gone');
    }
    const { trusted, reason } = this.#trust(connection);
    const { extension } = message.capabilities;
    const request = role === 'migration' ? extension?.['request'] : undefined;
    const told = request === undefined ? undefined : await this.#answer?.(request);
    const by = { trusted, told };
    const client = new NegotiatedClient(this.#state, this.#limits, message, connection, by);
    const { id } = connection;
    const { pid } = connection.socket.peerCredentials();
    const { minor } = client;
    this.events.emit({ type: 'negotiated', connection: id, role, minor, pid, extension });
    if (role === 'vmm') this.events.emit({ type: 'dma-trust', connection: id, trusted, reason });
    return client;
  }

  ended(connection: Connection, reason: string, operation: Promise<unknown>): void {
    const { client, id } = connection;
    this.#connections.delete(connection);
    this.#slot.leave(connection);
    this.events.emit({ type: 'disconnected', connection: id, reason });
    if (!this.#accepting && this.#closing === undefined) {
      this.#accepting = true;
      this.#watch?.setEvents(POLL.IN);
    }
    if (client === undefined) return this.#slot.release(connection);
    if (client.role === 'vmm') this.#forget(connection, client);
    client.close();
    const cleanup = operation.then(() => this.#cleanUp(connection, client));
    this.#cleanups.add(cleanup);
    this.loop.busy();
    void cleanup
      .catch((error: unknown) => this.report(connection, 'cleaning up', error))
      .finally(() => {
        this.#cleanups.delete(cleanup);
        this.#slot.release(connection);
        this.loop.idle();
      });
  }

  /** Takes interrupts and memory of a VMM that is gone away from the device, at once. */
  #forget(connection: Connection, client: NegotiatedClient): void {
    const { device, dmaLogging } = client.server;
    const steps: [string, () => void][] = [
      ['taking its interrupts away', () => disableIrqs(device)],
      ['taking its memory away', () => device.dmaUnmapAll()],
    ];
    if (dmaLogging) steps.push(['ending the log of DMA writes', () => device.dmaLoggingStop()]);
    for (const [what, step] of steps) {
      try {
        step();
      } catch (error) {
        this.report(connection, what, error);
      }
    }
  }

  /** Ends the session of a client that is gone; the last user's leaving resets the device. */
  async #cleanUp(connection: Connection, client: NegotiatedClient): Promise<void> {
    const { session } = client.server;
    const isVmm = client.role === 'vmm';
    if (client.logging && !isVmm) client.server.device.dmaLoggingStop();
    if (isVmm) {
      await session.drop(client);
      this.#resetDue = true;
    } else {
      const done = await session.rollBack(client);
      if (done !== undefined)
        this.events.emit({ type: 'session-rolled-back', connection: connection.id, ...done });
    }
    if (isVmm || this.#slot.free) await this.#resetIfDue(connection);
  }

  /**
   * Resets the device that a VMM has left, as the last close of a VFIO device's descriptor does;
   * not while a migration client moves its state.
   */
  async #resetIfDue(connection: Connection): Promise<void> {
    const { device, session } = this.#state;
    if (!this.#resetDue || session.active) return;
    this.#resetDue = false;
    if ((device.info.flags & VFIO_DEVICE_FLAGS.RESET) === 0) return;
    session.unfence();
    await device.reset().catch((error: unknown) => {
      this.report(connection, 'resetting the device that a client has left', error);
    });
  }

  /** Makes sure that the device does not run before it is reset. @throws {Fault} EINVAL */
  fence(): Promise<void> {
    return this.#state.session.fence();
  }

  /** Ends {@link fence}. Idempotent. */
  unfence(): void {
    this.#state.session.unfence();
  }

  /** True while a client is there that moves the device's state. */
  get hasMigrationClient(): boolean {
    return [...this.#connections].some(({ client }) => client?.role === 'migration');
  }

  /** Process id of the VMM as this machine knows it, undefined without one. */
  get vmmPid(): number | undefined {
    return this.#vmm()?.socket.peerCredentials().pid;
  }

  /**
   * Has the VMM write once more what the device's log says that the device wrote, so that the VMM
   * knows of it; the log is empty afterwards. Neither the device nor the guest may run meanwhile.
   *
   * @throws {Fault} ENOTCONN without a VMM; EINVAL without a log; EIO, ETIMEDOUT
   */
  rewriteDirty(): Rewritten {
    const dma = this.#vmm()?.client?.dma;
    if (dma === undefined) throw new Fault('ENOTCONN', 'no VMM uses this VF');
    return rewriteDirty(this.#state.device, dma);
  }

  #vmm(): Connection | undefined {
    return [...this.#connections].find(({ client }) => client?.role === 'vmm');
  }

  refused(connection: Connection, command: number, fault: Fault): void {
    this.events.emit({
      type: 'refused',
      connection: connection.id,
      role: connection.client?.role,
      command: commandName(command),
      fault,
    });
  }

  report(connection: Connection, what: string, error: unknown): void {
    this.events.emit({ type: 'error', connection: connection.id, what, error });
  }

  /** Disconnects everybody, cleans up and removes the socket. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#watch?.remove();
    this.#path?.close();
    this.#listener?.close();
    this.#slot.close();
    for (const connection of [...this.#connections]) connection.close('the server is closing');
    await Promise.allSettled([...this.#cleanups]);
    this.loop.disown(this);
  }
}
