/** A server's memory beyond its VF's memory while 4 GiB of VRAM are migrated out of it and into another. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { memoryOf, startServer } from './server.mjs';

const BIN = fileURLToPath(new URL('../bin/xe-vfio', import.meta.url));

/** @returns {Promise<object[]>} one row a role */
export async function serverMemory({ folder, quick }) {
  const vram = quick ? '64M' : '4G';
  const peak = { source: 0, target: 0 };
  const servers = {};
  try {
    for (const role of ['source', 'target'])
      servers[role] = await startServer([
        ...['--platform', 'bmg', '--vram', vram],
        ...['--socket', join(folder, `memory-${role}.sock`)],
      ]);
    const sample = setInterval(() => {
      for (const role of ['source', 'target']) {
        const { resident, shared } = memoryOf(servers[role].pid);
        peak[role] = Math.max(peak[role], resident - shared);
      }
    }, 20);
    const ends = ['source', 'target'].map((role) => join(folder, `memory-${role}.sock`));
    try {
      await promisify(execFile)(process.execPath, [BIN, 'migrate', ...ends, '--json']);
    } finally {
      clearInterval(sample);
    }
  } finally {
    for (const server of Object.values(servers)) await server.stop();
  }
  return ['source', 'target'].map((role) => ({
    name: `${role} server's memory beyond VRAM, migrating ${vram}`,
    unit: 'B',
    ours: peak[role],
    yardstick: 150e6,
    yardstickName: 'the bound, 150 MB',
    reach: 1,
    better: 'lower',
  }));
}
