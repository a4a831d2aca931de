/**
 * Migration data through the socket, source to sink, in messages of 1 MiB, beside the bandwidth of
 * an AF_UNIX stream between two C processes at the same message size.
 */
import { join } from 'node:path';
import { MIG_STATE } from '../dist/vfio/migration-state.js';
import { VfioUserClient } from '../dist/vfio-user/client.js';
import { startServer } from './server.mjs';
import { median } from './yardstick.mjs';

const MESSAGE = 1 << 20;

/** @returns {Promise<object[]>} one row */
export async function socketStream({ yardsticks, folder, quick }) {
  const vram = quick ? '64M' : '1G';
  const total = quick ? 64 << 20 : 2 ** 30;
  const repeats = quick ? 1 : 5;
  const socket = join(folder, 'stream.sock');
  const server = await startServer(['--platform', 'bmg', '--vram', vram, '--socket', socket]);
  const ours = [];
  const theirs = [];
  try {
    const client = await VfioUserClient.connect(socket, { maxDataXferSize: MESSAGE });
    for (let repeat = 0; repeat <= repeats; repeat++) {
      const data = await client.setMigrationState(MIG_STATE.STOP_COPY);
      const from = process.hrtime.bigint();
      let bytes = 0;
      for (;;) {
        const views = await data.read(MESSAGE);
        if (views.length === 0) break;
        for (const view of views) bytes += view.length;
      }
      const rate = bytes / (Number(process.hrtime.bigint() - from) / 1e9);
      data.close();
      await client.setMigrationState(MIG_STATE.RUNNING);
      // The first pass faults the VRAM's pages in; the yardstick has them before it starts.
      if (repeat > 0) ours.push(rate);
      if (repeat > 0 && yardsticks) theirs.push(yardsticks.run('stream', [MESSAGE, total]));
    }
    await client.close();
  } finally {
    await server.stop();
  }
  return [
    {
      name: 'migration data through the socket',
      unit: 'B/s',
      ours: median(ours),
      yardstick: yardsticks ? median(theirs) : undefined,
      yardstickName: 'AF_UNIX stream, 1 MiB messages',
      reach: 0.7,
      better: 'higher',
    },
  ];
}
