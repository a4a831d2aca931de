/** A stock guest whose served VF is moved under it, and what it makes of that. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GUEST_PATH } from '../dist/app/guest-initramfs.js';
import { judgeKernelLog, logLineText } from '../dist/app/guest-log.js';
import { prepareExerciser, prepareRig } from '../dist/app/guest-rig.js';
import { GuestSession } from '../dist/app/guest-session.js';
import { requestRehome } from '../dist/app/rehome-control.js';
import { ServerProcess } from '../dist/app/server-process.js';

/** VFs of each of the two PFs, `a` and `b`. */
const VFS = 4;
/** How long the guest may take to say that it has recovered. */
const RECOVERY_MS = 60_000;
/** The loop is longer than any run; it is ended by a signal. */
const LOOP_SECONDS = 3600;
const COMMAND_TIMEOUT_MS = 120_000;
const AGAIN_MS = 50;

/** What a job that hangs makes the driver say. */
const HANG_LINES = [
  /Timedout job|Engine reset|reset queue|Killed by|device coredump|Xe device coredump/,
  /GPU HANG|exec queue reset|Check your \/sys\/class\/drm/,
];

/** The guest, its server, and the VF's moves. */
export class MovingGuest {
  /** Path of the socket that QEMU is connected to. */
  socket;
  session;
  /** The part has VRAM. */
  discrete;
  /** What the guest calls the VF. */
  device;
  #directory;
  #server;
  #say;
  #loop;
  #hangs = false;
  #pf = 0;

  constructor(parts) {
    this.#directory = parts.directory;
    this.socket = parts.socket;
    this.discrete = parts.discrete;
    this.#server = parts.server;
    this.session = parts.session;
    this.#say = parts.say;
  }

  /**
   * Boots a guest; its driver is loaded by {@link probe}.
   *
   * @param {{ platform: string, say: (line: string) => void, smp?: number, drmDebug?: string }} options
   */
  static async start({ platform, say, smp = 2, drmDebug }) {
    const rig = await prepareRig(say);
    const exerciser = await prepareExerciser(rig);
    const directory = await mkdtemp(join(tmpdir(), 'xe-vfio-moves-'));
    const socket = join(directory, 'vf.sock');
    const discrete = platform === 'bmg';
    const memory = discrete ? ['--vram', '256M'] : [];
    const serve = ['--platform', platform, '--vfs', String(VFS), '--pfs', 'a,b', ...memory];
    let server;
    try {
      server = await ServerProcess.start([...serve, '--socket', socket]);
      const session = await GuestSession.start({
        rig,
        directory,
        vfSockets: [socket],
        discrete,
        smp,
        memory: 2 ** 30,
        files: [{ path: GUEST_PATH.EXERCISER, from: exerciser }],
        moduleArgs: drmDebug === undefined ? {} : { drm: `debug=${drmDebug}` },
      });
      const guest = new MovingGuest({ directory, socket, discrete, server, session, say });
      say(`booted in ${(await session.waitBoot()).toFixed(0)} ms`);
      return guest;
    } catch (error) {
      await server?.stop();
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  /** Process id of the server. */
  get serverPid() {
    return this.#server.pid;
  }

  /** Loads the guest's driver. */
  async probe() {
    await this.session.waitProbe();
    await this.findDevice();
    this.#say(`probed: ${this.device.address}`);
  }

  /** Looks where the guest's driver has the VF. */
  async findDevice() {
    const [device] = await this.session.devices();
    if (device?.renderNode === undefined) throw new Error('xe did not probe the VF');
    this.device = device;
  }

  /** Runs a command in the guest that must succeed. */
  async must(command) {
    const { status, output } = await this.session.run(command, { timeoutMs: COMMAND_TIMEOUT_MS });
    if (status !== 0) throw new Error(`${command}: ${output}`);
    return output;
  }

  /** Moves the VF to another one; transparently to the same VF of the other PF. */
  async rehome(request = {}) {
    const { transparent = false } = request;
    if (!transparent) return await requestRehome(this.socket, request);
    const pf = this.#pf === 0 ? 'b' : 'a';
    const answer = await requestRehome(this.socket, { ...request, pf });
    this.#pf = 1 - this.#pf;
    return answer;
  }

  /** Moves the VF as soon as its driver, which may be starting, could recover. */
  async rehomeSoon(request = {}) {
    const end = performance.now() + COMMAND_TIMEOUT_MS;
    for (;;) {
      try {
        return await this.rehome(request);
      } catch (error) {
        if (error.code !== 'EBUSY' || performance.now() > end) throw error;
        await sleep(AGAIN_MS);
      }
    }
  }

  /** Another process takes the running server's place. */
  async takeOver() {
    const at = performance.now();
    const before = this.#server;
    this.#server = await ServerProcess.start(['--takeover', this.socket]);
    await before.gone();
    const [vf] = await this.#server.ask({ op: 'status' });
    return { holdMs: vf.heldMs, totalMs: performance.now() - at };
  }

  /** The server was replaced by somebody else's hand. */
  replaced(server) {
    this.#server = server;
  }

  /** Starts the exerciser's loop, with companions, and waits until its first jobs are done. */
  async startLoop(companions = '') {
    let last = { jobs: 0, bad: 0 };
    const output = [];
    let begun;
    const running = new Promise((resolve) => {
      begun = resolve;
    });
    const onLine = (line) => {
      const match = /jobs (\d+) bad (\d+)/.exec(line);
      output.push(line);
      if (match === null) return;
      last = { jobs: Number(match[1]), bad: Number(match[2]) };
      if (last.jobs > 0) begun();
    };
    this.#hangs = companions.split(',').includes('hang');
    const more = companions === '' ? '' : ` --with ${companions}`;
    const { renderNode } = this.device;
    const command = `${GUEST_PATH.EXERCISER} --device /dev/dri/${renderNode} --loop ${LOOP_SECONDS}${more}`;
    const ended = this.session
      .run(command, { timeoutMs: LOOP_SECONDS * 1000, onLine })
      .then(() => ({ ...last, output }));
    ended.then(begun, begun);
    this.#loop = { ended, progress: () => ({ ...last, output }) };
    await running;
  }

  /** What the loop has done so far. */
  get progress() {
    return this.#loop.progress();
  }

  /** Waits until the loop has done so many jobs more. */
  async moreJobs(count) {
    const wanted = this.progress.jobs + count;
    const end = performance.now() + RECOVERY_MS;
    while (this.progress.jobs < wanted) {
      if (performance.now() > end) throw new Error(`the loop stands still at ${wanted - count}`);
      await sleep(100);
    }
  }

  /** Ends the loop. */
  async endLoop() {
    await this.session.run(`killall -TERM $(basename ${GUEST_PATH.EXERCISER})`);
    return await this.#loop.ended;
  }

  /** Waits until the driver has nothing left to recover from. */
  async recovered() {
    const end = performance.now() + RECOVERY_MS;
    let quiet = 0;
    let before = -1;
    while (performance.now() < end && quiet < 3) {
      const lines = (await this.session.dmesg()).filter(({ text }) => /xe .*migration/.test(text));
      const isDone = lines.length === 0 || /recovery ended/.test(lines.at(-1)?.text ?? '');
      quiet = isDone && lines.length === before ? quiet + 1 : 0;
      before = lines.length;
      await sleep(200);
    }
    if (quiet < 3) throw new Error('the driver does not come to the end of its recovery');
  }

  /** What the guest's kernel log says of its driver, from a phase on. */
  async judge(phase) {
    const lines = await this.session.dmesg();
    const allowed = this.#hangs
      ? HANG_LINES.map((pattern) => ({ pattern, reason: 'a job that hangs is reset' }))
      : [];
    const { unexpected } = judgeKernelLog(lines, [this.device.address], allowed);
    const from = phase === undefined ? 0 : lines.findIndex((line) => line.phase === phase);
    const own = from < 0 ? [] : lines.slice(from);
    const count = (pattern) => own.filter(({ text }) => pattern.test(text)).length;
    return {
      lines,
      recoveries: count(/migration recovery ended/),
      /** RESFIX_DONE refused: the main GT's recovery begins again for no other reason. */
      refused: count(/GT0: Re-queuing migration recovery/),
      noticed: count(/xe .*migrat/i),
      unexpected: unexpected.map(logLineText),
    };
  }

  /** The kernel log as text. */
  async log() {
    return (await this.session.dmesg()).map(logLineText).join('\n');
  }

  /** Ends the guest and its server. */
  async close() {
    await this.session.kill();
    await this.#server.stop();
    await rm(this.#directory, { recursive: true, force: true });
  }
}
