/** A QMP socket that answers what a test tells it to: for what no QEMU can be brought to. */
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';

/** Answers to commands by their names: the `return` member, or an Error whose text is QEMU's. */
export type QmpAnswers = Readonly<Record<string, (args: unknown) => unknown>>;

/** The server; it speaks to one client at a time. */
export class QmpServer {
  readonly path: string;
  /** Names of the commands that came. */
  readonly commands: string[] = [];
  readonly #server: Server;
  readonly #answers: QmpAnswers;
  #client: Socket | undefined;

  private constructor(path: string, server: Server, answers: QmpAnswers) {
    this.path = path;
    this.#server = server;
    this.#answers = answers;
    server.on('connection', (socket) => this.#serve(socket));
  }

  static async listen(path: string, answers: QmpAnswers): Promise<QmpServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return new QmpServer(path, server, answers);
  }

  #serve(socket: Socket): void {
    this.#client = socket;
    socket.on('error', () => {});
    this.send({ QMP: { version: {}, capabilities: [] } });
    let text = '';
    socket.setEncoding('utf8').on('data', (said: string) => {
      const lines = (text + said).split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) this.#answer(JSON.parse(line));
    });
  }

  #answer({ execute, arguments: args, id }: Record<string, unknown>): void {
    const name = String(execute);
    this.commands.push(name);
    const known = { qmp_capabilities: () => ({}), ...this.#answers };
    const value = (known as QmpAnswers)[name]?.(args);
    if (value instanceof Error)
      this.send({ error: { class: 'GenericError', desc: value.message }, id });
    else if (value !== undefined) this.send({ return: value, id });
  }

  /** Says something, by default in one piece. */
  send(message: object): void {
    this.sendText(`${JSON.stringify(message)}\r\n`);
  }

  sendText(text: string): void {
    this.#client?.write(text);
  }

  /** Ends the client's connection. */
  hangUp(): void {
    this.#client?.destroy();
  }

  async close(): Promise<void> {
    this.hangUp();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.path, { force: true });
  }
}
