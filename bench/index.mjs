/**
 * All benchmarks, each beside its yardstick in the same run. `xe-vfio bench` prints what this
 * returns; nothing here passes or fails by time.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { driverData } from './driver-data.mjs';
import { guestEngine } from './guest-engine.mjs';
import { guestProbe } from './guest-probe.mjs';
import { idleVfs } from './idle-vfs.mjs';
import { network } from './network.mjs';
import { precopyDowntime } from './precopy.mjs';
import { regionAccess } from './region-access.mjs';
import { serverMemory } from './server-memory.mjs';
import { socketStream } from './socket-stream.mjs';
import { compileYardsticks } from './yardstick.mjs';

/** Every benchmark by the name that `xe-vfio bench NAME` takes. */
export const BENCHMARKS = {
  'region-access': regionAccess,
  'driver-data': driverData,
  'socket-stream': socketStream,
  network,
  'server-memory': serverMemory,
  'idle-vfs': idleVfs,
  precopy: precopyDowntime,
  'guest-engine': guestEngine,
  'guest-probe': guestProbe,
};

/**
 * Runs the named benchmarks (all without names), one after the other.
 *
 * @param {{ names?: string[], quick?: boolean, onStart?: (name: string) => void }} options
 * @returns {Promise<{ rows: object[], note?: string }>} rows with ours, yardstick, ratio (ours to
 *   the yardstick) and the ratio to reach; the note says why yardsticks are missing
 */
export async function runBenchmarks({ names, quick = false, onStart = () => {} } = {}) {
  const yardsticks = compileYardsticks();
  const usable = 'run' in yardsticks ? yardsticks : undefined;
  const folder = mkdtempSync(join(tmpdir(), 'xe-vfio-bench-'));
  const rows = [];
  try {
    for (const name of names?.length ? names : Object.keys(BENCHMARKS)) {
      onStart(name);
      for (const row of await BENCHMARKS[name]({ yardsticks: usable, folder, quick })) {
        // A benchmark that measures in pairs knows the ratio better than the two medians do.
        const ratio = row.ratio ?? (row.yardstick && row.ours / row.yardstick);
        rows.push({ benchmark: name, ...row, ratio });
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
    usable?.close();
  }
  return 'reason' in yardsticks ? { rows, note: yardsticks.reason } : { rows };
}
