import { describe, expect, it } from 'vitest';
import type { Fault } from '../../src/base/fault.ts';
import { VF_NOTIFY } from '../../src/xe/guc/pf-actions.ts';
import { GoldenDevice, type Outcome } from './golden-device.ts';
import { golden } from './golden-files.ts';
import { settle } from './manual-time.ts';
import { paused, states } from './paused-device.ts';

/** Lets workers run to idle. */
async function idle(device: GoldenDevice): Promise<void> {
  do await settle();
  while (device.jobs.runOne());
}

describe('a reset', () => {
  /** Starts an operation that sleeps. */
  async function sleeping<T>(operation: () => Promise<T>) {
    let outcome: Fault | 'done' | undefined;
    operation().then(
      () => {
        outcome = 'done';
      },
      (error: Fault) => {
        outcome = error;
      },
    );
    await settle();
    expect(outcome).toBeUndefined();
    return async () => {
      await settle();
      return outcome;
    };
  }

  it('wakes a sleeping reader at once, and leaves nothing of the session', async () => {
    const { device, vfio } = await paused('ptl');
    await device.must(() => vfio.stopCopyEnter(1));
    await device.must(() => vfio.dataRead(1, 50));
    const reader = await sleeping(() => vfio.dataRead(1, 1000));
    await vfio.flrPrepare(1);
    expect(await reader()).toMatchObject({ code: 'ENODEV' });
    for (const { guc } of device.gts) guc.notify(1, VF_NOTIFY.FLR);
    await device.must(() => vfio.waitFlrDone(1));
    expect(states(device)).toBe(' | ');
    expect(await device.fails(() => vfio.dataRead(1, 1))).toMatchObject({ code: 'ENODEV' });
    await device.must(() => vfio.suspendDevice(1));
    await device.must(() => vfio.stopCopyEnter(1));
    const views = await device.must(() => vfio.dataRead(1, 1000));
    expect(Buffer.concat(views)).toHaveLength(440);
  });

  it('wakes a sleeping writer, and the rest of its packet is not taken up later', async () => {
    const { device, vfio } = await paused('ptl');
    await idle(device);
    await device.must(() => vfio.resumeDataEnter(1));
    const stream = golden('streams/ptl_min.bin');
    const writer = await sleeping(() => vfio.dataWrite(1, stream.subarray(0, 300)));
    await vfio.flrPrepare(1);
    expect(await writer()).toMatchObject({ code: 'ENODEV' });
    for (const { guc } of device.gts) guc.notify(1, VF_NOTIFY.FLR);
    await device.must(() => vfio.waitFlrDone(1));
    expect(await device.fails(() => vfio.dataWrite(1, stream))).toMatchObject({ code: 'ENODEV' });
    await device.must(() => vfio.suspendDevice(1));
    await device.must(() => vfio.resumeDataEnter(1));
    await device.must(() => vfio.dataWrite(1, stream));
    await device.must(() => vfio.resumeDataExit(1));
    await device.must(() => vfio.resumeDevice(1));
  });

  it('clears the PTEs, VRAM and flags of the VF, and of no other', async () => {
    const device = new GoldenDevice('bmg');
    const vfio = device.pf.sriovVfio;
    for (const vfid of [1, 2]) device.fill(vfid);
    await vfio.flrPrepare(1);
    for (const { guc } of device.gts) guc.notify(1, VF_NOTIFY.FLR);
    await device.must(() => vfio.waitFlrDone(1));
    const look = (vfid: number) => ({
      pte: device.ggtt.ptes.get(device.pf.vfConfig(vfid).ggttStart)?.[0],
      vram: device.vram.get(vfid)?.bytes[1],
      flags: device.gts.map((gt) => gt.readVfFlag(vfid, 3)),
    });
    expect(look(1)).toEqual({ pte: 1 << 2, vram: 0, flags: [0, 0] });
    expect(look(2)).toEqual({ pte: 0x1000_0009, vram: 7, flags: [0x51f0_0031, 0x51f1_0031] });
  });

  it('that firmware never tells about ends with ETIMEDOUT after 5 s a GT', async () => {
    const device = new GoldenDevice('ptl');
    await device.pf.sriovVfio.flrPrepare(1);
    expect((await device.fails(() => device.pf.sriovVfio.flrPrepare(1))).code).toBe('EUCLEAN');
    const outcome: Outcome<void> = await device.run(() => device.pf.sriovVfio.waitFlrDone(1));
    expect(outcome).toMatchObject({ timedOut: true, fault: { code: 'EUCLEAN' } });
    expect(device.clock.now()).toBe(10_000);
    expect(states(device)).toBe('WIP+FLR_WIP+FLR_PREPARE | WIP+FLR_WIP+FLR_PREPARE');
    // By hand it goes on.
    await device.must(() => device.pf.control.resetVf(1));
    expect(states(device)).toBe(' | ');
  });
});
