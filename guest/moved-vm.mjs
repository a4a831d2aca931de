// A guest of the rig that goes from one stock QEMU to another, with jobs in it that check themselves.
// guest/moves-vm.mjs and test/e2e/slow/moves-vm.test.ts say what is to be seen of it.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { GUEST_PATH } from '../dist/app/guest-initramfs.js';
import { judgeKernelLog, logLineText, parseKernelLog } from '../dist/app/guest-log.js';
import { prepareExerciser, prepareRig } from '../dist/app/guest-rig.js';
import { GuestSession } from '../dist/app/guest-session.js';
import { QmpClient } from '../dist/app/qmp.js';
import { ServerProcess } from '../dist/app/server-process.js';
import { moveVm } from '../dist/app/vm-move.js';
import { restoreVm } from '../dist/app/vm-restore.js';
import { saveVm } from '../dist/app/vm-save.js';
import { Hosts } from './hosts.mjs';

/** How long QEMU may take to start, and the guest to show that it lives. */
const QEMU_MS = 60_000;
const JOBS_MS = 30_000;
/** Until the sockets of a QEMU that has ended are known to be closed. */
const LEFT_MS = 100;
/** The loop of jobs is longer than any run; it is ended by a signal. */
const LOOP_SECONDS = 86_400;
const XE_VFIO = fileURLToPath(new URL('../bin/xe-vfio', import.meta.url));

/**
 * @typedef {object} MovedVmOptions
 * @property {'ptl' | 'bmg'} platform
 * @property {number} memory bytes
 * @property {boolean} [transparent] two PFs with equal GGTT ranges instead of two VFs of one
 * @property {boolean} [shared] RAM in a file that all QEMUs map
 * @property {boolean} [separate] a server process for each VF, so that one can be ended alone
 * @property {boolean} [hosts] a network namespace for each VF's QEMU, and TCP between them; root
 * @property {boolean} [bare] no VF: what QEMU alone can do
 * @property {(text: string) => void} [say]
 */

/** A guest, two VFs that it is moved between, and all QEMUs that had it. */
export class MovedVm {
  /** @type {GuestSession} */ session;
  /** Address of the VF in the guest, once it was probed. */
  address;
  /** Last line of the jobs. */
  lastLine = '';
  /** Number of the VF that the guest has. */
  place = 0;
  #options;
  #directory = mkdtempSync(join(tmpdir(), 'xe-vfio-vm-'));
  #memoryFile;
  #servers = [];
  #sockets = [];
  #qmp;
  #targets = 0;
  #jobs;
  #qemus = [];
  #hosts;

  /** @param {MovedVmOptions} options */
  static async start(options) {
    const vm = new MovedVm();
    vm.#options = { say: () => {}, ...options };
    try {
      await vm.#start();
      return vm;
    } catch (error) {
      await vm.stop();
      throw error;
    }
  }

  async #start() {
    const { platform, transparent, shared, separate, bare, memory, say } = this.#options;
    const rig = await prepareRig(say);
    const exerciser = await prepareExerciser(rig);
    const discrete = platform === 'bmg';
    const vram = discrete ? ['--vram', '512M'] : [];
    const pfs = bare ? 0 : transparent || separate ? 2 : 1;
    for (let pf = 0; pf < pfs; pf++) {
      // Of separate servers the second one's VF has another number, and so another GGTT range.
      const vfs = pfs === 1 || (separate && !transparent) ? [1, 2] : [1];
      const socket = (vf) => join(this.#directory, `pf${pf}-vf${vf}.sock`);
      const args = ['--platform', platform, '--vfs', String(vfs.length), '--vf', 'all'];
      this.#servers.push(await ServerProcess.start([...args, '--socket', socket('%d'), ...vram]));
      if (pfs === 1) this.#sockets = vfs.map(socket);
      else this.#sockets.push(socket(vfs[pf] ?? 1));
    }
    this.#memoryFile = join('/dev/shm', `xe-vfio-vm-${process.pid}-${Date.now()}`);
    this.#qmp = join(this.#directory, 'qmp0.sock');
    if (this.#options.hosts) this.#hosts = await Hosts.join(2);
    const object = `memory-backend-file,id=memory,size=${memory},share=on`;
    this.session = await GuestSession.start({
      rig,
      directory: this.#directory,
      vfSockets: this.#socketsOf(0),
      discrete,
      memory,
      files: [{ path: GUEST_PATH.EXERCISER, from: exerciser }],
      memoryObject: shared ? `${object},mem-path=${this.#memoryFile}` : undefined,
      extraArgs: ['-qmp', `unix:${this.#qmp},server=on,wait=off`],
      launcher: this.#hosts?.launcher(0),
    });
    say(`booted in ${((await this.session.waitBoot()) / 1000).toFixed(1)} s`);
  }

  #socketsOf(place) {
    return this.#options.bare ? [] : [this.#sockets[place]];
  }

  /** QMP socket of the QEMU that has the guest. */
  get qmp() {
    return this.#qmp;
  }

  /** Where scratch files may lie; it goes with the guest. */
  get directory() {
    return this.#directory;
  }

  /** The server of a VF; with `separate` one process each. */
  server(place) {
    return this.#servers[place % this.#servers.length];
  }

  /** Loads xe. */
  async probe() {
    const { devices, probeMs } = await this.session.waitProbe();
    this.#options.say(`probed in ${(probeMs / 1000).toFixed(2)} s: ${JSON.stringify(devices)}`);
    const [device] = devices;
    if (device?.driver !== 'xe') throw new Error('xe did not take the VF');
    this.address = device.address;
    this.renderNode = device.renderNode;
  }

  /** Starts the loop of jobs and waits until some are done. */
  async startJobs(args = '') {
    const device = `/dev/dri/${this.renderNode}`;
    const command = `${GUEST_PATH.EXERCISER} --device ${device} --loop ${LOOP_SECONDS} ${args}`;
    const { say } = this.#options;
    this.#jobs = this.session.run(command, {
      timeoutMs: Number.POSITIVE_INFINITY,
      onLine: (line) => {
        if (line.startsWith('#')) say(`guest: ${line}`);
        else this.lastLine = line;
      },
    });
    this.#jobs.catch(() => {});
    if (!(await until(() => /^jobs [1-9]/.test(this.lastLine), JOBS_MS)))
      throw new Error(`no jobs in the guest: "${this.lastLine}"`);
  }

  /** True when more jobs are done in time, and none is bad. */
  async jobsGoOn() {
    const before = this.lastLine;
    return (await until(() => this.lastLine !== before, JOBS_MS)) && / bad 0$/.test(this.lastLine);
  }

  /** Ends the jobs. @returns {Promise<string>} their total */
  async endJobs() {
    await this.session.run('killall -TERM exerciser || pkill -TERM exerciser');
    const { output } = await this.#jobs;
    return output.split('\n').at(-1) ?? '';
  }

  /** A QEMU that waits for the guest at the other VF, or at `place`. */
  async startTarget(place = 1 - this.place) {
    const path = join(this.#directory, `qmp${++this.#targets}.sock`);
    const args = ['-qmp', `unix:${path},server=on,wait=off`, '-S', '-incoming', 'defer'];
    const launcher = this.#hosts?.launcher(place);
    const qemu = await this.session.startTarget(this.#socketsOf(place), args, launcher);
    this.#qemus.push({ qemu, path });
    void qemu.ended.then(() => {
      qemu.gone = true;
    });
    // It listens before its devices are there, and answers when they are.
    const answers = async () => {
      const client = await QmpClient.connect(path, QEMU_MS).catch(() => undefined);
      client?.close();
      return client !== undefined;
    };
    if (!(await until(answers, QEMU_MS))) throw new Error('QEMU does not start');
    return { qemu, path, place };
  }

  /** The guest is at `target` now. */
  movedTo({ qemu, path, place }) {
    this.session.movedTo(qemu);
    this.#qmp = path;
    this.place = place;
  }

  /** Moves the guest to a new QEMU at the other VF. @returns what `moveVm` tells */
  async move(options = {}) {
    const target = await this.startTarget();
    const { transparent } = this.#options;
    const onEvent = (event) => {
      // Before the QEMU that had it ends.
      if (event.type === 'step' && event.step === 'done') this.movedTo(target);
    };
    const address = this.#hosts?.address(target.place);
    const via = address === undefined ? undefined : `tcp:${address}:4444`;
    const places = { from: this.#qmp, to: target.path, via };
    const left = this.session.ended;
    try {
      const result = await moveVm({ ...places, transparent, onEvent, ...options });
      // What is said to the guest now would otherwise go to the QEMU that it has left.
      await left;
      await delay(LEFT_MS);
      return result;
    } catch (error) {
      await target.qemu.kill();
      throw error;
    }
  }

  /**
   * Saves the guest and restores it at the other VF.
   * @param {boolean} resume lets it go on first, as after a snapshot, and ends it then
   */
  async throughFile(resume = false) {
    const file = join(this.#directory, 'vm.xevm');
    const { transparent } = this.#options;
    const old = this.#qmp;
    const target = await this.startTarget();
    const saved = await saveVm({ from: old, file, resume, keepSource: true });
    if (resume && !(await this.jobsGoOn())) throw new Error(`after the save: "${this.lastLine}"`);
    this.movedTo(target);
    await quitQemu(old);
    const restored = await restoreVm({ to: target.path, file, transparent });
    rmSync(file, { recursive: true });
    return { saved, restored };
  }

  /** Runs `xe-vfio migrate-vm` to a new QEMU; it stands still before `step`. */
  async pausedMove(step) {
    const target = await this.startTarget();
    return { target, ...(await this.#pausedTool(step, ['migrate-vm', '--to', target.path])) };
  }

  /** Runs `xe-vfio save-vm`, which stands still before `step`. */
  async pausedSave(step) {
    return await this.#pausedTool(step, ['save-vm', '--file', join(this.#directory, 'vm.xevm')]);
  }

  async #pausedTool(step, args) {
    const tool = spawn(XE_VFIO, [...args, '--from', this.#qmp, '--keep-source'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, XE_VFIO_TEST_PAUSE_AT: step },
    });
    let text = '';
    tool.stderr.setEncoding('utf8').on('data', (said) => {
      text += said;
    });
    const ended = new Promise((resolve) => tool.once('close', resolve));
    if (!(await until(() => text.includes('paused before'), QEMU_MS)))
      throw new Error(`no pause before ${step}: ${text}`);
    return { tool, ended, said: () => text };
  }

  /** Ends the QEMU that has the guest, which is then expected at `target`. */
  async leaveQemu({ qemu }) {
    const { pid } = this.session;
    this.session.movedTo(qemu);
    process.kill(pid, 'SIGKILL');
    await until(() => !existsSync(`/proc/${pid}/exe`), QEMU_MS);
  }

  /** Names of saved VMs, also of such that are not complete. */
  savedVms() {
    return readdirSync(this.#directory).filter((name) => name.includes('.xevm'));
  }

  /** QMP sockets of the QEMUs in which a guest runs. */
  async runningQemus() {
    const first = { path: join(this.#directory, 'qmp0.sock') };
    const running = [];
    for (const { path } of [first, ...this.#qemus]) {
      const qmp = await QmpClient.connect(path).catch(() => undefined);
      const { status } = (await qmp?.execute('query-status').catch(() => undefined)) ?? {};
      qmp?.close();
      if (status === 'running') running.push(path);
    }
    return running;
  }

  /** What is wrong with the kernel's log, and how many moves it says that xe recovered from. */
  async kernelLog() {
    const text = await this.session.dmesgText();
    const addresses = this.address === undefined ? [] : [this.address];
    const { unexpected } = judgeKernelLog(parseKernelLog(text), addresses);
    // One line for each GT, of which every platform has two.
    const lines = text.split('\n').filter((line) => /migration recovery ended/.test(line));
    return { unexpected: unexpected.map(logLineText), recoveries: lines.length / 2 };
  }

  /** Ends everything. Idempotent. */
  async stop() {
    await this.session?.kill();
    for (const { qemu } of this.#qemus) await qemu.kill();
    for (const server of this.#servers.splice(0)) await server.stop().catch(() => {});
    await this.#hosts?.close();
    if (this.#memoryFile !== undefined) rmSync(this.#memoryFile, { force: true });
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** Waits for something to become true; false when it does not in time. */
export async function until(condition, ms) {
  for (const end = performance.now() + ms; performance.now() < end; await delay(20))
    if (await condition()) return true;
  return false;
}

async function quitQemu(path) {
  const qmp = await QmpClient.connect(path);
  await qmp.execute('quit').catch(() => {});
  await qmp.ended;
}
