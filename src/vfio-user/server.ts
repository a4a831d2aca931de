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
import { Connection, type ConnectionHost, type ConnectionState } from './connection.ts';
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
   * Does what a migration client asks with the member `control` of its capability `xe_vfio`, before it
   * is answered; the answer goes back in the same member. Never throws.
   */
  readonly control?: ((request: unknown) => Promise<ControlAnswer>) | undefined;
  /** A server of another process whose place this one takes, instead of a path or a descriptor. */
  readonly from?: ServedSocketState | undefined;
}

/** Answer to a `control` request. */
export interface ControlAnswer {
  readonly told: Readonly<Record<string, unknown>>;
  /** A socket to go with it, taken over. */
  readonly socket?: UnixSocket | undefined;
}

/** A server as it goes from one process to another; descriptors are borrowed on the way out. */
export interface ServedSocketState {
  readonly path: string | undefined;
  readonly listener: number;
  /** The VMM, if one is connected. */
  readonly vmm: ConnectionState | undefined;
  /** The device is to be reset before the next VMM. */
  readonly resetDue: boolean;
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
  readonly #state: { -readonly [Key in keyof ServerState]: ServerState[Key] };
  readonly #greatest: number;
  readonly #control: VfioUserServerOptions['control'];
  /** Resolves when VMMs may be served. */
  #held: Promise<void> = Promise.resolve();
  #release: (() => void) | undefined;
  readonly #limits: ServerLimits;
  readonly #trustClient: boolean | undefined;
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
    this.#control = options.control;
    this.#slot = new VmmSlot(options.patienceMs ?? 1000);
    this.#greatest = Math.max(this.#limits.maxDataXferSize, this.#limits.maxMigrationXferSize);
    this.#state = {
      device,
      regions: new RegionTable(device, this.#greatest),
      session: new MigrationSession(device),
      dmaLogging: canLog(device),
      extension: options.extension,
    };
    const { from } = options;
    if (from?.path !== undefined) this.#path = new SocketPath(from.path, from.listener);
    else if (socketPath !== undefined) this.#path = new SocketPath(socketPath);
    const given = from?.listener ?? listenFd;
    this.#listener =
      this.#path?.socket ?? (given === undefined ? undefined : new UnixSocket(given));
    if (this.#listener === undefined) throw new TypeError('neither a socketPath nor a listenFd');
    loop.own(this);
    // A connection that was given up before its accept must not hold the thread.
    setBlocking(this.#listener.fd, !this.#listener.isListening);
    if (this.#listener.isListening)
      this.#watch = loop.watch(this.#listener.fd, POLL.IN, { ready: () => this.#accept() });
    else this.#adopt(this.#listener);
    this.#resetDue = from?.resetDue ?? false;
    if (from?.vmm !== undefined) this.#takeVmm(from.vmm);
  }

  /** Serves the VMM that was taken over from another process. */
  release(): void {
    this.#release?.();
  }

  /** Goes on with the VMM of another process, which is held until {@link release}. */
  #takeVmm(state: ConnectionState): void {
    const connection = new Connection(this, this.#nextId++, new UnixSocket(state.socket));
    this.#connections.add(connection);
    void this.#slot.take(connection);
    const message = decodeVersion(state.hello);
    const { trusted } = this.#trust(connection);
    const client = new NegotiatedClient(this.#state, this.#limits, message, connection, trusted);
    client.replied();
    const { device } = this.#state;
    for (const { request, fd } of state.dma)
      client.dma.map(request, fd, (mapping) => device.dmaMap(mapping));
    connection.import(client, state);
    this.#held = new Promise((resolve) => {
      this.#release = resolve;
    });
    void connection.hold(this.#held);
  }

  /**
   * What another process needs to take this server's place. The server must be held.
   * @throws {Fault} EOPNOTSUPP for a socket that was given connected, or a VMM with a second socket
   */
  export(): ServedSocketState {
    if (this.#listener?.isListening !== true)
      throw new Fault('EOPNOTSUPP', 'a socket that was given connected cannot be handed over');
    const vmm = [...this.#connections].find(({ client }) => client?.role === 'vmm');
    return {
      path: this.#path?.path,
      listener: this.#listener.fd,
      vmm: vmm?.export(),
      resetDue: this.#resetDue,
    };
  }

  /**
   * Another process serves in this one's place: its VMM is let go of, and closing leaves the socket's
   * file where it is. Comes before the release of the hold.
   */
  handedOver(): void {
    this.#path?.forget();
    this.#watch?.remove();
    for (const connection of this.#connections)
      if (connection.client?.role === 'vmm') connection.close('another process serves it now');
  }

  /**
   * Lets no message of the VMM be served, and no other VMM in, until the returned function is called.
   * Resolves when what it asked before has been answered.
   *
   * @throws {Fault} EBUSY while a migration client moves the device's state
   */
  async hold(): Promise<() => void> {
    if (this.#state.session.active)
      throw new Fault('EBUSY', 'another connection is migrating this device', {
        hint: 'wait until that migration has ended',
      });
    let release = () => {};
    this.#held = new Promise((resolve) => {
      release = resolve;
    });
    const vmms = [...this.#connections].filter(({ client }) => client?.role === 'vmm');
    await Promise.all(vmms.map((connection) => connection.hold(this.#held)));
    return release;
  }

  /** Serves `device` from now on, which must look the same; while the server is held. */
  swapDevice(device: VfioDevice): void {
    this.#state.device = device;
    this.#state.regions = new RegionTable(device, this.#greatest);
    this.#state.session = new MigrationSession(device);
    this.#state.dmaLogging = canLog(device);
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
      await this.#held;
      await this.#resetIfDue(connection);
    }
    if (connection.closed) {
      this.#slot.release(connection);
      throw new Fault('ECONNRESET', 'the client has gone');
    }
    const request = role === 'migration' ? message.capabilities.extension?.['control'] : undefined;
    const answer = request === undefined ? undefined : await this.#control?.(request);
    const { trusted, reason } = this.#trust(connection);
    const client = new NegotiatedClient(this.#state, this.#limits, message, connection, trusted);
    client.answer = answer?.told;
    client.answerSocket = answer?.socket;
    const { id } = connection;
    const { extension } = message.capabilities;
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
