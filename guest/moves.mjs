/**
 * Moves the VF of a running guest, again and again, and says what the guest made of it.
 *
 *     node guest/moves.mjs [--platform ptl|bmg] [--count N] [--every MS] [--transparent | --takeover]
 *                          [--situations] [--withhold TYPE] [--log FILE] [--drm-debug MASK] [--json] [--verbose]
 *
 * Re-homes the VF unless `--takeover`, which replaces the serving process each time. `--withhold`
 * keeps the first packet of a type back (3 GGTT, 4 MMIO, 5 GuC), which must fail.
 *
 * `--situations` moves it before as well: without a driver, while xe probes, while it is unbound and
 * bound, and during function-level resets.
 *
 * The guest runs the exerciser's loop: jobs on every engine whose results are known, in buffers that
 * only the device writes. Needs the guest rig and `npm run build`. Exit code 0 when no job was bad,
 * xe recovered from each move (or noticed nothing), and its log has nothing worse.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { GUEST_PATH } from '../dist/app/guest-initramfs.js';
import { judgeKernelLog, logLineText } from '../dist/app/guest-log.js';
import { prepareExerciser, prepareRig } from '../dist/app/guest-rig.js';
import { GuestSession } from '../dist/app/guest-session.js';
import { requestRehome } from '../dist/app/rehome-control.js';
import { ServerProcess } from '../dist/app/server-process.js';

const { values: flags } = parseArgs({
  options: {
    platform: { type: 'string', default: 'ptl' },
    count: { type: 'string', default: '30' },
    every: { type: 'string', default: '50' },
    transparent: { type: 'boolean', default: false },
    takeover: { type: 'boolean', default: false },
    situations: { type: 'boolean', default: false },
    withhold: { type: 'string' },
    log: { type: 'string' },
    'drm-debug': { type: 'string' },
    json: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
  },
});
const count = Number(flags.count);
const everyMs = Number(flags.every);
const VFS = 4;
/** The guest's driver is not to learn of the moves. */
const unnoticed = flags.transparent || flags.takeover;
/** How long the guest may take to say that it has recovered. */
const RECOVERY_MS = 60_000;
/** The loop is longer than any run; it is ended by a signal. */
const LOOP_SECONDS = 3600;

const say = (line) => (flags.json ? process.stderr : process.stdout).write(`${line}\n`);

const rig = await prepareRig(say);
const exerciser = await prepareExerciser(rig);
const directory = await mkdtemp('/tmp/xe-vfio-moves-');
const socket = join(directory, 'vf.sock');
const discrete = flags.platform === 'bmg';
const memory = discrete ? ['--vram', '256M'] : [];
const serve = ['--platform', flags.platform, '--vfs', String(VFS), '--pfs', 'a,b', ...memory];
let server = await ServerProcess.start([...serve, '--socket', socket]);
let session;
try {
  session = await GuestSession.start({
    rig,
    directory,
    vfSockets: [socket],
    discrete,
    smp: 2,
    memory: 2 ** 30,
    files: [{ path: GUEST_PATH.EXERCISER, from: exerciser }],
    moduleArgs: flags['drm-debug'] === undefined ? {} : { drm: `debug=${flags['drm-debug']}` },
  });
  say(`booted in ${(await session.waitBoot()).toFixed(0)} ms`);
  const situations = {};
  const during = async (name, work) => {
    let open = true;
    const done = work().finally(() => {
      open = false;
    });
    let moved = 0;
    let refused = 0;
    do {
      await move(moved).then(
        () => moved++,
        // A driver that is starting cannot recover yet.
        (error) => {
          if (error.code !== 'EBUSY') throw error;
          refused++;
        },
      );
      await sleep(everyMs);
    } while (open);
    situations[name] = { moved, refused };
    return await done;
  };
  if (flags.situations) await during('no driver', () => sleep(500));
  const probe = () => session.waitProbe();
  const { devices } = await (flags.situations ? during('probe', probe) : probe());
  const [device] = devices;
  if (device?.renderNode === undefined) throw new Error('xe did not probe the VF');
  say(`probed: ${device.address}`);
  if (flags.situations) {
    const at = `/sys/bus/pci/devices/${device.address}`;
    const must = async (command) => {
      const { status, output } = await session.run(command, { timeoutMs: 120_000 });
      if (status !== 0) throw new Error(`${command}: ${output}`);
    };
    const unbind = `echo ${device.address} > ${at}/driver/unbind`;
    const bind = `echo ${device.address} > /sys/bus/pci/drivers/xe/bind`;
    await during('unbind', () => must(unbind));
    await during('reset', () => must(`for n in 1 2 3 4 5; do echo 1 > ${at}/reset; done`));
    await during('bind', () => must(bind));
    const [again] = await session.devices();
    if (again?.renderNode === undefined) throw new Error('xe did not come back');
    device.renderNode = again.renderNode;
  }
  const total = startLoop(session, device);
  await total.running;
  await session.mark('moves');
  const moves = [];
  for (let n = 0; n < count; n++) {
    const at = performance.now();
    moves.push(await move(n));
    await sleep(Math.max(0, everyMs - (performance.now() - at)));
  }
  say(`moved ${moves.length} times`);
  await sleep(3000);
  await recovered(session, unnoticed ? 0 : 1);
  await session.run(`killall -TERM $(basename ${GUEST_PATH.EXERCISER})`);
  const jobs = await total.ended;
  const lines = await session.dmesg();
  const findings = judgeKernelLog(lines, [device.address]);
  const recoveries = lines.filter(({ text }) =>
    /migration recovery (completed|ended|done)/i.test(text),
  );
  const noticed = lines.filter(({ phase, text }) => phase === 'moves' && /xe .*migrat/i.test(text));
  if (flags.log !== undefined) await writeFile(flags.log, lines.map(logLineText).join('\n'));
  const result = {
    platform: flags.platform,
    moves: moves.length,
    situations,
    jobs: jobs.jobs,
    bad: jobs.bad,
    recoveries: recoveries.length,
    noticed: noticed.length,
    unexpected: findings.unexpected.map(logLineText),
    ...figures(moves),
  };
  const isRecovered = unnoticed ? noticed.length === 0 : recoveries.length > 0;
  const ok = jobs.bad === 0 && jobs.jobs > 0 && isRecovered && result.unexpected.length === 0;
  if (flags.verbose || !ok) for (const line of lines.slice(-40)) say(logLineText(line));
  if (flags.json) process.stdout.write(`${JSON.stringify({ schema: 1, ok, ...result })}\n`);
  else say(JSON.stringify({ ok, ...result }, null, 1));
  process.exitCode = ok ? 0 : 1;
} catch (error) {
  if (flags.log !== undefined)
    await session?.dmesg().then(
      (lines) => writeFile(flags.log, lines.map(logLineText).join('\n')),
      () => {},
    );
  throw error;
} finally {
  await session?.kill();
  await server.stop();
  await rm(directory, { recursive: true, force: true });
}

/** Moves the VF once. */
async function move(n) {
  return flags.takeover ? await takeOver() : await requestRehome(socket, target(n));
}

/** Another process takes the running one's place. */
async function takeOver() {
  const at = performance.now();
  const before = server;
  server = await ServerProcess.start(['--takeover', socket]);
  await before.gone();
  const [vf] = await server.ask({ op: 'status' });
  return { holdMs: vf.heldMs, totalMs: performance.now() - at };
}

/** Where the n-th move goes. */
function target(n) {
  const withhold = flags.withhold === undefined ? undefined : Number(flags.withhold);
  if (flags.transparent) return { pf: n % 2 === 0 ? 'b' : 'a', transparent: true, withhold };
  return { withhold };
}

/** Starts the exerciser's loop. */
function startLoop(guest, { renderNode }) {
  let last = { jobs: 0, bad: 0 };
  let begun;
  const running = new Promise((resolve) => {
    begun = resolve;
  });
  const onLine = (line) => {
    const match = /jobs (\d+) bad (\d+)/.exec(line);
    if (flags.verbose) say(`  ${line}`);
    if (match === null) return;
    last = { jobs: Number(match[1]), bad: Number(match[2]) };
    if (last.jobs > 0) begun();
  };
  const command = `${GUEST_PATH.EXERCISER} --device /dev/dri/${renderNode} --loop ${LOOP_SECONDS}`;
  const ended = guest.run(command, { timeoutMs: LOOP_SECONDS * 1000, onLine }).then(() => last);
  ended.then(begun, begun);
  return { running, ended };
}

/** Waits until the last move has been recovered from. */
async function recovered(guest, wanted) {
  const end = performance.now() + RECOVERY_MS;
  while (performance.now() < end) {
    const lines = await guest.dmesg();
    const done = lines.filter(({ text }) => /migration recovery/i.test(text));
    if (done.length >= wanted) return;
    await sleep(500);
  }
}

/** Median and worst of each part. */
function figures(moves) {
  const told = {};
  for (const key of [
    'holdMs',
    'stopMs',
    'copyMs',
    'loadMs',
    'swapMs',
    'runMs',
    'bytes',
    'totalMs',
  ]) {
    const values = moves
      .map((move) => move[key])
      .filter((value) => value !== undefined)
      .sort((a, b) => a - b);
    if (values.length === 0) continue;
    const round = (value) => Math.round((value ?? 0) * 100) / 100;
    told[key] = { median: round(values[values.length >> 1]), worst: round(values.at(-1)) };
  }
  return { hold: told };
}
