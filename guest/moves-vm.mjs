// A running guest with a VF is moved from one stock QEMU to another, again and again, while jobs with
// known results run in it. docs/whole-vm.md says what is done; this shows it.
//
//   node guest/moves-vm.mjs --platform ptl --moves 10
//   node guest/moves-vm.mjs --platform bmg --moves 10 --transparent
//   node guest/moves-vm.mjs --shared                    # RAM in a file that both QEMUs map
//   node guest/moves-vm.mjs --moves 3 --without dirty-log   # a control that has to fail
//   node guest/moves-vm.mjs --end tool,cancel,target        # before each step, then one move
//
// It needs the guest rig (docs/guest-rig.md) and a build (npm run build).
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { GUEST_PATH } from '../dist/app/guest-initramfs.js';
import { judgeKernelLog, logLineText, parseKernelLog } from '../dist/app/guest-log.js';
import { prepareExerciser, prepareRig } from '../dist/app/guest-rig.js';
import { GuestSession } from '../dist/app/guest-session.js';
import { ServerProcess } from '../dist/app/server-process.js';
import { moveVm } from '../dist/app/vm-move.js';

const { values } = parseArgs({
  options: {
    platform: { type: 'string', default: 'ptl' },
    moves: { type: 'string', default: '10' },
    every: { type: 'string', default: '500' },
    memory: { type: 'string', default: '640' },
    transparent: { type: 'boolean', default: false },
    shared: { type: 'boolean', default: false },
    without: { type: 'string' },
    // What goes on in the guest: jobs, or a probe, an unbind, an FLR under way, or no driver at all.
    during: { type: 'string', default: 'jobs' },
    // Ends a party before each step instead of moving: tool (SIGKILL), cancel (SIGINT), target (SIGKILL).
    end: { type: 'string' },
    steps: { type: 'string', default: 'prepare,ram,pause,rewrite,copy,switch,replay,run' },
    keep: { type: 'boolean', default: false },
  },
});
const { platform, transparent, shared, without, during } = values;
const moves = Number(values.moves);
const memory = Number(values.memory) * 2 ** 20;
const discrete = platform === 'bmg';
const startedAt = performance.now();
const say = (text) =>
  process.stdout.write(
    `${((performance.now() - startedAt) / 1000).toFixed(2).padStart(7)} s  ${text}\n`,
  );

const directory = mkdtempSync(join(tmpdir(), 'xe-vfio-vm-'));
const rig = await prepareRig(say);
const exerciser = await prepareExerciser(rig);
// Two PFs that are provisioned alike have equal GGTT ranges; two VFs of one PF have not.
const pfs = transparent ? 2 : 1;
const servers = [];
for (let pf = 0; pf < pfs; pf++) {
  const vfs = transparent ? '1' : '2';
  const vram = discrete ? ['--vram', '512M'] : [];
  const socket = join(directory, `pf${pf}-vf%d.sock`);
  servers.push(
    await ServerProcess.start([
      ...['--platform', platform, '--vfs', vfs, '--vf', 'all', '--socket', socket],
      ...vram,
    ]),
  );
}
const vfSockets = transparent
  ? [join(directory, 'pf0-vf1.sock'), join(directory, 'pf1-vf1.sock')]
  : [join(directory, 'pf0-vf1.sock'), join(directory, 'pf0-vf2.sock')];
const qmpPath = (n) => join(directory, `qmp${n}.sock`);
const qmpArgs = (n) => ['-qmp', `unix:${qmpPath(n)},server=on,wait=off`];
const memoryFile = join('/dev/shm', `xe-vfio-vm-${process.pid}`);

let session;
let ok = true;
const fail = (text) => {
  ok = false;
  say(`NOT WELL: ${text}`);
};
try {
  session = await GuestSession.start({
    rig,
    directory,
    vfSockets: [vfSockets[0]],
    discrete,
    memory,
    files: [{ path: GUEST_PATH.EXERCISER, from: exerciser }],
    memoryObject: shared
      ? `memory-backend-file,id=memory,size=${memory},share=on,mem-path=${memoryFile}`
      : undefined,
    extraArgs: qmpArgs(0),
  });
  say(`booted in ${((await session.waitBoot()) / 1000).toFixed(1)} s`);
  let jobs;
  let address;
  let lastLine = '';
  if (during !== 'no-driver' && during !== 'probe') {
    const { devices, probeMs } = await session.waitProbe();
    say(`probed in ${(probeMs / 1000).toFixed(2)} s: ${JSON.stringify(devices)}`);
    address = devices[0].address;
    if (during === 'jobs') {
      jobs = session.run(
        `${GUEST_PATH.EXERCISER} --device /dev/dri/${devices[0].renderNode} --loop 86400`,
        {
          timeoutMs: Number.POSITIVE_INFINITY,
          onLine: (line) => {
            lastLine = line;
            if (line.startsWith('#')) say(`guest: ${line}`);
          },
        },
      );
      jobs.catch(() => {});
      await delay(3000);
    }
  }
  await session.mark('moves');
  const downtimes = [];
  let attempt = 0;
  for (const party of values.end?.split(',') ?? [])
    for (const step of values.steps.split(',')) {
      const qmp = join(directory, `attempt${++attempt}.sock`);
      const target = await session.startTarget(
        [vfSockets[1]],
        ['-qmp', `unix:${qmp},server=on,wait=off`, '-S', '-incoming', 'defer'],
      );
      await waitForQmp(qmp);
      const before = lastLine;
      await endAt(party, step, qmp, target);
      await target.kill();
      await until(() => lastLine !== before, 20_000);
      const bad = !/ bad 0$/.test(lastLine) || lastLine === before;
      if (bad) fail(`${party} ended before ${step}: the guest's last line is "${lastLine}"`);
      else say(`${party} ended before ${step}: the guest runs on at the source; ${lastLine}`);
    }
  for (let move = 1; move <= (values.end === undefined ? moves : 1); move++) {
    const to = move % 2;
    const target = await session.startTarget(
      [vfSockets[to]],
      [...qmpArgs(move), '-S', '-incoming', 'defer'],
    );
    await waitForQmp(qmpPath(move));
    let work;
    const sh = (text) => {
      work = session.run(text, { timeoutMs: 300_000 });
      work.catch(() => {});
    };
    if (during === 'probe' && move === 1) work = session.waitProbe();
    else if (during === 'probe') sh(`echo ${address} >/sys/bus/pci/drivers/xe/bind`);
    else if (during === 'unbind') sh(`echo ${address} >/sys/bus/pci/drivers/xe/unbind`);
    else if (during === 'flr')
      sh(
        `echo ${address} >/sys/bus/pci/drivers/xe/unbind; cd /sys/bus/pci/devices/${address}; echo flr >reset_method; for n in 1 2 3 4 5 6 7 8; do echo 1 >reset; done; echo ${address} >/sys/bus/pci/drivers/xe/bind`,
      );
    work?.catch(() => {});
    const result = await moveVm({
      from: qmpPath(move - 1),
      to: qmpPath(move),
      transparent,
      without: without === undefined ? undefined : new Set([without]),
      onEvent: (event) => {
        if (process.env.VERBOSE && event.type === 'step') say(`  ${event.step}`);
      },
    });
    session.movedTo(target);
    downtimes.push(result);
    const parts = result.parts.map(({ name, ms }) => `${name} ${ms.toFixed(1)}`).join(', ');
    say(
      `move ${move}: down for ${result.downtimeMs.toFixed(1)} ms (${parts}), ` +
        `${result.dirtyPages} pages, ${(result.totalMs / 1000).toFixed(1)} s in all; ${lastLine}`,
    );
    if (work !== undefined) {
      const done = await work;
      if (done.devices !== undefined) address = done.devices[0]?.address;
      say(`  ${during}: ${JSON.stringify(done)}`);
      if (during === 'probe') await session.run(`echo ${address} >/sys/bus/pci/drivers/xe/unbind`);
      if (during === 'unbind') await session.run(`echo ${address} >/sys/bus/pci/drivers/xe/bind`);
    }
    await delay(Number(values.every));
  }
  if (during === 'no-driver') {
    const { devices } = await session.waitProbe();
    say(`probed after the moves: ${JSON.stringify(devices)}`);
    if (devices[0]?.driver !== 'xe') fail('xe did not take the VF after the moves');
    address = devices[0]?.address;
  }
  if (jobs !== undefined) {
    await delay(2000);
    await session.run('killall -TERM exerciser || pkill -TERM exerciser');
    const { output, status } = await jobs;
    const total = output.split('\n').at(-1);
    say(`guest: ${total} (status ${status})`);
    if (!/^total jobs [1-9]\d* bad 0$/.test(total ?? '')) fail(`jobs: ${total}`);
  }
  const text = await session.dmesgText();
  const lines = parseKernelLog(text);
  const { unexpected } = judgeKernelLog(lines, address === undefined ? [] : [address]);
  for (const line of unexpected) fail(logLineText(line));
  const recovered = text.split('\n').filter((line) => /migration recovery/i.test(line));
  say(
    `${recovered.length} lines of the kernel log tell of a recovery; last: ${recovered.at(-1) ?? ''}`,
  );
  // One line for each GT, of which every platform has two.
  const ended = recovered.filter((line) => /recovery ended/.test(line)).length / 2;
  if (during === 'jobs' && ended !== (transparent ? 0 : values.end === undefined ? moves : 1))
    fail(`${ended} recoveries in the log`);
  const sorted = downtimes.map(({ downtimeMs }) => downtimeMs).sort((a, b) => a - b);
  say(
    `downtime of ${sorted.length} moves: ${sorted[0]?.toFixed(1)} to ${sorted.at(-1)?.toFixed(1)} ms, ` +
      `median ${sorted[Math.floor(sorted.length / 2)]?.toFixed(1)} ms`,
  );
  await session.powerOff();
} catch (error) {
  fail(`${error.code ?? ''} ${error.stack ?? error}${error.hint ? ` (${error.hint})` : ''}`);
  if (error.ends) say(JSON.stringify(error.ends));
} finally {
  await session?.kill();
  for (const server of servers) await server.stop();
  rmSync(memoryFile, { force: true });
  if (!values.keep) rmSync(directory, { recursive: true, force: true });
}
say(ok ? 'all is well' : 'NOT all is well');
process.exit(ok ? 0 : 1);

/** Runs `xe-vfio migrate-vm`, and ends a party when the tool stands before a step. */
async function endAt(party, step, qmp, target) {
  const program = fileURLToPath(new URL('../bin/xe-vfio', import.meta.url));
  const tool = spawn(program, ['migrate-vm', '--from', qmpPath(0), '--to', qmp], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, XE_VFIO_TEST_PAUSE_AT: step },
  });
  let text = '';
  tool.stderr.setEncoding('utf8').on('data', (said) => {
    text += said;
  });
  const ended = new Promise((resolve) => tool.once('close', resolve));
  if (!(await until(() => text.includes('paused before'), 60_000))) fail(`no pause: ${text}`);
  if (party === 'tool') tool.kill('SIGKILL');
  else if (party === 'cancel') tool.kill('SIGINT');
  else {
    await target.kill();
    tool.kill('SIGUSR2');
  }
  await ended;
}

async function until(condition, ms) {
  for (const end = performance.now() + ms; performance.now() < end; await delay(50))
    if (condition()) return true;
  return false;
}

async function waitForQmp(path) {
  const { existsSync } = await import('node:fs');
  for (let n = 0; n < 600 && !existsSync(path); n++) await delay(50);
  // QEMU listens before its devices are there.
  await delay(300);
}
