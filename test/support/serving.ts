/** A vfio-user server in a child process, and what can be seen of it from outside. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CaseDeviceOptions } from './case-registers.ts';

const LOADER = new URL('./ts-loader.mjs', import.meta.url).href;
const CHILD = fileURLToPath(new URL('./serving-child.ts', import.meta.url));
const START_MS = 30_000;
const pause = new Int32Array(new SharedArrayBuffer(4));

/** Blocks this thread. */
export function sleepSync(ms: number): void {
  Atomics.wait(pause, 0, 0, ms);
}

/** Looks again and again until `look` is true. @returns false when `timeoutMs` went by */
export function eventually(look: () => boolean, timeoutMs = 2000): boolean {
  const deadline = Date.now() + timeoutMs;
  while (!look()) {
    if (Date.now() > deadline) return false;
    sleepSync(3);
  }
  return true;
}

/** What the child is told to serve. */
export interface ServingOptions {
  readonly device: 'case' | 'ptl' | 'bmg';
  /** Options of the conformance device, for each of the devices that it serves. */
  readonly devices?: readonly CaseDeviceOptions[];
}

/** A running server. */
export class Serving {
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #exit: Promise<number | null>;
  /** Everything it wrote to its error output. */
  errorOutput = '';

  private constructor(child: ChildProcess, directory: string) {
    this.#child = child;
    this.#directory = directory;
    this.#exit = new Promise((resolve) => child.once('exit', resolve));
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.errorOutput += chunk;
    });
  }

  /** Starts a server and waits until it listens. */
  static async start(options: ServingOptions): Promise<Serving> {
    const directory = mkdtempSync(join(tmpdir(), 'xe-vfio-cases-'));
    const child = spawn(
      process.execPath,
      ['--import', LOADER, CHILD, JSON.stringify({ ...options, directory })],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    const serving = new Serving(child, directory);
    const ready = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), START_MS);
      const settle = (value: boolean) => {
        clearTimeout(timer);
        resolve(value);
      };
      child.stdout?.once('data', () => settle(true));
      child.once('exit', () => settle(false));
    });
    if (!ready) {
      await serving.stop('SIGKILL');
      throw new Error(`the server did not start:\n${serving.errorOutput}`);
    }
    return serving;
  }

  /** The socket of device `index`. */
  path(index = 0): string {
    return join(this.#directory, `${index}.sock`);
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  /** True while the process runs (a zombie does not). */
  alive(): boolean {
    try {
      const stat = readFileSync(`/proc/${this.pid}/stat`, 'latin1');
      return !'ZX'.includes(stat.slice(stat.lastIndexOf(')') + 2)[0] ?? 'X');
    } catch {
      return false;
    }
  }

  /** Ends the process. @returns its exit code, null when a signal ended it */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<number | null> {
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5000);
    const code = await this.#exit;
    clearTimeout(timer);
    rmSync(this.#directory, { recursive: true, force: true });
    return code;
  }

  /** The process's descriptors by kind, such as `socket` or `/memfd:guest (deleted)`. */
  descriptors(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const name of readdirSync(`/proc/${this.pid}/fd`)) {
      let target: string;
      try {
        target = readlinkSync(`/proc/${this.pid}/fd/${name}`);
      } catch {
        continue;
      }
      const kind = target.replace(/:\[\d+\]$/, '');
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
    }
    return counts;
  }

  /** How many mappings the process has of files whose name contains `name`, or of anything. */
  mappings(name = ''): number {
    const lines = readFileSync(`/proc/${this.pid}/maps`, 'utf8').split('\n');
    return lines.filter((line) => line.includes(name) && line !== '').length;
  }

  /** Address space that the process has taken, in bytes. */
  virtualMemory(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(/^VmSize:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  }
}

/** What must not have grown once every client is gone. */
export class Footprint {
  readonly #serving: Serving;
  readonly #descriptors: string;

  constructor(serving: Serving) {
    this.#serving = serving;
    this.#descriptors = describe(serving);
  }

  /** Undefined when the server holds again exactly what it held, else what it holds instead. */
  growth(timeoutMs = 2000): string | undefined {
    if (eventually(() => describe(this.#serving) === this.#descriptors, timeoutMs))
      return undefined;
    return `before: ${this.#descriptors}\nafter:  ${describe(this.#serving)}`;
  }
}

/** Name of the memfds that the raw client makes; see libc.ts. */
const GUEST = 'vfio-user-cases';

function describe(serving: Serving): string {
  const kinds = [...serving.descriptors()].sort().map(([kind, count]) => `${count} ${kind}`);
  return `${kinds.join(', ')}; ${serving.mappings(GUEST)} mappings of guest memory`;
}
