import { describe, expect, it } from 'vitest';
import { migrationUnsupportedReason } from '../../src/pf/pf-migration.ts';
import type { XeSriovVfio } from '../../src/xe-vfio-pci/xe-sriov-vfio.ts';
import { GoldenDevice } from './golden-device.ts';
import { paused, states } from './paused-device.ts';

const CALLS: ReadonlyArray<(pf: XeSriovVfio, vfid: number) => unknown> = [
  (pf, vfid) => pf.flrPrepare(vfid),
  (pf, vfid) => pf.waitFlrDone(vfid),
  (pf, vfid) => pf.suspendDevice(vfid),
  (pf, vfid) => pf.resumeDevice(vfid),
  (pf, vfid) => pf.stopCopyEnter(vfid),
  (pf, vfid) => pf.stopCopyExit(vfid),
  (pf, vfid) => pf.resumeDataEnter(vfid),
  (pf, vfid) => pf.resumeDataExit(vfid),
  (pf, vfid) => pf.error(vfid),
  (pf, vfid) => pf.stopCopySize(vfid),
  (pf, vfid) => pf.dataRead(vfid, 1),
  (pf, vfid) => pf.dataWrite(vfid, new Uint8Array(1)),
  (pf, vfid) => pf.dataWindow(vfid, 1),
  (pf, vfid) => pf.dataCommit(vfid, 0),
];

describe('the guard of the exports', () => {
  it('refuses VFs that are not enabled', async () => {
    const device = new GoldenDevice('ptl', { vfs: 2 });
    for (const call of CALLS)
      for (const vfid of [0, 3, 63, -1, 1.5, Number.NaN]) {
        const fault = await device.fails(() => call(device.pf.sriovVfio, vfid));
        expect(fault.code, `${call} of VF${vfid}`).toBe('EINVAL');
      }
  });

  it('refuses a device that is no PF', async () => {
    const device = new GoldenDevice('ptl', { vfs: 0, device: { totalVfs: 0 } });
    expect(device.pf.sriovVfio.migrationSupported()).toBe(false);
    for (const call of CALLS)
      expect((await device.fails(() => call(device.pf.sriovVfio, 1))).code).toBe('EPERM');
  });
});

describe('whether VFs can be migrated', () => {
  const reason = (...[name, options]: ConstructorParameters<typeof GoldenDevice>) =>
    migrationUnsupportedReason(new GoldenDevice(name, options).device);

  it('needs firmware 70.54 on every GT', () => {
    expect(reason('ptl')).toBeUndefined();
    expect(reason('ptl', { gucVersion: { major: 71, minor: 0, patch: 0 } })).toBeUndefined();
    const old = new GoldenDevice('ptl');
    const [, media] = old.gts;
    if (media === undefined) throw new Error('no media GT');
    media.guc.version = { major: 70, minor: 53, patch: 9 };
    expect(migrationUnsupportedReason(old.device)).toBe(
      'GuC firmware 70.54.0 or newer is needed, GT1 runs 70.53.9',
    );
  });

  it('needs interrupts in memory', () => {
    expect(reason('ptl', { device: { hasMemirq: false } })).toMatch(/memory-based interrupts/);
    expect(reason('ptl', { device: { graphicsVerx100: 1200 } })).toMatch(/12\.50/);
  });

  it('refuses to save, restore and size without it', async () => {
    const gucVersion = { major: 70, minor: 53, patch: 0 };
    const { device, vfio } = await paused('ptl', { gucVersion });
    expect(vfio.migrationSupported()).toBe(false);
    for (const call of [
      () => vfio.stopCopyEnter(1),
      () => vfio.resumeDataEnter(1),
      () => vfio.stopCopySize(1),
    ])
      expect(await device.fails(call)).toMatchObject({
        code: 'ENOPKG',
        message: vfio.migrationUnsupportedReason(),
      });
    expect(states(device)).toBe('PAUSED | PAUSED');
  });
});

describe('an error of the variant driver', () => {
  it('stops the VF and ends its session, until a reset', async () => {
    const { device, vfio } = await paused('ptl');
    await device.must(() => vfio.stopCopyEnter(1));
    await device.must(() => vfio.error(1));
    expect(states(device)).toBe('STOPPED | STOPPED');
    expect(await device.fails(() => vfio.dataRead(1, 1))).toMatchObject({ code: 'ENODEV' });
    for (const call of [() => vfio.suspendDevice(1), () => vfio.resumeDevice(1)])
      expect((await device.fails(call)).code).toBe('EUCLEAN');
    await device.must(() => device.pf.control.resetVf(1));
    await device.must(() => vfio.suspendDevice(1));
  });
});
