/** The built command line as a process. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const BIN = fileURLToPath(new URL('../../bin/xe-vfio', import.meta.url));
const WAIT_MS = 20_000;

/** How a process ended and what it said. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** How to start a process. */
export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Run by a shell with this in front of it, such as `ulimit -f 100;`. */
  readonly prelude?: string;
  /** A descriptor that the process inherits as number 3. */
  readonly fd3?: number;
}

const running = new Set<Cli>();

/** Ends whatever a test left running. */
export async function endAll(): Promise<void> {
  for (const cli of [...running]) await cli.kill('SIGKILL');
}

/** One running `xe-vfio`. */
export class Cli {
  readonly #child: ChildProcess;
  readonly ended: Promise<Ended>;
  stdout = '';
  stderr = '';
  #changed: () => void = () => {};
  #over = false;

  constructor(args: readonly string[], { env = {}, prelude, fd3 }: StartOptions = {}) {
    const stdio: StdioOptions = ['ignore', 'pipe', 'pipe', ...(fd3 === undefined ? [] : [fd3])];
    const options = { stdio, env: { ...process.env, ...env } };
    this.#child =
      prelude === undefined
        ? spawn(process.execPath, [BIN, ...args], options)
        : spawn(
            '/bin/sh',
            ['-c', `${prelude} exec "$@"`, 'sh', process.execPath, BIN, ...args],
            options,
          );
    running.add(this);
    const hear = (name: 'stdout' | 'stderr') =>
      this.#child[name]?.setEncoding('utf8').on('data', (text: string) => {
        this[name] += text;
        this.#changed();
      });
    hear('stdout');
    hear('stderr');
    this.ended = new Promise((resolve) => {
      this.#child.once('close', (code, signal) => {
        this.#over = true;
        running.delete(this);
        this.#changed();
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr });
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** The JSON documents that came so far, one a line. */
  get documents(): Array<Record<string, unknown>> {
    const lines = this.stdout.split('\n');
    return lines.slice(0, -1).map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** Waits until `look` finds something. @throws {Error} when the process ends or takes too long */
  async until<T>(what: string, look: () => T | undefined | false): Promise<T> {
    const deadline = Date.now() + WAIT_MS;
    for (;;) {
      const found = look();
      if (found !== undefined && found !== false) return found;
      if (this.#over || Date.now() > deadline)
        throw new Error(`no ${what}:\n${this.stdout}\n${this.stderr}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 200);
        this.#changed = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Sends a signal. */
  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  /** Sends a signal and waits for the end. */
  async kill(name: NodeJS.Signals): Promise<Ended> {
    this.signal(name);
    return await this.ended;
  }
}

/** Runs a command to its end. */
export async function runCli(args: readonly string[], options?: StartOptions): Promise<Ended> {
  return await new Cli(args, options).ended;
}

/** The last JSON document on stdout. */
export function lastDocument({ stdout }: { readonly stdout: string }): Record<string, unknown> {
  const line = stdout.trimEnd().split('\n').at(-1) ?? '';
  return JSON.parse(line) as Record<string, unknown>;
}

/** Starts `xe-vfio serve` and waits until it is ready. */
export async function serve(socket: string, args: readonly string[] = []): Promise<Cli> {
  const server = new Cli(['serve', '--socket', socket, '--json', ...args]);
  await server.until('ready', () => server.stdout.includes('"event":"ready"'));
  return server;
}
