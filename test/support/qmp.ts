import { connect, type Socket } from 'node:net';

interface Pending {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** One line that QEMU sends: a greeting, an answer or an event. */
interface QmpMessage {
  readonly QMP?: unknown;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
  readonly id?: number;
}

/**
 * A client of the QEMU Machine Protocol on a UNIX socket.
 *
 * Source: QEMU docs/interop/qmp-spec.rst
 */
export class QmpClient {
  readonly #socket: Socket;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #text = '';
  #greeted: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#receive(text));
    socket.on('error', (error) => this.#end(error));
    socket.on('close', () => this.#end(new Error('QEMU closed its QMP socket')));
  }

  /** Connects and leaves the negotiation mode; rejects when nobody listens. */
  static async connect(path: string): Promise<QmpClient> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    const client = new QmpClient(socket);
    await new Promise<void>((resolve, reject) => {
      client.#greeted = resolve;
      socket.once('close', () => reject(new Error('QEMU closed its QMP socket')));
    });
    await client.execute('qmp_capabilities');
    return client;
  }

  /** Runs a command and returns its `return` member. */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) {
        reject(new Error(`${command}: QEMU closed its QMP socket`));
        return;
      }
      this.#pending.set(id, { command, resolve, reject });
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #receive(text: string): void {
    this.#text += text;
    const lines = this.#text.split('\n');
    this.#text = lines.pop() ?? '';
    for (const line of lines) this.#handle(JSON.parse(line) as QmpMessage);
  }

  #handle(message: QmpMessage): void {
    if (message.QMP !== undefined) {
      this.#greeted?.();
      return;
    }
    // Events carry no id, and nobody here waits for one.
    const pending = message.id === undefined ? undefined : this.#pending.get(message.id);
    if (pending === undefined || message.id === undefined) return;
    this.#pending.delete(message.id);
    const { error } = message;
    if (error === undefined) pending.resolve(message.return);
    else pending.reject(new Error(`${pending.command}: ${error.class}: ${error.desc}`));
  }

  #end(error: Error): void {
    for (const pending of this.#pending.values()) pending.reject(error);
    this.#pending.clear();
  }
}
