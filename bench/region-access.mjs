/**
 * Round trip of a 4-byte region read and write, beside a C ping-pong of the same messages.
 *
 * Blocking: both sides held on one core, where a round trip is two context switches and nothing
 * hides in another core's waking up. Polling: both sides spin, each on a core of its own.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
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

/** @returns {Promise<object[]>} one row a mode and access */
export async function regionAccess({ yardsticks, folder, quick }) {
  const rounds = quick ? 5_000 : 50_000;
  const repeats = quick ? 1 : 5;
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
    try {
      for (let repeat = 0; repeat < repeats; repeat++) {
        const [command, ...args] = pinned(
          [process.execPath, CLIENT, socket, String(rounds), String(mode.pollUs)],
          mode.client,
        );
        const result = JSON.parse(execFileSync(command, args, { encoding: 'utf8' }));
        for (const access of ['read', 'write']) {
          ours[access].push(result[access]);
          const core = mode.name === 'blocking' ? 0 : undefined;
          const sizes = SIZES[access];
          if (yardsticks)
            theirs[access].push(
              yardsticks.run('pingpong', [mode.yardstick, ...sizes, rounds], core),
            );
        }
      }
    } finally {
      await server.stop();
    }
    for (const access of ['read', 'write'])
      rows.push({
        name: `4-byte ${access}, ${mode.name}`,
        unit: 'ns',
        ours: median(ours[access]),
        yardstick: yardsticks ? median(theirs[access]) : undefined,
        yardstickName: `C ping-pong, ${mode.name}`,
        reach: mode.reach,
        better: 'lower',
      });
  }
  return rows;
}
