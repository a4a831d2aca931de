/**
 * The engines of the emulated GPU through its server: rate of 2 MiB linear copies and fills beside
 * memcpy, time of a small batch from its submission to its end, and how long a register access waits
 * while a long copy runs, on the same VF and on another one.
 */
import { execFile } from 'node:child_process';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startServer } from './server.mjs';

const CLIENT = fileURLToPath(new URL('guest-engine-process.mjs', import.meta.url));
const PIECE = 2 << 20;
/** What the times are held to, nanoseconds. */
const WANTED = { small: 300_000, access: 1_000_000 };
/** About as long as the reads of one VF take, milliseconds. */
const GAP_MS = { quick: 300, full: 4000 };
/** Client and server are busy at once; a hypervisor may take more from that than from one. */
const BUSY = 2;

/** @returns {Promise<object[]>} rates, then times */
export async function guestEngine({ yardsticks, folder, quick }) {
  const size = quick ? 32 << 20 : 256 << 20;
  const pattern = join(folder, 'engine-%d.sock');
  const vfs = ['--platform', 'ptl', '--vfs', '2', '--vf', 'all'];
  const server = await startServer([...vfs, '--socket', pattern]);
  try {
    const sockets = [1, 2].map((vfid) => pattern.replace('%d', String(vfid)));
    // Nobody but the server is to be measured: helpers of the client's V8 would be waited for, too.
    const args = [
      '--single-threaded-gc',
      CLIENT,
      ...sockets,
      String(server.pid),
      quick ? '1' : '0',
    ];
    const gap = yardsticks?.run('gap', [quick ? GAP_MS.quick : GAP_MS.full, BUSY]) ?? 0;
    const { stdout } = await promisify(execFile)(process.execPath, args);
    const ours = JSON.parse(stdout);
    const rates = [
      ['copy', 'out'],
      ['fill', 'in'],
    ].map(([name, direction]) => ({
      name: `2 MiB linear ${name}`,
      unit: 'B/s',
      ours: ours[name],
      yardstick: yardsticks?.run('copy', [direction, size, PIECE, quick ? 1 : 5]),
      yardstickName: 'memcpy, one core',
      reach: 0.5,
      better: 'higher',
    }));
    const small = time('small batch, submission to end', ours.small, WANTED.small);
    return [
      ...rates,
      small,
      ...reads('register read during a copy', ours.sameVf, gap),
      ...reads("register read during another VF's copy", ours.otherVf, gap),
    ];
  } finally {
    await server.stop();
  }
}

function time(name, ours, yardstick, remark = '') {
  const yardstickName = `the time wanted${remark}`;
  return { name, unit: 'ns', ours, yardstick, yardstickName, reach: 1, better: 'lower' };
}

/**
 * Quantiles without what server and client waited for a CPU, and how much that was. How long the machine
 * kept two spinning C programs from running is only told: whether it made a read long is not known.
 */
function reads(name, { p50, p99, p999, max, whole, longestWhole }, gap) {
  const milliseconds = (nanoseconds) => `${(nanoseconds / 1e6).toFixed(2)} ms`;
  const machine = `; two C loops beside each other were kept waiting for up to ${milliseconds(gap)}`;
  const waited = `${machine}, ${milliseconds(whole - max)} waiting for a core not counted`;
  const worst = `, longest with that ${milliseconds(longestWhole)}, load ${loadavg()[0].toFixed(1)}`;
  return [
    time(`${name}, p50`, p50, WANTED.access),
    time(`${name}, p99`, p99, WANTED.access),
    time(`${name}, p99.9`, p999, WANTED.access),
    time(`${name}, longest`, max, WANTED.access, waited + worst),
  ];
}
