/** What was agreed with one client, and what belongs to it. */
import { UnixSocket } from '../sys/unix-socket.ts';
import type { Capabilities, ConnectionRole, VersionMessage } from './capabilities.ts';
import { Channel } from './channel.ts';
import type { Client, ServerState } from './commands.ts';
import { DmaMessages, type DmaSocket } from './dma-messages.ts';
import { DmaTable } from './dma-table.ts';
import { DEFAULT_LIMITS, PROTOCOL_VERSION } from './protocol.ts';

/** What a server offers. */
export interface ServerLimits {
  /** Descriptors in one message. QEMU takes no server that says more than 16. */
  readonly maxMsgFds: number;
  /** Greatest count of a data transfer of a VMM, bytes. */
  readonly maxDataXferSize: number;
  /** The same of a client that migrates the device. */
  readonly maxMigrationXferSize: number;
  readonly maxDmaMaps: number;
  /** How long a client may take to answer a DMA message. */
  readonly dmaTimeoutMs: number;
}

/** The server-to-client channel that a client asked for. */
class TwinSocket implements DmaSocket {
  readonly channel: Channel;
  readonly #socket: UnixSocket;
  readonly #fail: (reason: string) => void;

  constructor(socket: UnixSocket, timeoutMs: number, fail: (reason: string) => void) {
    socket.setReceiveTimeout(timeoutMs);
    socket.setSendTimeout(timeoutMs);
    this.#socket = socket;
    this.#fail = fail;
    this.channel = new Channel(socket.fd);
  }

  get fd(): number {
    return this.#socket.fd;
  }

  flush(): void {
    // Nothing but DMA messages goes out here, each of them whole.
  }

  scanFrom(): number {
    this.channel.rewind();
    return this.channel.head;
  }

  fail(reason: string): void {
    this.#fail(reason);
  }

  close(): void {
    this.channel.close();
    this.#socket.close();
  }
}

/** One negotiated client. */
export class NegotiatedClient implements Client {
  readonly role: ConnectionRole;
  readonly peer: Capabilities;
  readonly minor: number;
  readonly maxDataXferSize: number;
  readonly dma: DmaTable;
  readonly server: ServerState;
  readonly #limits: ServerLimits;
  readonly #named: ReadonlySet<string>;
  readonly #messages: DmaMessages;
  readonly #twin: TwinSocket | undefined;
  /** The client's end of the twin socket, until it was sent. */
  #twinPeer: UnixSocket | undefined;

  /** Answer to a `control` request, told in the capability `xe_vfio`. */
  answer: Readonly<Record<string, unknown>> | undefined;

  /** A socket that goes with {@link answer}. */
  answerSocket: UnixSocket | undefined;

  /** True while the log of DMA writes is this client's. */
  logging = false;

  /** @param trusted whether its unsealed memory may be mapped */
  constructor(
    server: ServerState,
    limits: ServerLimits,
    message: VersionMessage,
    socket: DmaSocket,
    trusted: boolean,
  ) {
    this.server = server;
    this.peer = message.capabilities;
    this.role = message.capabilities.role ?? 'vmm';
    this.minor = Math.min(message.minor, PROTOCOL_VERSION.minor);
    this.#limits = limits;
    this.#named = message.named;
    const offered =
      this.role === 'migration' ? limits.maxMigrationXferSize : limits.maxDataXferSize;
    // A client to which no size was told counts on the default.
    this.maxDataXferSize = message.named.has('max_data_xfer_size')
      ? offered
      : DEFAULT_LIMITS.maxDataXferSize;
    const { twinSocket, maxMsgFds, maxDataXferSize } = message.capabilities;
    if (twinSocket?.supported === true && maxMsgFds > 0) {
      const [mine, peer] = UnixSocket.pair();
      this.#twin = new TwinSocket(mine, 10, (reason) => socket.fail(reason));
      this.#twinPeer = peer;
    }
    const via = this.#twin ?? socket;
    this.#messages = new DmaMessages(via, maxDataXferSize, limits.dmaTimeoutMs);
    this.dma = new DmaTable(this.#messages, limits.maxDmaMaps, trusted);
  }

  /** What the reply to VERSION says, about what the client asked only. */
  get capabilities(): Capabilities {
    return {
      maxMsgFds: this.#limits.maxMsgFds,
      maxDataXferSize: this.maxDataXferSize,
      maxDmaMaps: this.#limits.maxDmaMaps,
      pgsizes: DEFAULT_LIMITS.pgsizes,
      writeMultiple: this.peer.writeMultiple,
      twinSocket: this.#twin === undefined ? { supported: false } : { supported: true, fdIndex: 0 },
      role: this.role === 'migration' ? 'migration' : undefined,
      extension: this.#extension(),
    };
  }

  #extension(): Readonly<Record<string, unknown>> | undefined {
    const told = this.server.extension?.();
    return this.answer === undefined ? told : { ...told, control: this.answer };
  }

  /** True when messages go to the client through a socket of their own. */
  get hasTwin(): boolean {
    return this.#twin !== undefined;
  }

  /** Names that the reply may mention. */
  get named(): ReadonlySet<string> {
    return this.#named;
  }

  /** Descriptors that go with the reply to VERSION, borrowed. */
  get replyFds(): readonly number[] {
    return [this.#twinPeer, this.answerSocket].flatMap((socket) =>
      socket === undefined ? [] : [socket.fd],
    );
  }

  /** Closes what only the reply needed. */
  replied(): void {
    this.#twinPeer?.close();
    this.#twinPeer = undefined;
    this.answerSocket?.close();
    this.answerSocket = undefined;
  }

  /** Lets go of the client's memory, which the device must have forgotten. Idempotent. */
  close(): void {
    this.replied();
    this.dma.clear();
    this.#messages.close();
    this.#twin?.close();
  }
}
