/**
 * The engines of the emulated GPU through its server: rate of 2 MiB linear copies and fills beside
 * memcpy, time of a small batch from its submission to its end, and how long a register access waits
 * while a long copy runs, on the same VF and on another one.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startServer } from './server.mjs';

const CLIENT = fileURLToPath(new URL('guest-engine-process.mjs', import.meta.url));
const PIECE = 2 << 20;
/** What the times are held to, nanoseconds. */
const WANTED = { small: 300_000, access: 1_000_000 };

/** @returns {Promise<object[]>} rates, then times */
export async function guestEngine({ yardsticks, folder, quick }) {
  const size = quick ? 32 << 20 : 256 << 20;
  const pattern = join(folder, 'engine-%d.sock');
  const vfs = ['--platform', 'ptl', '--vfs', '2', '--vf', 'all'];
  const server = await startServer([...vfs, '--socket', pattern]);
  try {
    const sockets = [1, 2].map((vfid) => pattern.replace('%d', String(vfid)));
    const args = [CLIENT, ...sockets, String(server.pid), quick ? '1' : '0'];
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
    const times = [
      ['small batch, submission to end', ours.small, WANTED.small],
      ['register read during a copy, p99', ours.sameVf.p99, WANTED.access],
      ['register read during a copy, longest', ours.sameVf.max, WANTED.access],
      ["register read during another VF's copy, p99", ours.otherVf.p99, WANTED.access],
      ["register read during another VF's copy, longest", ours.otherVf.max, WANTED.access],
    ].map(([name, value, wanted]) => ({
      name,
      unit: 'ns',
      ours: value,
      yardstick: wanted,
      yardstickName: 'the time wanted',
      reach: 1,
      better: 'lower',
    }));
    return [...rates, ...times];
  } finally {
    await server.stop();
  }
}
