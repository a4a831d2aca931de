/**
 * Files whose reads and writes are calls into a driver, reached so that nothing here ever sleeps:
 * every operation runs in a process of its own that can be killed (sysfs-file-worker.ts).
 */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Fault } from '../base/fault.ts';
import { Mutex } from '../base/mutex.ts';
import type { Mapping } from '../sys/mapping.ts';
import { Memfd } from '../sys/memfd.ts';
import type { FileRequest, FromFileWorker, ToFileWorker } from './sysfs-file-messages.ts';
import { fileFault } from './sysfs-read.ts';

/** What {@link BlockingFiles} may be told. */
export interface BlockingFilesOptions {
  /** Bytes of memory shared with the worker, for data; none unless given. */
  readonly sharedSize?: number;
}

/** A worker that is alive, and the request that it is at. */
interface Running {
  readonly child: ChildProcess;
  settle: ((answer: FromFileWorker) => void) | undefined;
}

/** The worker's file: beside this one when built; tests run this one's source and the built worker. */
const WORKER = fileURLToPath(
  new URL(
    import.meta.url.endsWith('.ts')
      ? '../../dist/linux/sysfs-file-worker.js'
      : './sysfs-file-worker.js',
    import.meta.url,
  ),
);

/**
 * One operation at a time on files that may block. A worker is started when it is needed, and again
 * after it was killed.
 */
export class BlockingFiles {
  readonly #shared: Memfd | undefined;
  #mapping: Mapping | undefined;
  #running: Running | undefined;
  readonly #turn = new Mutex();
  #nextId = 1;
  #cut: ((reason: Fault) => void) | undefined;
  #closed = false;

  constructor({ sharedSize }: BlockingFilesOptions = {}) {
    if (sharedSize === undefined) return;
    this.#shared = Memfd.create('xe-vfio-files', sharedSize);
    this.#mapping = this.#shared.map();
  }

  /** True while an operation is under way. */
  get busy(): boolean {
    return this.#turn.held;
  }

  /** A view of the shared memory, which grows as needed; an earlier view may then be stale. */
  shared(offset: number, length: number): Uint8Array {
    if (this.#shared === undefined || this.#mapping === undefined)
      throw new TypeError('no memory is shared');
    if (offset + length > this.#mapping.size) {
      this.#shared.truncate(offset + length);
      this.#mapping.close();
      this.#mapping = this.#shared.map();
    }
    return this.#mapping.view(offset, length);
  }

  /** Starts the worker now, so that the first operation need not wait for it. */
  async warm(): Promise<void> {
    await this.#do({ op: 'close' }, '');
  }

  /**
   * Writes `text` to `path` by one write(2).
   * @param timeoutMs the worker is killed after so long
   * @throws {Fault} the file's errno; ETIMEDOUT; the reason that {@link cut} was given
   */
  async write(path: string, text: string, timeoutMs?: number): Promise<void> {
    await this.#do({ op: 'write', path, text }, path, timeoutMs);
  }

  /** Reads `path` to its end. @throws {Fault} as {@link write} */
  async read(path: string, timeoutMs?: number): Promise<string> {
    return (await this.#do({ op: 'read', path }, path, timeoutMs)).text ?? '';
  }

  /** Opens the one file that data goes through. @throws {Fault} as {@link write} */
  async openData(path: string, flags: 'r' | 'w'): Promise<void> {
    await this.#do({ op: 'open', path, flags }, path);
  }

  /** One read(2) of the data file into the shared memory; 0 at the end. @throws {Fault} */
  async pull(offset: number, length: number, timeoutMs?: number): Promise<number> {
    this.shared(offset, length);
    return (await this.#do({ op: 'pull', offset, length }, 'read', timeoutMs)).count ?? 0;
  }

  /** One write(2) to the data file from the shared memory. @throws {Fault} */
  async push(offset: number, length: number, timeoutMs?: number): Promise<number> {
    return (await this.#do({ op: 'push', offset, length }, 'write', timeoutMs)).count ?? 0;
  }

  /** Closes the data file. */
  async closeData(): Promise<void> {
    if (this.#running !== undefined) await this.#do({ op: 'close' }, 'close');
  }

  /** Waits until nothing is under way, at most `timeoutMs`; tells whether that is so. */
  async idle(timeoutMs: number): Promise<boolean> {
    if (!this.busy) return true;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs);
    });
    const turn = this.#turn.run(async () => true);
    const idle = await Promise.race([turn, late]);
    clearTimeout(timer);
    return idle;
  }

  /** Kills the worker; what is under way, and all that waits for it, fails with `reason`. */
  cut(reason: Fault): void {
    this.#running?.child.kill('SIGKILL');
    this.#running = undefined;
    this.#cut?.(reason);
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.cut(new Fault('ENODEV', 'the files were closed'));
    this.#mapping?.close();
    this.#shared?.close();
  }

  #do(request: FileRequest, what: string, timeoutMs?: number): Promise<FromFileWorker> {
    return this.#turn.run(async () => {
      if (this.#closed) throw new Fault('ENODEV', 'the files were closed');
      const running = this.#running ?? this.#start();
      const message: ToFileWorker = {
        id: this.#nextId++,
        shared: this.#mapping?.size ?? 0,
        request,
      };
      let timer: NodeJS.Timeout | undefined;
      running.child.channel?.ref();
      try {
        const answer = await new Promise<FromFileWorker>((resolve, reject) => {
          running.settle = resolve;
          this.#cut = reject;
          if (timeoutMs !== undefined)
            timer = setTimeout(() => this.cut(lateFault(what, timeoutMs)), timeoutMs);
          running.child.send(message, (error) => {
            if (error !== null) this.cut(new Fault('EIO', `a file worker is gone: ${error}`));
          });
        });
        if (answer.errno !== undefined) throw fileFault(answer.errno, what);
        return answer;
      } finally {
        clearTimeout(timer);
        running.settle = undefined;
        this.#cut = undefined;
        running.child.channel?.unref();
      }
    });
  }

  #start(): Running {
    const child = fork(WORKER, [String(process.pid)], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc', this.#shared?.fd ?? 'ignore'],
      execArgv: [],
      // Ctrl-C in a terminal is for the process that started this one; it decides what is cut off.
      detached: true,
    });
    const running: Running = { child, settle: undefined };
    child.on('message', (answer: FromFileWorker) => running.settle?.(answer));
    child.once('exit', () => {
      if (this.#running === running) this.cut(new Fault('EIO', 'a file worker ended'));
    });
    child.unref();
    child.channel?.unref();
    this.#running = running;
    return running;
  }
}

function lateFault(what: string, timeoutMs: number): Fault {
  return new Fault('ETIMEDOUT', `${what} did not answer within ${timeoutMs / 1000} s`);
}
