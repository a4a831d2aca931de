/** How many small batches a second an engine runs while its VF is pre-copied, beside without. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { connectVf } from '../dist/app/vf-connection.js';
import { Link } from './precopy-link.mjs';
import { startServer } from './server.mjs';
import { median } from './yardstick.mjs';

const MIB = 2 ** 20;
const GUEST = fileURLToPath(new URL('precopy-exec-process.mjs', import.meta.url));
/** `VFIO_DEVICE_STATE_*`. */
const RUNNING = 2;
const PRE_COPY = 6;
const PIECE = 4 * MIB;
/** A guest may lose this part of its batches. */
const KEPT = 0.95;

/** Moves what there is over `link`, to a momentary end. */
async function drain(data, link) {
  try {
    for (;;) for (const view of await data.read(PIECE)) await link.write(view);
  } catch (error) {
    if (error.code !== 'ENOMSG') throw error;
  }
}

/** @returns {Promise<object[]>} a row while changes are looked for, and while VRAM is sent */
export async function execSlowdown({ folder, quick }) {
  const socket = join(folder, 'precopy-exec.sock');
  const size = (quick ? 64 : 1024) * MIB;
  const ms = quick ? 50 : 250;
  const vram = `${size / MIB}M`;
  const server = await startServer(['--platform', 'bmg', '--vram', vram, '--socket', socket]);
  const guest = fork(GUEST, [socket, String(size)]);
  try {
    await once(guest, 'message');
    const { device: client } = await connectVf(socket);
    const measure = async () => {
      const answer = once(guest, 'message');
      guest.send({ ms });
      return (await answer)[0].perSecond;
    };
    const rows = [];
    for (const [what, link] of [
      ['nothing to send, all of VRAM touched', undefined],
      ['sending at 1 Gbit/s', 1],
      ['sending at 10 Gbit/s', 10],
    ]) {
      const pairs = [];
      for (let repeat = 0; repeat < (quick ? 1 : 15); repeat++) {
        const without = await measure();
        const data = await client.setMigrationState(PRE_COPY);
        if (link === undefined) await drain(data, new Link(1000));
        const sending = link === undefined ? undefined : drain(data, new Link(link));
        const during = await measure();
        await client.setMigrationState(RUNNING);
        await sending?.catch(() => {});
        pairs.push({ without, during });
      }
      rows.push({
        name: `small batches, ${what}`,
        unit: 'count',
        ours: Math.round(median(pairs.map(({ during }) => during))),
        yardstick: Math.round(median(pairs.map(({ without }) => without))),
        ratio: median(pairs.map(({ during, without }) => during / without)),
        yardstickName: 'a second, without pre-copy',
        reach: KEPT,
        better: 'higher',
        load: loadavg()[0],
      });
    }
    await client.close();
    return rows;
  } finally {
    guest.disconnect();
    if (guest.exitCode === null) await once(guest, 'exit');
    await server.stop();
  }
}
