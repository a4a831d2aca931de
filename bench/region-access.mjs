/**
 * Round trip of a 4-byte region read and write, beside a C ping-pong of the same messages.
 *
 * Blocking: both sides held on one core, where a round trip is two context switches and nothing
 * hides in another core's waking up. Polling: both sides spin, each on a core of its own.
 *
 * Ours and the yardstick take turns in short batches, each pair one ratio: what else the machine
 * does meanwhile slows both halves of a pair alike.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { startServer } from './server.mjs';
import { canPin, median, pinned } from './yardstick.mjs';

const CLIENT = fileURLToPath(new URL('region-client-process.mjs', import.meta.url));

/** Message sizes: header 16, access 16, data 4. */
const SIZES = { read: [32, 36], write: [36, 32] };

const MODES = [
  { name: 'blocking', yardstick: 'block', pollUs: 0, server: 0, client: 0, reach: 1.2 },
  { name: 'polling', yardstick: 'poll', pollUs: 200, server: 1, client: 0, reach: 1.4 },
];

/** Starts the client; it measures a batch whenever it is asked to. */
async function startClient(socket, { pollUs, client: core }) {
  const [command, ...args] = pinned([process.execPath, CLIENT, socket, String(pollUs)], core);
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error('the client of the benchmark has ended');
    return value;
  };
  return {
    /** Nanoseconds per round trip. */
    async measure(access, rounds) {
      child.stdin.write(`${access} ${rounds}\n`);
      return Number(await answer());
    },
    async stop() {
      child.stdin.end();
      if (child.exitCode === null) await once(child, 'exit');
    },
  };
}

/** @returns {Promise<object[]>} one row a mode and access */
export async function regionAccess({ yardsticks, folder, quick }) {
  const rounds = 5_000;
  const pairs = quick ? 1 : 40;
  const rows = [];
  for (const mode of MODES) {
    if (!canPin && mode.name === 'blocking') continue;
    const socket = join(folder, `region-${mode.name}.sock`);
    const server = await startServer(
      ['--platform', 'bmg', '--vram', '2M', '--socket', socket, '--poll-us', String(mode.pollUs)],
      mode.server,
    );
    const ours = { read: [], write: [] };
    const theirs = { read: [], write: [] };
    const cores = canPin ? [mode.client, mode.server] : [];
    try {
      const client = await startClient(socket, mode);
      // Both sides' code has its final form before it is timed.
      for (const access of ['read', 'write']) await client.measure(access, quick ? rounds : 50_000);
      for (let pair = 0; pair < pairs; pair++)
        for (const access of ['read', 'write']) {
          ours[access].push(await client.measure(access, rounds));
          const args = [mode.yardstick, ...SIZES[access], rounds, ...cores];
          if (yardsticks) theirs[access].push(yardsticks.run('pingpong', args));
        }
      await client.stop();
    } finally {
      await server.stop();
    }
    for (const access of ['read', 'write'])
      rows.push({
        name: `4-byte ${access}, ${mode.name}`,
        unit: 'ns',
        ours: median(ours[access]),
        yardstick: yardsticks ? median(theirs[access]) : undefined,
        ratio: yardsticks
          ? median(ours[access].map((value, index) => value / theirs[access][index]))
          : undefined,
        yardstickName: `C ping-pong, ${mode.name}`,
        reach: mode.reach,
        better: 'lower',
      });
  }
  return rows;
}
