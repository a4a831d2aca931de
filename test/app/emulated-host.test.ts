import { expect, test } from 'vitest';
import { EmulatedHost } from '../../src/app/emulated-host.ts';

test('gives VFs time slices and preemption timeouts of their own, the last one to all others', async () => {
  using host = await EmulatedHost.create({
    platform: 'ptl',
    vfs: 3,
    execQuantaMs: [10, 30],
    preemptTimeoutsUs: [500],
  });
  const sched = [1, 2, 3].map((vfid) => {
    const { execQuantumMs, preemptTimeoutUs } = host.pf.vfConfig(vfid);
    return [execQuantumMs, preemptTimeoutUs];
  });
  expect(sched).toEqual([
    [10, 500],
    [30, 500],
    [30, 500],
  ]);
});
