/** The thread that holds one GPU and answers the sockets of its VFs. Entry of a worker. */
import { parentPort, workerData } from 'node:worker_threads';
import { Fault, toFault } from '../base/fault.ts';
import { UnixSocket } from '../sys/unix-socket.ts';
import { MIG_STATE, migStateName } from '../vfio/migration-state.ts';
import type { MigrationData } from '../vfio/vfio-device.ts';
import { type ServedSocketState, VfioUserServer } from '../vfio-user/server.ts';
import { ServerLoop } from '../vfio-user/server-loop.ts';
import { EmulatedHost } from './emulated-host.ts';
import { type HandedVf, handOver } from './handover-source.ts';
import {
  awaitGo,
  HANDOVER_TIMEOUT_MS,
  type HandoverOffer,
  type HandoverStep,
  offerOf,
  prepareVf,
  receiveVf,
  type TakenVf,
} from './handover-target.ts';
import { HANDOVER_VERSION, HandoverWire } from './handover-wire.ts';
import { LinuxHost } from './linux-host.ts';
import { encodeRefusal } from './refusal-json.ts';
import type { HomedVf } from './rehome.ts';
import { answerControl } from './rehome-control.ts';
import { DEFAULT_PF_NAME, homeOf, rehomeServed, type VfPlace } from './rehome-served.ts';
import { logDevice, logFunctions, logPf, logServer, unattendedMigration } from './serve-log.ts';
import type {
  FromServer,
  RehomeAnswer,
  RehomeRequest,
  ServedSocket,
  ServeEvent,
  ServeOptions,
  ServeRequest,
  TakeOverOptions,
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
  readonly server: VfioUserServer;
  /** Where the VF is now; a move changes it. */
  home: VfPlace;
  /** A move is under way. */
  moving: boolean;
}

/** Everything that this thread serves. */
class ServingThread {
  /** By the name of the PF; that of a real one is its address. */
  readonly #hosts: ReadonlyMap<string, VfHost>;
  readonly #first: string;
  /** Address of the PF of a real GPU. */
  readonly #pf: string | undefined;
  readonly #loop: ServerLoop;
  readonly #options: ServeOptions;
  readonly #served: Served[] = [];
  /** For how long guests were held by a take-over. */
  #heldMs: number | undefined;

  private constructor(hosts: ReadonlyMap<string, VfHost>, loop: ServerLoop, options: ServeOptions) {
    this.#hosts = hosts;
    this.#options = options;
    const [first = ''] = hosts.keys();
    this.#first = first;
    this.#pf = options.pf;
    this.#loop = loop;
  }

  /**
   * Takes the place of the server at a path, which then ends.
   * @throws {Fault} what it or making the hosts says; it serves on then, and nothing is left behind
   */
  static async takeOver({ path, pollUs, dieAt }: TakeOverOptions): Promise<ServingThread> {
    const { offer, wire } = offerOf(path);
    const reached = (step: HandoverStep) => {
      if (dieAt === step) process.kill(process.pid, 'SIGKILL');
    };
    reached('offered');
    const options: ServeOptions = { ...offer.options, ...(pollUs === undefined ? {} : { pollUs }) };
    const loop = new ServerLoop(options.pollUs === undefined ? {} : { pollUs: options.pollUs });
    const thread = new ServingThread(await makeHosts(options, loop), loop, options);
    try {
      const prepared: { target: HomedVf; data: MigrationData }[] = [];
      for (const { home } of offer.vfs) {
        const host = emulated(thread.#host(home.pf));
        const target = { host, vfid: home.vfid, device: await host.open(home.vfid) };
        prepared.push({ target, data: await prepareVf(target, home) });
      }
      wire.sendJson({ step: 'ready' });
      reached('ready');
      const taken: TakenVf[] = [];
      for (const { target, data } of prepared) {
        reached('streaming');
        const state = await receiveVf(wire, data);
        await target.device.setMigrationState(MIG_STATE.STOP);
        target.host.resumeUnnoticed(target.vfid, state.relayVersion);
        target.host.gpu.adoptBarMemory(target.vfid, state.memory);
        target.device.attach({ ...state.attachment, mappings: [] });
        taken.push({ target, state });
      }
      reached('loaded');
      const heldMs = awaitGo(wire);
      const goAt = performance.now();
      reached('go');
      for (const [index, { target, state }] of taken.entries()) {
        const { vfid, home } = offer.vfs[index] as HandoverOffer['vfs'][number];
        const socket = { vfid, path: state.server.path };
        const server = thread.#listen(socket, { pf: home.pf, ...target }, state.server);
        await target.device.setMigrationState(MIG_STATE.RUNNING);
        server.release();
      }
      if (heldMs !== undefined) thread.#heldMs = heldMs + performance.now() - goAt;
      return thread;
    } catch (error) {
      await thread.#end();
      throw error;
    } finally {
      wire.close();
    }
  }

  /** @throws {Fault} what making the host or listening says; nothing is left behind then */
  static async start(options: ServeOptions): Promise<ServingThread> {
    const { pollUs } = options;
    const loop = new ServerLoop(pollUs === undefined ? {} : { pollUs });
    const hosts = await makeHosts(options, loop).catch(async (error: unknown) => {
      await loop.stop();
      throw error;
    });
    const thread = new ServingThread(hosts, loop, options);
    for (const host of hosts.values())
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
        return this.#place(request.vfid).host.digests(this.#place(request.vfid).vfid);
      case 'counters':
        return this.#place(request.vfid).host.counters(this.#place(request.vfid).vfid);
      case 'rehome':
        return await this.#rehome(this.#served[request.socket], request.to);
      case 'stop':
        void this.#loop.stop();
        return undefined;
    }
  }

  async status(): Promise<VfStatus[]> {
    return await Promise.all(
      this.#served.map(async ({ socket: { path }, home: { vfid, host, device } }) => ({
        vfid,
        path,
        pf: this.#pf,
        heldMs: this.#heldMs,
        profile: host.profile(vfid),
        state:
          device.migrationFlags === 0 ? undefined : migStateName(await device.migrationState()),
      })),
    );
  }

  /** Process id of the VMM of a VF, undefined when there is none, or none that can be seen. */
  vmmPid(pf: string, vfid: number): number | undefined {
    const served = this.#served.find(({ home }) => home.pf === pf && home.vfid === vfid);
    return served?.server.vmmPid;
  }

  /** Where the VF is now whose socket was made for `vfid`; a VF that is not served is where it was. */
  #place(vfid: number): { readonly host: VfHost; readonly vfid: number } {
    const served = this.#served.find(({ socket }) => socket.vfid === vfid);
    return served?.home ?? { host: this.#host(this.#first), vfid };
  }

  /** @throws {Fault} ENODEV when no PF has this name */
  #host(name: string): VfHost {
    const host = this.#hosts.get(name);
    if (host !== undefined) return host;
    const names = [...this.#hosts.keys()].join(', ');
    throw new Fault('ENODEV', `there is no PF ${name} in this server`, { hint: `it has ${names}` });
  }

  async #serve(socket: ServedSocket): Promise<void> {
    const { vfid } = socket;
    const host = this.#host(this.#first);
    const device = await host.open(vfid);
    this.#listen(socket, { pf: this.#first, host, vfid, device }, undefined);
  }

  /** @param from the server in another process whose place this one takes */
  #listen(
    socket: ServedSocket,
    home: VfPlace,
    from: ServedSocketState | undefined,
  ): VfioUserServer {
    const { vfid, path, fd } = socket;
    const { device } = home;
    logDevice(device.events, vfid, say);
    let refusal: Fault | undefined;
    const server: VfioUserServer = new VfioUserServer({
      device,
      loop: this.#loop,
      extension: () => ({
        ...encodeServedVf({
          vfid: served.home.vfid,
          profile: served.home.host.profile(served.home.vfid),
        }),
        ...(refusal === undefined ? {} : { refusal: encodeRefusal(refusal) }),
      }),
      control: async (request) =>
        await answerControl(request, {
          rehome: (to) => this.#rehome(served, to),
          takeover: (version) => this.#offer(version),
          ask: async (asked) => await answerTool(asked, { ...served.home, server }),
        }),
      ...(from === undefined ? {} : { from }),
      ...(path === undefined ? {} : { socketPath: path }),
      ...(fd === undefined ? {} : { listenFd: fd }),
    });
    const served: Served = { socket, server, home, moving: false };
    server.events.on((event) => {
      if (event.type === 'refused' && event.role === 'migration') refusal = event.fault;
    });
    logServer(server.events, vfid, say);
    watchVmm(
      () => server.vmmPid,
      () => server.hasMigrationClient,
      (pid) => say({ type: 'event', event: { vfid, ...unattendedMigration(pid) } }),
    );
    this.#served.push(served);
    return server;
  }

  /** Offers to hand everything over, and does so when the other process is ready. */
  async #offer(version: unknown): Promise<{ offer: HandoverOffer; socket: UnixSocket }> {
    if (version !== HANDOVER_VERSION)
      throw new Fault('EPROTO', `it speaks version ${HANDOVER_VERSION}, not ${String(version)}`);
    if (this.#served.some(({ moving }) => moving)) throw new Fault('EBUSY', 'a VF is being moved');
    const vfs = this.#served.map(({ home, server }) => ({
      ...home,
      host: emulated(home.host),
      server,
    }));
    const offered = this.#served.map(({ socket, home }) => ({
      vfid: socket.vfid,
      home: homeOf(home.pf, emulated(home.host), home.vfid),
    }));
    for (const served of this.#served) served.moving = true;
    const [mine, socket] = UnixSocket.pair();
    void this.#handOver(vfs, new HandoverWire(mine, HANDOVER_TIMEOUT_MS));
    return { offer: { version, options: this.#options, vfs: offered }, socket };
  }

  async #handOver(vfs: readonly HandedVf[], wire: HandoverWire): Promise<void> {
    const log = (level: ServeEvent['level'], message: string, details: ServeEvent['details']) =>
      say({ type: 'event', event: { vfid: 0, level, message, details } });
    try {
      const holdMs = await handOver(vfs, wire, this.#loop);
      log('info', 'handed over to another process', { holdMs });
      say({ type: 'handed-over', holdMs });
      void this.#loop.stop();
    } catch (error) {
      const { code, message } = toFault(error);
      log('warn', 'not handed over', { errno: code, reason: message });
    } finally {
      for (const served of this.#served) served.moving = false;
      wire.close();
    }
  }

  async #rehome(served: Served | undefined, to: RehomeRequest): Promise<RehomeAnswer> {
    if (served === undefined) throw new Fault('ENODEV', 'nothing is served there');
    if (served.moving) throw new Fault('EBUSY', 'this VF is being moved already');
    served.moving = true;
    const log = (level: ServeEvent['level'], message: string, details: ServeEvent['details']) =>
      say({ type: 'event', event: { vfid: served.socket.vfid, level, message, details } });
    try {
      const { pf = served.home.pf } = to;
      const taken = this.#served.filter(({ home }) => home.pf === pf).map(({ home }) => home.vfid);
      const answer = await rehomeServed(served, { pf, host: this.#host(pf), taken }, to);
      logDevice(served.home.device.events, served.socket.vfid, say);
      log('info', 're-homed', { ...answer });
      return answer;
    } catch (error) {
      const { code, message } = toFault(error);
      log('warn', 'not re-homed', { errno: code, reason: message });
      throw error;
    } finally {
      served.moving = false;
    }
  }

  /** Gives a VF back that the kernel wants for somebody else; without any VF there is nothing to serve. */
  async #release(vfid: number): Promise<void> {
    const at = this.#served.findIndex(({ home }) => home.vfid === vfid);
    const [served] = at < 0 ? [] : this.#served.splice(at, 1);
    if (served === undefined) return;
    await served.server.close();
    await served.home.device.close();
    await served.home.host.release(vfid);
    if (this.#served.length > 0) return;
    say({ type: 'failed', error: errorOf(new Fault('ENODEV', 'the kernel wants its VFs back')) });
    await this.#loop.stop();
  }

  async #end(): Promise<void> {
    await this.#loop.stop();
    for (const { home } of this.#served) await home.device.close();
    for (const host of this.#hosts.values()) await host.close();
  }
}

/** @throws {Fault} EOPNOTSUPP for a real one */
function emulated(host: VfHost): EmulatedHost {
  if (host instanceof EmulatedHost) return host;
  throw new Fault('EOPNOTSUPP', 'VFs of a real GPU cannot be handed over');
}

/** The PFs by their names. */
async function makeHosts(
  options: ServeOptions,
  loop: ServerLoop,
): Promise<ReadonlyMap<string, VfHost>> {
  if (options.pf !== undefined) {
    const host = new LinuxHost(options);
    logFunctions(host.events, say);
    return new Map([[options.pf, host]]);
  }
  const hosts = new Map<string, EmulatedHost>();
  try {
    for (const name of options.pfNames ?? [DEFAULT_PF_NAME]) {
      const vmmPid = (vfid: number) => thread?.vmmPid(name, vfid);
      const host = await EmulatedHost.create(options, loop, vmmPid);
      logPf(host.pf.events, say);
      hosts.set(name, host);
    }
    return hosts;
  } catch (error) {
    for (const host of hosts.values()) host.close();
    throw error;
  }
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
  const wanted = workerData as ServeOptions | { readonly takeOver: TakeOverOptions };
  thread =
    'takeOver' in wanted
      ? await ServingThread.takeOver(wanted.takeOver)
      : await ServingThread.start(wanted);
  say({ type: 'ready', vfs: await thread.status() });
  await thread.run();
} catch (error) {
  say({ type: 'failed', error: errorOf(error) });
}
port.close();
