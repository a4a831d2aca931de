import { expect, test } from 'vitest';
import { EmulatedHost } from '../../src/app/emulated-host.ts';

test('gives VFs time slices and preemption timeouts of their own, one for each', async () => {
  const options = { platform: 'ptl', vfs: 2 } as const;
  using host = await EmulatedHost.create({
    ...options,
    execQuantaMs: [10, 30],
    preemptTimeoutsUs: [500, 700],
  });
  const sched = [1, 2].map((vfid) => {
    const { execQuantumMs, preemptTimeoutUs } = host.pf.vfConfig(vfid);
    return [execQuantumMs, preemptTimeoutUs];
  });
  expect(sched).toEqual([
    [10, 500],
    [30, 700],
  ]);
  await expect(EmulatedHost.create({ ...options, execQuantaMs: [10] })).rejects.toThrow(
    '1 values are not one for each of 2 VFs',
  );
});
