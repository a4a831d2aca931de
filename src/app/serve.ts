/** Serves VFs of an emulated or a real GPU: one thread a PF, its event loop left to the sockets. */
import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';
import { EventChannel } from '../base/event-channel.ts';
import { Fault } from '../base/fault.ts';
import type {
  FromServer,
  ServeAnswers,
  ServeError,
  ServeEvent,
  ServeOptions,
  ServeRequest,
  TakeOverOptions,
  ToServer,
  VfStatus,
} from './serve-messages.ts';

export type { VfStatus } from './serve-messages.ts';

/**
 * How V8 collects garbage in a server. A collection of young objects takes 0.1 to 0.3 ms of one
 * thread. Where V8's helpers have a part in it, the last of them is waited for: on a machine with more
 * work than cores those are milliseconds in which no register is answered.
 */
const V8_FLAGS = [
  '--no-parallel-scavenge',
  '--no-concurrent-array-buffer-sweeping',
  // Old objects hardly grow in number here. A collection of all of them takes milliseconds, and by
  // default there are some before the first 32 MiB are reached. The flags that keep helpers out of
  // those must not be changed in a process that runs.
  '--initial-old-space-size=64',
] as const;
/** MiB for young objects, a third of it at a time: few are alive, and so they stay in the caches. */
const YOUNG_SPACE_MIB = 3;

/** A reply that somebody waits for. */
interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Fault) => void;
}

/** VFs that are being served. */
export class ServedHost {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  readonly #exit: Promise<Fault | undefined>;
  #nextId = 1;
  #stopping = false;
  #failure: Fault | undefined;
  /** What happens at the sockets. */
  readonly events = new EventChannel<ServeEvent>();
  /** The VFs as they were at the start. */
  vfs: readonly VfStatus[] = [];

  private constructor(options: ServeOptions | { readonly takeOver: TakeOverOptions }) {
    for (const flag of V8_FLAGS) setFlagsFromString(flag);
    this.#worker = new Worker(new URL('./serve-worker.js', import.meta.url), {
      workerData: options,
      name: `xe-vfio ${nameOf(options)}`,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_SPACE_MIB },
      // Descriptors come over sockets and go by libc, of which Node knows nothing.
      trackUnmanagedFds: false,
    });
    this.#exit = new Promise((resolve) => {
      this.#worker.once('error', (error) => {
        this.#failure = new Fault('EIO', `the serving thread failed: ${String(error)}`, {
          cause: error,
        });
      });
      this.#worker.once('exit', () => {
        const failure = this.#failure ?? new Fault('ENODEV', 'the VFs are no longer served');
        this.#endWaiting(failure);
        resolve(this.#stopping ? undefined : failure);
      });
    });
  }

  /**
   * Makes the emulated GPU, or opens VFs of a real one, and serves them.
   *
   * @throws {Fault} EADDRINUSE when a socket is served already; EINVAL, ENOSPC, EPERM for what cannot
   * be had; ENODEV, EBUSY for a real VF; EACCES, ENOENT for a path that cannot be a socket
   */
  static start(options: ServeOptions): Promise<ServedHost> {
    return ServedHost.#start(options);
  }

  /**
   * Takes the place of a server in another process, with its clients, and waits until it serves.
   *
   * @throws {Fault} ENOENT, ECONNREFUSED when nobody serves the path; EPROTO for a server of another
   * version; EOPNOTSUPP, EBUSY, ECANCELED: the other server serves on then
   */
  static takeOver(takeOver: TakeOverOptions): Promise<ServedHost> {
    return ServedHost.#start({ takeOver });
  }

  static async #start(
    options: ServeOptions | { readonly takeOver: TakeOverOptions },
  ): Promise<ServedHost> {
    const host = new ServedHost(options);
    const started = new Promise<readonly VfStatus[]>((resolve, reject) => {
      host.#worker.on('message', (message: FromServer) => {
        if (message.type === 'ready') resolve(message.vfs);
        else host.#take(message);
      });
      void host.#exit.then(reject);
    });
    try {
      host.vfs = await started;
      return host;
    } catch (error) {
      // It ends by itself; terminate() would end the whole process over an open watch.
      await host.#exit;
      throw error;
    }
  }

  /** Resolves when serving is over: with the fault that ended it, or with nothing after a stop. */
  get ended(): Promise<Fault | undefined> {
    return this.#exit;
  }

  /** Asks the serving thread. @throws {Fault} what it answers; ENODEV when it has ended */
  async ask<Request extends ServeRequest>(request: Request): Promise<ServeAnswers[Request['op']]> {
    const id = this.#nextId++;
    return await new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
      const message: ToServer = { id, request };
      this.#worker.postMessage(message);
    });
  }

  /** Ends serving: clients are cut off, sockets removed, memory given back. Idempotent. */
  async stop(): Promise<void> {
    if (this.#stopping) return void (await this.#exit);
    this.#stopping = true;
    // Refused, the thread has ended already.
    await this.ask({ op: 'stop' }).catch(() => undefined);
    await this.#exit;
  }

  #take(message: FromServer): void {
    if (message.type === 'event') this.events.emit(message.event);
    if (message.type === 'handed-over') this.#stopping = true;
    if (message.type === 'failed') this.#failure = toFault(message.error);
    if (message.type !== 'answer' && message.type !== 'refusal') return;
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.type === 'answer') waiting?.resolve(message.value);
    else waiting?.reject(toFault(message.error));
  }

  #endWaiting(fault: Fault): void {
    for (const { reject } of this.#waiting.values()) reject(fault);
    this.#waiting.clear();
  }
}

function nameOf(options: ServeOptions | { readonly takeOver: TakeOverOptions }): string {
  if ('takeOver' in options) return options.takeOver.path;
  return options.pf ?? options.platform;
}

function toFault({ code, message, hint }: ServeError): Fault {
  return new Fault(code, message, hint === undefined ? {} : { hint });
}
