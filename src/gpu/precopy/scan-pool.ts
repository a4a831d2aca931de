/** Passes over all blocks of a VRAM object, in threads of their own or, without any, in this one. */
import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { Fault } from '../../base/fault.ts';
import type { DigestKey } from '../../sys/block-digest.ts';
import { type BlockTable, type BlockTableMemory, CONTROL } from './block-table.ts';
import type { BlockScanner, ScanOrder } from './scan.ts';

/** What a scanning thread is started with. */
export interface ScanWorkerData {
  readonly memory: BlockTableMemory;
  /**
   * Native address of the first byte: the threads read through the device's own mapping, whose pages
   * are there already. It lasts until the thread has ended.
   */
  readonly address: number;
  /** Borrowed; open until the thread has ended. */
  readonly fd: number;
  readonly key: DigestKey;
  readonly zero: bigint;
  /** 0 for a thread that is as important as any, to 19. */
  readonly nice: number;
}

/** A message to a scanning thread. */
export type ToScanWorker =
  | { readonly type: 'pass'; readonly order: ScanOrder; readonly percent: number }
  | { readonly type: 'close' };
/** Its answer: its part of a pass is over. */
export type FromScanWorker = 'done';

/** There only once the project is built: sources that run as they are compare in their own thread. */
const WORKER = new URL('./scan-worker.js', import.meta.url);
/** Full use of a core. */
const WHOLE_CORE = 100;
/**
 * Of the threads that look while the VF runs: on a processor that its engines or its guest want they
 * get a tenth. Those of the last pass are others, as no thread can become more important again.
 */
const NICE = 10;

/** One scanning thread. */
class ScanThread {
  readonly #worker: Worker;
  #settle: ((failure: Fault | undefined) => void) | undefined;
  #failure: Fault | undefined;

  constructor(data: ScanWorkerData) {
    this.#worker = new Worker(WORKER, {
      workerData: data,
      name: 'xe-vfio pre-copy',
      trackUnmanagedFds: false,
    });
    this.#worker.unref();
    this.#worker.on('message', () => this.#end(undefined));
    this.#worker.on('error', (error) => this.#fail(String(error)));
    this.#worker.on('exit', () => this.#fail('it has ended'));
  }

  /** @throws {Fault} EIO when the thread is gone */
  pass(order: ScanOrder, percent: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settle = (failure) => (failure === undefined ? resolve() : reject(failure));
      if (this.#failure !== undefined) return this.#end(this.#failure);
      this.#worker.ref();
      this.#worker.postMessage({ type: 'pass', order, percent } satisfies ToScanWorker);
    });
  }

  /** @returns once the thread has ended */
  async close(): Promise<void> {
    if (this.#failure !== undefined) return;
    const ended = new Promise((resolve) => this.#worker.once('exit', resolve));
    this.#worker.postMessage({ type: 'close' } satisfies ToScanWorker);
    await ended;
  }

  #fail(reason: string): void {
    this.#failure = new Fault('EIO', `a thread that compares VRAM failed: ${reason}`);
    this.#end(this.#failure);
  }

  #end(failure: Fault | undefined): void {
    const settle = this.#settle;
    this.#settle = undefined;
    this.#worker.unref();
    settle?.(failure);
  }
}

/** Runs one pass at a time. */
export class ScanPool {
  readonly #table: BlockTable;
  readonly #local: BlockScanner;
  /** For passes with a budget, and for those with all cores. */
  readonly #background: readonly ScanThread[];
  readonly #foreground: readonly ScanThread[];
  #passing: Promise<void> = Promise.resolve();
  #closed = false;

  /** @param threads how many to start; 0 compares in this thread, between its other work */
  constructor(
    table: BlockTable,
    local: BlockScanner,
    threads: number,
    data: Omit<ScanWorkerData, 'nice'>,
  ) {
    this.#table = table;
    this.#local = local;
    const count = existsSync(WORKER) ? threads : 0;
    const start = (length: number, nice: number) =>
      Array.from({ length }, () => new ScanThread({ ...data, nice }));
    this.#foreground = start(count, 0);
    this.#background = start(count > 1 ? count - 1 : count, NICE);
  }

  /**
   * Looks at the blocks once.
   *
   * @param percent of a core that may be used, behind whoever else wants it; all cores, as important
   * as any, unless given
   * @returns blocks that were found changed, undefined when the pass was called off
   * @throws {Fault} EIO when a thread failed
   */
  async pass(order: ScanOrder, percent?: number): Promise<number | undefined> {
    const { control } = this.#table;
    await this.#passing;
    if (this.#closed) return undefined;
    control.fill(0);
    const passing = this.#foreground.length === 0 ? this.#here(order) : this.#there(order, percent);
    this.#passing = passing.catch(() => {});
    await passing;
    return control[CONTROL.STOP] === 0 ? control[CONTROL.FOUND] : undefined;
  }

  /** Calls the pass under way off and waits for its end. */
  async stop(): Promise<void> {
    const { control } = this.#table;
    Atomics.store(control, CONTROL.STOP, 1);
    Atomics.notify(control, CONTROL.STOP);
    await this.#passing;
  }

  /** Ends the threads. @returns once none of them touches the memory any more */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.stop();
    const threads = [...this.#foreground, ...this.#background];
    await Promise.all(threads.map((thread) => thread.close()));
    this.#local.close();
  }

  async #here(order: ScanOrder): Promise<void> {
    while (this.#local.step(order)) await new Promise((resolve) => setImmediate(resolve));
  }

  async #there(order: ScanOrder, percent: number | undefined): Promise<void> {
    const threads = percent === undefined ? this.#foreground : this.#background;
    const all = threads.length * WHOLE_CORE;
    const count = Math.min(threads.length, Math.ceil((percent ?? all) / WHOLE_CORE));
    const each = Math.min(WHOLE_CORE, (percent ?? all) / count);
    await Promise.all(threads.slice(0, count).map((thread) => thread.pass(order, each)));
  }
}
