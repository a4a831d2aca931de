/**
 * Downtime and total of taking a VF's state away, with and without pre-copy, over links of several
 * speeds, while a processor writes VRAM through a mapping; beside what memory and link set as bound.
 *
 * The link is shaped in this process: it takes bytes no faster than its rate and keeps none, so that
 * 8 GiB need 8 GiB and not 16. Loading at the other end is therefore not in the figures.
 */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { connectVf } from '../dist/app/vf-connection.js';
import { save } from '../dist/migration/session-save.js';
import { newDigestKey, openDigest } from '../dist/sys/block-digest.js';
import { openLibrary } from '../dist/sys/libc.js';
import { Mapping } from '../dist/sys/mapping.js';
import { VfioUserClient } from '../dist/vfio-user/client.js';
import { startServer } from './server.mjs';

const GIB = 2 ** 30;
const MIB = 2 ** 20;
const BAR2 = 2;
const BLOCK = 64 * 1024;
/** Milliseconds of debt at which the link makes its writer wait. */
const LINK_SLACK_MS = 2;
/** Milliseconds of bytes that wait in the link's queue. */
const LINK_QUEUE_MS = 10;
/** Milliseconds that a downtime may take where pre-copy is to pay: 8 GiB, 1 %/s, 10 Gbit/s. */
const REACH_MS = 150;

const FULL = { sizes: [GIB, 4 * GIB, 8 * GIB], links: [1, 10, 100], rates: [0, 1, 10] };
const QUICK = { sizes: [64 * MIB], links: [10], rates: [0, 1] };

/** A link of `bytesPerSecond` that forgets what it carries. */
class Link {
  #freeAt = 0;
  #bytesPerSecond;

  constructor(bytesPerSecond) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  async write(bytes) {
    // A wait that lasts too long is made up for: a real link has a queue.
    this.#freeAt = Math.max(this.#freeAt, performance.now() - LINK_QUEUE_MS);
    this.#freeAt += (bytes.length * 1000) / this.#bytesPerSecond;
    const debt = this.#freeAt - performance.now();
    if (debt > LINK_SLACK_MS) await sleep(debt);
  }

  async finish() {
    const debt = this.#freeAt - performance.now();
    if (debt > 0) await sleep(debt);
  }

  async abort() {}
}

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

/** Fills VRAM so that no block of it is zero. */
function fill(fd, size) {
  const mapping = Mapping.ofFd(fd, size);
  const noise = randomBytes(MIB);
  for (let at = 0; at < size; at += MIB) mapping.view(at, MIB).set(noise);
  mapping.close();
}

/** A thread that writes until it is stopped. */
async function startWriter(fd, size, bytesPerSecond) {
  const stop = new SharedArrayBuffer(4);
  const workerData = { fd, size, bytesPerSecond, stop };
  const worker = new Worker(new URL('./precopy-writer.mjs', import.meta.url), { workerData });
  await once(worker, 'message');
  return async () => {
    const ended = once(worker, 'exit');
    Atomics.store(new Int32Array(stop), 0, 1);
    Atomics.notify(new Int32Array(stop), 0);
    await ended;
  };
}

/** Takes the state away once, the VF running on afterwards. */
async function takeAway(client, fd, { size, link, rate, precopy }) {
  const stopWriter = await startWriter(fd, size, (size * rate) / 100);
  let stopped = false;
  const stop = async () => {
    if (!stopped) await stopWriter();
    stopped = true;
  };
  try {
    return await save({ device: client }, async () => new Link((link * 1e9) / 8), {
      precopy: precopy ? 'auto' : 'off',
      resume: true,
      beforePhase: async (phase) => {
        if (phase === 'stop') await stop();
      },
    });
  } finally {
    await stop();
  }
}

const sizeText = (size) => (size >= GIB ? `${size / GIB} GiB` : `${size / MIB} MiB`);

/** @returns {Promise<object[]>} a row for the scan, and for each downtime and total */
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
  ];
  for (const size of table.sizes) rows.push(...(await sizeRows(folder, size, table, read)));
  return rows;
}

async function sizeRows(folder, size, { links, rates }, read) {
  const socket = join(folder, 'precopy.sock');
  const vram = `${size / MIB}M`;
  const server = await startServer(['--platform', 'bmg', '--vram', vram, '--socket', socket]);
  const rows = [];
  try {
    const vmm = await VfioUserClient.connect(socket);
    const [area] = vmm.regionInfo(BAR2).areas;
    fill(area.fd, size);
    const { device: client } = await connectVf(socket);
    for (const link of links) {
      const linkRate = (link * 1e9) / 8;
      const plain = await takeAway(client, area.fd, { size, link, rate: 0, precopy: false });
      const wire = (plain.streamBytes * 1000) / linkRate;
      rows.push(...timeRows(`${sizeText(size)}, ${link} Gbit/s, stop-copy`, plain, wire, wire));
      for (const rate of rates) {
        const result = await takeAway(client, area.fd, { size, link, rate, precopy: true });
        const last = result.phases.find(({ name }) => name === 'copy')?.bytes ?? 0;
        const scanMs = (size * 1000) / (read * availableParallelism());
        const bound = scanMs + (last * 1000) / linkRate;
        const name = `${sizeText(size)}, ${link} Gbit/s, ${rate} %/s, pre-copy`;
        rows.push(
          ...timeRows(name, result, bound, (result.streamBytes * 1000) / linkRate + scanMs),
        );
      }
    }
    await client.close();
    await vmm.close();
  } finally {
    await server.stop();
  }
  return rows;
}

function timeRows(name, { downtimeMs, totalMs }, boundMs, totalBoundMs) {
  const common = { unit: 'ms', better: 'lower', yardstickName: 'memory and link alone' };
  const reach = name === '8 GiB, 10 Gbit/s, 1 %/s, pre-copy' ? REACH_MS / boundMs : 1.5;
  return [
    { ...common, name: `${name}: down`, ours: downtimeMs, yardstick: boundMs, reach },
    { ...common, name: `${name}: total`, ours: totalMs, yardstick: totalBoundMs, reach: 1.5 },
  ];
}
