/**
 * A client of the QEMU Machine Protocol.
 *
 * Source: QEMU docs/interop/qmp-spec.rst
 */
import { connect, type Socket } from 'node:net';
import { EventChannel } from '../base/event-channel.ts';
import { Fault } from '../base/fault.ts';

/** How long QEMU may take for a command. */
const COMMAND_TIMEOUT_MS = 30_000;

interface Pending {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** One line that QEMU sends: a greeting, an answer or an event. */
interface QmpMessage {
  readonly QMP?: unknown;
  readonly event?: string;
  readonly data?: Readonly<Record<string, unknown>>;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly id?: number;
}

/** Something that QEMU told without being asked. */
export interface QmpEvent {
  readonly name: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** When it came, ms as `performance.now()`. */
  readonly atMs: number;
}

/** Arguments of a command. */
export type QmpArguments = Readonly<Record<string, unknown>>;

/** A connection to the QMP socket of one QEMU, which serves one client at a time. */
export class QmpClient {
  /** What QEMU tells without being asked. */
  readonly events = new EventChannel<QmpEvent>();
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  readonly #ended: Promise<void>;
  #nextId = 1;
  #text = '';
  #greeted: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.setNoDelay(true);
    socket.on('data', (text: string) => this.#receive(text));
    socket.on('error', () => {});
    this.#ended = new Promise((resolve) => {
      socket.once('close', () => {
        const gone = new Fault('ENODEV', 'QEMU closed its QMP socket');
        for (const { reject } of this.#pending.values()) reject(gone);
        this.#pending.clear();
        resolve();
      });
    });
  }

  /**
   * Connects and leaves the negotiation mode.
   *
   * @param address the path of a UNIX socket, with or without `unix:`, or `tcp:HOST:PORT`
   * @throws {Fault} ENOENT, ECONNREFUSED, EACCES when nobody listens; ETIMEDOUT while another client
   * is served; ENODEV when QEMU ends
   */
  static async connect(address: string, timeoutMs = 10_000): Promise<QmpClient> {
    const tcp = /^tcp:(.*):(\d+)$/.exec(address);
    const socket =
      tcp === null
        ? connect(address.replace(/^unix:/, ''))
        : connect(Number(tcp[2]), tcp[1] as string);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', (error: NodeJS.ErrnoException) => reject(connectFault(address, error)));
    });
    const client = new QmpClient(socket);
    try {
      await new Promise<void>((resolve, reject) => {
        client.#greeted = resolve;
        const late = () =>
          reject(
            new Fault('ETIMEDOUT', `QEMU at ${address} does not answer`, {
              hint: 'a QMP socket serves one client at a time',
            }),
          );
        setTimeout(late, timeoutMs).unref();
        void client.#ended.then(() => reject(new Fault('ENODEV', 'QEMU closed its QMP socket')));
      });
      await client.execute('qmp_capabilities');
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** Resolves when the connection is over. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** True when the connection is over. */
  get gone(): boolean {
    return this.#socket.destroyed;
  }

  /**
   * Runs a command. Several may be sent at once: QEMU runs them in their order.
   *
   * @returns its `return` member
   * @throws {Fault} EIO with QEMU's words when it refuses; ENODEV when it is gone; ETIMEDOUT
   */
  async execute(command: string, args?: QmpArguments): Promise<unknown> {
    const id = this.#nextId++;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise((resolve, reject) => {
        if (this.gone) return reject(new Fault('ENODEV', `${command}: QEMU is gone`));
        this.#pending.set(id, { command, resolve, reject });
        this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
        const late = () => reject(new Fault('ETIMEDOUT', `QEMU does not answer ${command}`));
        timer = setTimeout(late, COMMAND_TIMEOUT_MS);
      });
    } finally {
      clearTimeout(timer);
      this.#pending.delete(id);
    }
  }

  /** Ends the connection. Idempotent. */
  close(): void {
    this.#socket.destroy();
  }

  #receive(text: string): void {
    this.#text += text;
    const lines = this.#text.split('\n');
    this.#text = lines.pop() ?? '';
    for (const line of lines) if (line.trim() !== '') this.#handle(JSON.parse(line) as QmpMessage);
  }

  #handle(message: QmpMessage): void {
    if (message.QMP !== undefined) return this.#greeted?.();
    if (message.event !== undefined)
      return this.events.emit({
        name: message.event,
        data: message.data ?? {},
        atMs: performance.now(),
      });
    const pending = message.id === undefined ? undefined : this.#pending.get(message.id);
    const { error } = message;
    if (error === undefined) pending?.resolve(message.return);
    else pending?.reject(new Fault('EIO', `QEMU refuses ${pending.command}: ${error.desc}`));
  }
}

function connectFault(address: string, error: NodeJS.ErrnoException): Fault {
  const known = ['ENOENT', 'ECONNREFUSED', 'EACCES', 'ECONNRESET', 'ETIMEDOUT'] as const;
  const code = known.find((each) => each === error.code) ?? 'EIO';
  return new Fault(code, `no QEMU answers at ${address}: ${error.message}`, { cause: error });
}
