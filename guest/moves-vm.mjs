// A running guest with a VF is moved from one stock QEMU to another, again and again, while jobs with
// known results run in it. docs/whole-vm.md says what is done; this shows it.
//
//   node guest/moves-vm.mjs --platform ptl --moves 10
//   node guest/moves-vm.mjs --platform bmg --moves 10 --transparent
//   node guest/moves-vm.mjs --shared                        # RAM in a file that both QEMUs map
//   node guest/moves-vm.mjs --shared --bare                 # no VF: what QEMU alone takes
//   node guest/moves-vm.mjs --through-file 2                # save-vm and restore-vm instead
//   node guest/moves-vm.mjs --via tcp:127.0.0.1:4445        # RAM over TCP
//   node guest/moves-vm.mjs --hosts                         # the same across network namespaces; root
//   node guest/moves-vm.mjs --during probe,unbind,flr,no-driver,fault,hang,second-move
//   node guest/moves-vm.mjs --end tool,cancel,target,target-server,source-server,source-qemu
//   node guest/moves-vm.mjs --end save-tool,save-cancel --steps ram,copy,switch,keep
//   node guest/moves-vm.mjs --without dirty-log             # controls that have to fail;
//   node guest/moves-vm.mjs --without config-replay         # ggtt-check: the GGTT of another VF
//   node guest/moves-vm.mjs --without ggtt-check
//
// It needs the guest rig (docs/guest-rig.md) and a build (npm run build). Exit code 0 when no job was
// bad, xe recovered from each move (or noticed nothing), and its log has nothing worse.
import { loadavg } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { QmpClient } from '../dist/app/qmp.js';
import { VmMigration } from '../dist/app/vm-migration.js';
import { MovedVm, until } from './moved-vm.mjs';
import { SITUATIONS } from './moved-vm-situations.mjs';

const { values } = parseArgs({
  options: {
    platform: { type: 'string', default: 'ptl' },
    moves: { type: 'string', default: '3' },
    every: { type: 'string', default: '500' },
    memory: { type: 'string', default: '640' },
    transparent: { type: 'boolean', default: false },
    shared: { type: 'boolean', default: false },
    hosts: { type: 'boolean', default: false },
    bare: { type: 'boolean', default: false },
    via: { type: 'string' },
    'through-file': { type: 'string' },
    resume: { type: 'boolean', default: false },
    without: { type: 'string' },
    // Arguments for the loop of jobs, such as "--with spinner,sem".
    jobs: { type: 'string', default: '' },
    during: { type: 'string' },
    end: { type: 'string' },
    steps: { type: 'string', default: 'prepare,ram,pause,rewrite,copy,switch,replay,run,cont' },
  },
});
const { platform, transparent, shared, without, via } = values;
// QEMUs end with this process, which a signal alone would not tell them.
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));
const startedAt = performance.now();
const say = (text) =>
  process.stdout.write(
    `${((performance.now() - startedAt) / 1000).toFixed(2).padStart(7)} s  ${text}\n`,
  );
const load = () => `load ${loadavg()[0]?.toFixed(1)}`;
const settings = {
  platform,
  // Without the check the guest is told nothing although its GGTT is elsewhere.
  transparent,
  shared,
  hosts: values.hosts,
  memory: Number(values.memory) * 2 ** 20,
  say,
};
const changes = {
  ...(via === undefined ? {} : { via }),
  ...(without === undefined ? {} : { without: new Set([without]) }),
  ...(without === 'ggtt-check' ? { transparent: true } : {}),
};
let ok = true;
const fail = (text) => {
  ok = false;
  say(`NOT WELL: ${text}`);
};

if (values.end !== undefined) {
  for (const party of values.end.split(','))
    for (const step of values.steps.split(',')) await attempt(() => endAt(party, step));
} else if (values.during !== undefined) {
  for (const name of values.during.split(',')) {
    const situation = SITUATIONS[name];
    if (situation === undefined) fail(`there is no situation ${name}`);
    else await attempt(() => withVm({}, (vm) => situation(vm, { say, fail, changes })));
  }
} else await attempt(() => withVm({ bare: values.bare }, values.bare ? bareChain : chain));
say(ok ? 'all is well' : 'NOT all is well');
process.exit(ok ? 0 : 1);

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    fail(`${error.code ?? ''} ${error.stack ?? error}${error.hint ? ` (${error.hint})` : ''}`);
    if (error.ends) say(JSON.stringify(error.ends));
  }
}

async function withVm(more, work) {
  const vm = await MovedVm.start({ ...settings, ...more });
  try {
    return await work(vm);
  } finally {
    await vm.stop();
  }
}

/** Moves the guest `--moves` times, or through a file `--through-file` times. */
async function chain(vm) {
  await vm.probe();
  await vm.startJobs(values.jobs);
  await delay(2000);
  await vm.session.mark('moves');
  const downtimes = [];
  const files = Number(values['through-file'] ?? 0);
  const count = files > 0 ? files : Number(values.moves);
  for (let move = 1; move <= count; move++) {
    if (files > 0) {
      const { saved, restored } = await vm.throughFile(values.resume);
      downtimes.push(saved.downtimeMs);
      const mib = (saved.manifest.ram.bytes / 2 ** 20).toFixed(0);
      say(
        `save ${move}: stood still for ${told(saved)}, ${mib} MiB, ${seconds(saved.totalMs)}; ` +
          `restored in ${seconds(restored.totalMs)}; ${load()}; ${vm.lastLine}`,
      );
    } else {
      const result = await vm.move(changes);
      downtimes.push(result.downtimeMs);
      say(
        `move ${move}: down for ${told(result)}, QEMU's part ${result.qemuMs.toFixed(1)} ms, ` +
          `${result.dirtyPages} pages, ${seconds(result.totalMs)} in all; ${load()}; ${vm.lastLine}`,
      );
    }
    if (without === undefined && !(await vm.jobsGoOn()))
      fail(`after move ${move} the jobs say "${vm.lastLine}"`);
    await delay(Number(values.every));
  }
  await judge(vm, transparent || without === 'ggtt-check' ? 0 : count);
  tellDowntimes(downtimes);
}

/** Moves a guest without a VF. */
async function bareChain(vm) {
  const downtimes = [];
  for (let move = 1; move <= Number(values.moves); move++) {
    downtimes.push(await moveBare(vm));
    await delay(Number(values.every));
  }
  tellDowntimes(downtimes);
}

/** Moves a guest by QMP alone. @returns {Promise<number>} ms from STOP to RESUME */
async function moveBare(vm) {
  const target = await vm.startTarget();
  const left = vm.session.ended;
  const [from, to] = [await QmpClient.connect(vm.qmp), await QmpClient.connect(target.path)];
  const [source, there] = [new VmMigration(from, 'source'), new VmMigration(to, 'target')];
  await there.capabilities({ events: true, 'x-ignore-shared': shared });
  const pause = { 'pause-before-switchover': true };
  await source.capabilities({ events: true, 'x-ignore-shared': shared, ...pause });
  await source.parameters(300);
  const uri = `unix:${target.path}.ram`;
  await to.execute('migrate-incoming', { uri });
  await from.execute('migrate', { uri });
  await source.until('pre-switchover');
  await from.execute('migrate-continue', { state: 'pre-switchover' });
  await there.until('completed');
  await to.execute('cont');
  const resumed = await there.event('RESUME');
  vm.movedTo(target);
  await from.execute('quit').catch(() => {});
  await left;
  to.close();
  return resumed - source.at('STOP');
}

function tellDowntimes(downtimes) {
  const sorted = downtimes.toSorted((a, b) => a - b);
  say(
    `downtime of ${sorted.length}: ${sorted[0]?.toFixed(1)} to ${sorted.at(-1)?.toFixed(1)} ms, ` +
      `median ${sorted[Math.floor((sorted.length - 1) / 2)]?.toFixed(1)} ms; ${load()}`,
  );
}

/** Ends the jobs and looks at what they and the kernel say. */
async function judge(vm, recoveries) {
  await delay(1000);
  const total = await vm.endJobs();
  say(`guest: ${total}`);
  if (!/^total jobs [1-9]\d* bad 0$/.test(total)) fail(`jobs: ${total}`);
  const log = await vm.kernelLog();
  for (const line of log.unexpected) fail(line);
  if (log.recoveries !== recoveries) fail(`${log.recoveries} recoveries in the log`);
  else say(`${recoveries} recoveries in the kernel log, nothing worse`);
}

/**
 * Ends a party when the tool stands before a step. The guest has to run on in exactly one QEMU, unless
 * that which has its state is gone.
 */
async function endAt(party, step) {
  await withVm({ separate: true }, async (vm) => {
    await vm.probe();
    await vm.startJobs();
    if (party.startsWith('save-')) return await endSave(vm, party, step);
    const { tool, target, ended, said } = await vm.pausedMove(step);
    if (party === 'tool') tool.kill('SIGKILL');
    else if (party === 'cancel') tool.kill('SIGINT');
    else {
      if (party === 'target') await target.qemu.kill();
      else if (party === 'target-server') await vm.server(target.place).stop('SIGKILL');
      else if (party === 'source-server') await vm.server(vm.place).stop('SIGKILL');
      else if (party === 'source-qemu') await vm.leaveQemu(target);
      else throw new Error(`there is no party ${party}`);
      tool.kill('SIGUSR2');
    }
    const code = await ended;
    const text = `${party} ended before ${step}`;
    const source = party.startsWith('source-');
    // From `switch` on the target has all that there is of the source.
    const goesOn = source && ['replay', 'run', 'cont'].includes(step);
    const mayGoOn = source && step === 'switch';
    if (source && code !== 0 && !goesOn) {
      const gone = await until(() => target.qemu.gone, 10_000);
      if (!gone) fail(`${text}: the target QEMU is still there`);
      else say(`${text}: the guest is lost with it, and does not run at the target; ${load()}`);
      if (!mayGoOn && !/error:/.test(said())) fail(`${text}: nothing was said: ${said()}`);
      return;
    }
    if (goesOn && code !== 0) fail(`${text}: the move did not go on: ${said()}`);
    if (source && code === 0) vm.movedTo(target);
    else if (party !== 'tool' && party !== 'cancel' && code === 0)
      fail(`${text}: the tool says that all is well`);
    if (!(await vm.jobsGoOn())) fail(`${text}: the guest's last line is "${vm.lastLine}"`);
    const running = await vm.runningQemus();
    if (running.length !== 1) fail(`${text}: it runs in ${running.length} QEMUs`);
    say(
      `${text}: the guest runs on at the ${source ? 'target' : 'source'}; ${vm.lastLine}; ${load()}`,
    );
  });
}

/** Ends `save-vm` before a step: the guest runs on, and nothing is left behind. */
async function endSave(vm, party, step) {
  const { tool, ended } = await vm.pausedSave(step);
  tool.kill(party === 'save-tool' ? 'SIGKILL' : 'SIGINT');
  await ended;
  const text = `${party} ended before ${step}`;
  if (!(await vm.jobsGoOn())) fail(`${text}: the guest's last line is "${vm.lastLine}"`);
  if (!(await until(() => vm.savedVms().length === 0, 10_000)))
    fail(`${text}: it left ${vm.savedVms().join(', ')}`);
  say(`${text}: the guest runs on, nothing is left; ${vm.lastLine}; ${load()}`);
}

/** The parts of a downtime. */
function told({ downtimeMs, parts }) {
  const each = parts.map(({ name, ms }) => `${name} ${ms.toFixed(1)}`).join(', ');
  return `${downtimeMs.toFixed(1)} ms (${each})`;
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(1)} s`;
}
