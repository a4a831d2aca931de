/**
 * Downtime and total of taking a VF's state away, with and without pre-copy, over links of several
 * speeds, while VRAM is written; beside what memory and link set as bound.
 *
 * The link is shaped in this process: it takes bytes no faster than its rate and keeps none, so that
 * 8 GiB need 8 GiB and not 16. Loading at the other end is therefore not in the figures.
 *
 * All of VRAM holds data, which the device wrote. Half of what changes is written by the device, at
 * any place; the other half by a processor through its mapping, in a sixteenth of the VRAM. The rows
 * `all touched` are the worst case, a processor that has been at every page.
 */
import { once } from 'node:events';
import { availableParallelism, loadavg } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { connectVf } from '../dist/app/vf-connection.js';
import { forecast } from '../dist/migration/forecast.js';
import { save } from '../dist/migration/session-save.js';
import { newDigestKey, openDigest } from '../dist/sys/block-digest.js';
import { openLibrary } from '../dist/sys/libc.js';
import { Mapping } from '../dist/sys/mapping.js';
import { execSlowdown } from './precopy-exec.mjs';
import { Link } from './precopy-link.mjs';
import { startServer } from './server.mjs';

const GIB = 2 ** 30;
const MIB = 2 ** 20;
const BLOCK = 64 * 1024;
/** The part of VRAM that a processor works in. */
const WORKING_SET = 1 / 16;
/**
 * Where the stream takes longer than this, only the rate that matters most is measured, and the others
 * are what the tool's own forecast says: minutes, not an hour.
 */
const MEASURED_MS = 15_000;
/** What goes beside VRAM: the GGTT, above all. */
const STATE_BYTES = 4 * MIB;
/** Where pre-copy is to pay: 8 GiB, 1 %/s, 10 Gbit/s, and the milliseconds that it may take. */
const REACH = { size: 8 * GIB, rate: 1, link: 10, ms: 150 };

const FULL = { sizes: [GIB, 4 * GIB, 8 * GIB], links: [100, 10, 1], rates: [0, 1, 10] };
const QUICK = { sizes: [64 * MIB], links: [10], rates: [0, 1] };

/** Bytes a second of a function over `memory`, block by block, in processor time of this thread. */
function bytesPerSecond(memory, run) {
  let best = 0;
  for (let repeat = 0; repeat < 5; repeat++) {
    const before = process.cpuUsage();
    for (let at = 0; at < memory.size; at += BLOCK) run(memory.address + at);
    const { user, system } = process.cpuUsage(before);
    best = Math.max(best, memory.size / ((user + system) / 1e6));
  }
  return best;
}

/** How fast one core reads memory, and how fast it digests it. */
function scanRates(size) {
  const memory = Mapping.anonymous(size);
  for (let at = 0; at < size; at += BLOCK) memory.view(at, BLOCK).fill(1);
  const memchr = openLibrary(null).func('memchr', 'uintptr_t', ['uintptr_t', 'int', 'uintptr_t']);
  const key = newDigestKey();
  const digest = openDigest(key);
  const read = bytesPerSecond(memory, (at) => memchr(at, 2, BLOCK));
  const scan = bytesPerSecond(memory, (at) => digest(at, BLOCK));
  memory.close();
  return { read, scan, kind: key.kind };
}

/** The VMM of a VF. */
class Vmm {
  #worker;
  #control = new Int32Array(new SharedArrayBuffer(8));
  #writing = Promise.resolve();

  static async start(socket) {
    const vmm = new Vmm();
    const workerData = { socket, control: vmm.#control.buffer };
    vmm.#worker = new Worker(new URL('./precopy-vmm.mjs', import.meta.url), { workerData });
    await once(vmm.#worker, 'message');
    return vmm;
  }

  async tell(order) {
    const done = once(this.#worker, 'message');
    this.#worker.postMessage(order);
    await done;
  }

  write(order) {
    this.#control.fill(1);
    this.#writing = this.tell({ op: 'write', ...order });
  }

  /** As a VMM stops its processors before the VF is stopped. */
  async rest() {
    Atomics.store(this.#control, 0, 0);
    Atomics.notify(this.#control, 0);
    await this.#writing;
  }

  async close() {
    const ended = once(this.#worker, 'exit');
    this.#worker.postMessage({ op: 'close' });
    await ended;
  }
}

/** Takes the state away once, the VF running on afterwards. */
async function takeAway(client, vmm, { size, link, rate, precopy, workingSet }) {
  const changed = (size * rate) / 100;
  vmm.write({ size, workingSet, processor: changed / 2, device: changed / 2 });
  try {
    return await save({ device: client }, async () => new Link(link), {
      precopy: precopy ? 'auto' : 'off',
      resume: true,
      beforePhase: async (phase) => {
        if (phase === 'stop') await vmm.rest();
      },
    });
  } finally {
    await vmm.rest();
  }
}

const sizeText = (size) => (size >= GIB ? `${size / GIB} GiB` : `${size / MIB} MiB`);

/** @returns {Promise<object[]>} a row for the scan, for the engines, for each downtime and total */
export async function precopyDowntime({ folder, quick, table = quick ? QUICK : FULL }) {
  const { read, scan, kind } = scanRates(quick ? 16 * MIB : GIB);
  const rows = [
    {
      name: `looking for changes (${kind}), one core`,
      unit: 'B/s',
      ours: scan,
      yardstick: read,
      yardstickName: 'reading memory, one core',
      reach: 0.7,
      better: 'higher',
    },
    ...(await execSlowdown({ folder, quick })),
  ];
  for (const size of table.sizes) rows.push(...(await sizeRows(folder, size, table, read)));
  return rows;
}

async function sizeRows(folder, size, { links, rates }, read) {
  const scanMs = (bytes) => (bytes * 1000) / (read * availableParallelism());
  const socket = join(folder, 'precopy.sock');
  const vram = `${size / MIB}M`;
  const server = await startServer(['--platform', 'bmg', '--vram', vram, '--socket', socket]);
  const rows = [];
  try {
    const vmm = await Vmm.start(socket);
    await vmm.tell({ op: 'fill', size });
    const { device: client } = await connectVf(socket);
    const workingSet = Math.max(BLOCK, size * WORKING_SET);
    const take = async (setting) => {
      const result = await takeAway(client, vmm, { size, workingSet, rate: 0, ...setting });
      return setting.precopy ? { ...result, lastPass: lastPassOf(server.log()) } : result;
    };
    await vmm.tell({ op: 'touch', bytes: workingSet });
    let stream = 0;
    for (const link of links) {
      const linkMs = (bytes) => (bytes * 8) / (link * 1e6);
      const name = `${sizeText(size)}, ${link} Gbit/s`;
      const computed = stream > 0 && linkMs(stream) > MEASURED_MS;
      const plain = computed
        ? { downtimeMs: linkMs(stream), totalMs: linkMs(stream), streamBytes: stream }
        : await take({ link, precopy: false });
      stream = plain.streamBytes;
      const how = computed ? 'stop-copy (computed)' : 'stop-copy';
      rows.push(...timeRows(`${name}, ${how}`, plain, linkMs(stream), linkMs(stream)));
      let known;
      for (const rate of [...rates].sort((a, b) => Number(b === 1) - Number(a === 1))) {
        const setting = { link, rate, precopy: true };
        if (computed && known !== undefined) {
          rows.push(...computedRows(`${name}, ${rate} %/s`, known, { size, link, rate, linkMs }));
          continue;
        }
        const reach = size === REACH.size && link === REACH.link && rate === REACH.rate;
        const results = [];
        for (let repeat = 0; repeat < (reach ? 3 : 1); repeat++) results.push(await take(setting));
        known = results.sort((a, b) => a.downtimeMs - b.downtimeMs)[results.length >> 1];
        rows.push(...precopyRows(`${name}, ${rate} %/s`, known, linkMs, scanMs, reach));
      }
    }
    if (links.includes(REACH.link)) {
      const { link, rate } = REACH;
      await vmm.tell({ op: 'touch', bytes: size });
      const worst = await take({ link, rate, precopy: true, workingSet: size });
      const name = `${sizeText(size)}, ${link} Gbit/s, ${rate} %/s, all touched`;
      rows.push(...precopyRows(name, worst, (bytes) => (bytes * 8) / (link * 1e6), scanMs, false));
    }
    await client.close();
    await vmm.close();
  } finally {
    await server.stop();
  }
  return rows;
}

/** How the server says that it found the last changes. */
function lastPassOf(log) {
  const line = log.split('\n').findLast((text) => text.includes('PF: precopy-stopped'));
  const { find, because, ms, comparedBytes } = JSON.parse(line);
  return { find, because, ms, comparedBytes };
}

/** The bound: reading what was compared with all cores, and the link with what was left. */
function precopyRows(name, result, linkMs, scanMs, reach) {
  const last = result.phases.find((phase) => phase.name === 'copy')?.bytes ?? 0;
  const scan = scanMs(result.lastPass.comparedBytes);
  const bounds = [scan + linkMs(last), scan + linkMs(result.streamBytes)];
  return timeRows(`${name}, pre-copy`, result, ...bounds, reach ? REACH.ms : undefined);
}

/** What the forecast makes of a rate, with what was measured at another one. */
function computedRows(name, known, { size, link, rate, linkMs }) {
  const lastBytes = STATE_BYTES;
  const told = forecast({
    streamBytes: size + lastBytes,
    bytesPerSecond: (link * 1e9) / 8,
    dirtyBytesPerSecond: (size * rate) / 100,
    lastBytes,
    stopMs: known.lastPass.ms,
    staleMs: known.lastPass.ms,
  });
  const bounds = [linkMs(lastBytes), linkMs(size)];
  return timeRows(`${name}, pre-copy (computed)`, told, ...bounds);
}

function timeRows(name, { downtimeMs, totalMs, lastPass }, boundMs, totalBoundMs, reachMs) {
  const load = loadavg()[0];
  const common = {
    unit: 'ms',
    better: 'lower',
    yardstickName: 'memory and link alone',
    load,
    lastPass,
  };
  const reach = reachMs === undefined ? undefined : Number((reachMs / boundMs).toFixed(2));
  return [
    { ...common, name: `${name}: down`, ours: downtimeMs, yardstick: boundMs, reach },
    { ...common, name: `${name}: total`, ours: totalMs, yardstick: totalBoundMs },
  ];
}
