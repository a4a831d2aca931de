/** The host's end of a guest's control channel; `guest-init.ts` has the other one and the protocol. */
import { createServer, type Server, type Socket } from 'node:net';
import { Fault } from '../base/fault.ts';

/** What a command of a guest did. */
export interface CommandResult {
  /** Its exit status; 128 and the signal when one ended it. */
  readonly status: number;
  /** What it printed, on stdout and stderr. */
  readonly output: string;
}

/** How a command is run. */
export interface CommandOptions {
  /** How long it may take, 2 minutes unless given; it is left alone after that. */
  readonly timeoutMs?: number;
  /** Is told each line as it comes. */
  readonly onLine?: (line: string) => void;
}

interface Running {
  readonly lines: string[];
  readonly onLine: ((line: string) => void) | undefined;
  readonly settle: (status: number | Fault) => void;
}

const DEFAULT_TIMEOUT_MS = 120_000;
/**
 * How often the guest gets an empty line while it works. Without one, a guest that prints much
 * sometimes stops in the middle: its port is full, QEMU has taken everything out of it, and the
 * interrupt that says so is missing until the next one comes for some other reason (seen with QEMU
 * 11.1 and Linux 7.3 under TCG, once in about fifty times 100 KiB).
 */
const NUDGE_MS = 500;

/** Commands for a guest over a UNIX socket to which its QEMU connects. */
export class GuestControl {
  readonly #server: Server;
  readonly #running = new Map<number, Running>();
  readonly #ready: Promise<number>;
  #setReady: (uptimeMs: number) => void = () => {};
  #setFailed: (fault: Fault) => void = () => {};
  #sockets: Socket[] = [];
  #failure: Fault | undefined;
  #partial = '';
  #nextId = 1;
  #nudge: NodeJS.Timeout | undefined;

  private constructor(server: Server) {
    this.#server = server;
    this.#ready = new Promise((resolve, reject) => {
      this.#setReady = resolve;
      this.#setFailed = reject;
    });
    // A guest that nobody waits for may fail too.
    this.#ready.catch(() => {});
    server.on('connection', (socket) => this.#connected(socket));
  }

  /** Waits for QEMU at the socket `path`. @throws {Fault} EIO when it cannot be made */
  static async listen(path: string): Promise<GuestControl> {
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(new Fault('EIO', error.message, { cause: error })));
      server.listen(path, resolve);
    });
    return new GuestControl(server);
  }

  /**
   * Resolves when the guest obeys, with its uptime in ms.
   * @throws {Fault} see {@link fail}
   */
  get ready(): Promise<number> {
    return this.#ready;
  }

  /**
   * Runs a shell command in the guest; several may run at once.
   * @throws {Fault} ETIMEDOUT when it takes too long, ENODEV when the guest is gone
   */
  async run(command: string, options: CommandOptions = {}): Promise<CommandResult> {
    const { timeoutMs = DEFAULT_TIMEOUT_MS, onLine } = options;
    await this.#ready;
    const id = this.#nextId++;
    const lines: string[] = [];
    const status = await new Promise<number | Fault>((settle) => {
      if (this.#failure !== undefined) return settle(this.#failure);
      const late = () =>
        settle(
          new Fault('ETIMEDOUT', `"${firstLine(command)}" took more than ${timeoutMs / 1000} s`),
        );
      const timer = Number.isFinite(timeoutMs) ? setTimeout(late, timeoutMs) : undefined;
      this.#running.set(id, {
        lines,
        onLine,
        settle: (outcome) => {
          clearTimeout(timer);
          settle(outcome);
        },
      });
      this.#sockets[0]?.write(`${id} ${Buffer.from(command).toString('base64')}\n`);
      this.#nudge ??= setInterval(() => this.#sockets[0]?.write('\n'), NUDGE_MS);
    });
    this.#running.delete(id);
    if (this.#running.size === 0) this.#stopNudging();
    if (status instanceof Fault) throw status;
    return { status, output: lines.join('\n') };
  }

  /** Ends every wait, present and future, with `fault`: the guest is gone. Idempotent. */
  fail(fault: Fault): void {
    this.#failure ??= fault;
    this.#setFailed(this.#failure);
    for (const { settle } of this.#running.values()) settle(this.#failure);
  }

  /** Lets go of the socket. Idempotent. */
  close(): void {
    this.fail(new Fault('ENODEV', 'the guest was ended'));
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  #stopNudging(): void {
    clearInterval(this.#nudge);
    this.#nudge = undefined;
  }

  #connected(socket: Socket): void {
    // A guest that is about to be moved has two QEMUs: the newer one counts when the older has gone.
    // Only one of them runs at a time, so that a line may begin in one and end in the other.
    this.#sockets.push(socket);
    socket.once('close', () => {
      this.#sockets = this.#sockets.filter((each) => each !== socket);
    });
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => this.#take(text));
    // QEMU's end tells more than a broken socket.
    socket.on('error', () => {});
  }

  #take(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop() ?? '';
    for (const line of lines) this.#line(line);
  }

  #line(line: string): void {
    const [first = '', kind = ''] = line.split(' ', 2);
    if (first === 'ready') return this.#setReady(Number(kind) * 1000);
    const running = this.#running.get(Number(first));
    const rest = line.slice(first.length + kind.length + 2);
    if (kind === 'out') {
      running?.lines.push(rest);
      running?.onLine?.(rest);
    } else if (kind === 'end') running?.settle(Number(rest));
  }
}

function firstLine(command: string): string {
  return command.trim().split('\n', 1)[0] ?? '';
}
