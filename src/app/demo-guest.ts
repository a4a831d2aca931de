/** The demo's guest, as the demo holds it: a thread that works on a VF until it is stopped. */
import { Worker } from 'node:worker_threads';
import { Fault } from '../base/fault.ts';
import type { FromGuest, GuestStart, ToGuest } from './demo-messages.ts';
import type { LoadCounts } from './guest-load.ts';

/** A guest under load. */
export class DemoGuest {
  readonly #worker: Worker;
  readonly #stop: Int32Array;
  readonly #ended: Promise<void>;
  #settle: { resolve: (counts: LoadCounts) => void; reject: (fault: Fault) => void } | undefined;

  private constructor(path: string, seed: number) {
    const stop = new SharedArrayBuffer(4);
    this.#stop = new Int32Array(stop);
    const workerData: GuestStart = { path, seed, stop };
    this.#worker = new Worker(new URL('./demo-guest-worker.js', import.meta.url), { workerData });
    this.#worker.on('message', (message: FromGuest) => {
      if (message.type === 'failed') this.#fail(message.reason);
      else this.#settle?.resolve(message.counts);
    });
    this.#worker.on('error', (error) => this.#fail(String(error)));
    this.#ended = new Promise((resolve) => {
      this.#worker.once('exit', () => resolve());
    });
  }

  /** Brings the guest up on the VF at `path`; it works from then on. @throws {Fault} EIO */
  static async boot(path: string, seed: number): Promise<DemoGuest> {
    const guest = new DemoGuest(path, seed);
    await guest.#next();
    return guest;
  }

  /** Stops the guest where it is, as a VMM stops its vCPUs. @throws {Fault} EIO */
  async stop(): Promise<LoadCounts> {
    const stopped = this.#next();
    Atomics.store(this.#stop, 0, 1);
    return await stopped;
  }

  /** Lets the guest go on at another VF, which has its state. @throws {Fault} EIO */
  async move(path: string): Promise<void> {
    Atomics.store(this.#stop, 0, 0);
    const booted = this.#next();
    const message: ToGuest = { path };
    this.#worker.postMessage(message);
    await booted;
  }

  /** Ends the guest for good, as soon as it is up and stopped. Idempotent. */
  async end(): Promise<void> {
    Atomics.store(this.#stop, 0, 1);
    // Never by terminate(): Node ends a thread with open watches by ending the process.
    const message: ToGuest = { path: undefined };
    this.#worker.postMessage(message);
    await this.#ended;
  }

  #next(): Promise<LoadCounts> {
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
  }

  #fail(reason: string): void {
    this.#settle?.reject(new Fault('EIO', `the guest failed: ${reason}`));
  }
}
