import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { waitFor } from './wait-for.ts';

const BINARY = fileURLToPath(new URL('../../bin/xe-vfio', import.meta.url));
const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 10_000;
/** The flag of a listening socket in /proc/net/unix. Source: linux/net.h __SO_ACCEPTCON */
const LISTENING = '00010000';

/** `xe-vfio serve`, built, as a process of its own. */
export class ServeProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #log: () => string;

  private constructor(child: ChildProcess, ended: Promise<void>, log: () => string) {
    this.#child = child;
    this.#ended = ended;
    this.#log = log;
  }

  /** Starts `xe-vfio serve` and returns when it listens; rejects with what it said when it ended. */
  static async start(socket: string, args: readonly string[]): Promise<ServeProcess> {
    const child = spawn(process.execPath, [BINARY, 'serve', '--socket', socket, ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    let ending: string | undefined;
    const ended = new Promise<void>((resolve) => {
      child.on('close', (code, signal) => {
        ending = `${signal ?? `exit code ${code}`}: ${said.trim()}`;
        resolve();
      });
    });
    try {
      await waitFor(`xe-vfio serve listens on ${socket}`, START_TIMEOUT_MS, () => {
        if (ending !== undefined) throw new Error(`xe-vfio serve ended with ${ending}`);
        return isListening(socket) ? true : undefined;
      });
    } catch (error) {
      child.kill('SIGKILL');
      await ended;
      throw error;
    }
    return new ServeProcess(child, ended, () => said);
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error('xe-vfio serve was not started');
    return this.#child.pid;
  }

  /** What it logged so far. */
  get log(): string {
    return this.#log();
  }

  /** Asks it to end, and ends it the hard way when it does not. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await this.#ended;
    clearTimeout(timer);
  }
}

/** Whether a socket is there and accepts, without a connection that the server would notice. */
function isListening(socket: string): boolean {
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .some((line) => line.endsWith(` ${socket}`) && line.split(/\s+/)[3] === LISTENING);
}
