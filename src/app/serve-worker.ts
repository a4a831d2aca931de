/** The thread that holds one GPU and answers the sockets of its VFs. Entry of a worker. */
import { parentPort, workerData } from 'node:worker_threads';
import { Fault, toFault } from '../base/fault.ts';
import { migStateName } from '../vfio/migration-state.ts';
import { VfioUserServer } from '../vfio-user/server.ts';
import { ServerLoop } from '../vfio-user/server-loop.ts';
import type { XeVfioPci } from '../xe-vfio-pci/xe-vfio-pci.ts';
import { EmulatedHost } from './emulated-host.ts';
import { LinuxHost } from './linux-host.ts';
import { encodeRefusal } from './refusal-json.ts';
import { logDevice, logFunctions, logPf, logServer, unattendedMigration } from './serve-log.ts';
import type {
  FromServer,
  ServedSocket,
  ServeOptions,
  ServeRequest,
  ToServer,
  VfStatus,
} from './serve-messages.ts';
import { answerTool } from './tool-request-server.ts';
import type { VfHost } from './vf-host.ts';
import { encodeServedVf } from './vf-profile-json.ts';
import { watchVmm } from './vmm-watch.ts';

/** One VF and its server. */
interface Served {
  readonly socket: ServedSocket;
  readonly device: XeVfioPci;
  readonly server: VfioUserServer;
}

/** Everything that this thread serves. */
class ServingThread {
  readonly #host: VfHost;
  /** Address of the PF of a real GPU. */
  readonly #pf: string | undefined;
  readonly #loop: ServerLoop;
  readonly #served = new Map<number, Served>();

  private constructor(host: VfHost, loop: ServerLoop, pf: string | undefined) {
    this.#host = host;
    this.#pf = pf;
    this.#loop = loop;
  }

  /** @throws {Fault} what making the host or listening says; nothing is left behind then */
  static async start(options: ServeOptions): Promise<ServingThread> {
    const { pollUs, pf } = options;
    const loop = new ServerLoop(pollUs === undefined ? {} : { pollUs });
    const host = await makeHost(options, loop).catch(async (error: unknown) => {
      await loop.stop();
      throw error;
    });
    const thread = new ServingThread(host, loop, pf);
    if (host instanceof LinuxHost)
      host.events.on(({ type, vfid }) => {
        if (type === 'request') void thread.#release(vfid);
      });
    try {
      for (const socket of options.sockets) await thread.#serve(socket);
      return thread;
    } catch (error) {
      await thread.#end();
      throw error;
    }
  }

  /** Answers the sockets until it is told to stop. */
  async run(): Promise<void> {
    await this.#loop.run();
    await this.#end();
  }

  async answer(request: ServeRequest): Promise<unknown> {
    switch (request.op) {
      case 'status':
        return await this.status();
      case 'digests':
        return this.#host.digests(request.vfid);
      case 'counters':
        return this.#host.counters(request.vfid);
      case 'stop':
        void this.#loop.stop();
        return undefined;
    }
  }

  async status(): Promise<VfStatus[]> {
    return await Promise.all(
      [...this.#served.values()].map(async ({ socket: { vfid, path }, device }) => ({
        vfid,
        path,
        pf: this.#pf,
        profile: this.#host.profile(vfid),
        state:
          device.migrationFlags === 0 ? undefined : migStateName(await device.migrationState()),
      })),
    );
  }

  async #serve(socket: ServedSocket): Promise<void> {
    const { vfid, path, fd } = socket;
    const device = await this.#host.open(vfid);
    logDevice(device.events, vfid, say);
    const profile = this.#host.profile(vfid);
    let refusal: Fault | undefined;
    const server: VfioUserServer = new VfioUserServer({
      device,
      loop: this.#loop,
      extension: () => ({
        ...encodeServedVf({ vfid, profile }),
        ...(refusal === undefined ? {} : { refusal: encodeRefusal(refusal) }),
      }),
      answer: (request) => answerTool(request, { vfid, host: this.#host, device, server }),
      ...(path === undefined ? {} : { socketPath: path }),
      ...(fd === undefined ? {} : { listenFd: fd }),
    });
    server.events.on((event) => {
      if (event.type === 'refused' && event.role === 'migration') refusal = event.fault;
    });
    logServer(server.events, vfid, say);
    watchVmm(
      () => server.vmmPid,
      () => server.hasMigrationClient,
      (pid) => say({ type: 'event', event: { vfid, ...unattendedMigration(pid) } }),
    );
    this.#served.set(vfid, { socket, device, server });
  }

  /** Gives a VF back that the kernel wants for somebody else; without any VF there is nothing to serve. */
  async #release(vfid: number): Promise<void> {
    const served = this.#served.get(vfid);
    if (served === undefined) return;
    this.#served.delete(vfid);
    await served.server.close();
    await served.device.close();
    await this.#host.release(vfid);
    if (this.#served.size > 0) return;
    say({ type: 'failed', error: errorOf(new Fault('ENODEV', 'the kernel wants its VFs back')) });
    await this.#loop.stop();
  }

  async #end(): Promise<void> {
    await this.#loop.stop();
    for (const { device } of this.#served.values()) await device.close();
    await this.#host.close();
  }
}

async function makeHost(options: ServeOptions, loop: ServerLoop): Promise<VfHost> {
  if (options.pf !== undefined) {
    const host = new LinuxHost(options);
    logFunctions(host.events, say);
    return host;
  }
  const host = await EmulatedHost.create(options, loop);
  logPf(host.pf.events, say);
  return host;
}

if (parentPort === null) throw new TypeError('this is the entry of a worker thread');
const port = parentPort;
const say = (message: FromServer) => port.postMessage(message);

function errorOf(error: unknown) {
  const { code, message, hint } = toFault(error);
  return { code, message, hint };
}

port.on('message', ({ id, request }: ToServer) => {
  (thread === undefined
    ? Promise.reject(new Fault('EAGAIN', 'not ready'))
    : thread.answer(request)
  ).then(
    (value) => say({ type: 'answer', id, value }),
    (error: unknown) => say({ type: 'refusal', id, error: errorOf(error) }),
  );
});

let thread: ServingThread | undefined;
try {
  thread = await ServingThread.start(workerData as ServeOptions);
  say({ type: 'ready', vfs: await thread.status() });
  await thread.run();
} catch (error) {
  say({ type: 'failed', error: errorOf(error) });
}
port.close();
