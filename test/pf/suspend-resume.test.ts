import { describe, expect, it } from 'vitest';
import { DeviceFault, Fault } from '../../src/base/fault.ts';
import { VF_CONTROL_COMMAND, VF_NOTIFY } from '../../src/xe/guc/pf-actions.ts';
import { GoldenDevice } from './golden-device.ts';
import { golden } from './golden-files.ts';
import { paused, states } from './paused-device.ts';

describe('suspending', () => {
  it('lets the VF run on when a GT refuses', async () => {
    // Folded over the GTs as Linux does: only the last GT's own errno gets through.
    for (const [failing, code] of [
      [0, 'EUCLEAN'],
      [1, 'EIO'],
    ] as const) {
      const device = new GoldenDevice('ptl');
      const guc = device.gts[failing]?.guc;
      if (guc === undefined) throw new Error('no GT');
      guc.errors.control = 'EIO';
      const fault = await device.fails(() => device.pf.sriovVfio.suspendDevice(1));
      expect(fault).not.toBeInstanceOf(DeviceFault);
      expect(fault.code).toBe(code);
      const other = device.pf.control.states(1)[1 - failing];
      expect(other).toEqual(['RESUMED']);
      expect(device.pf.control.states(1)[failing]).toEqual(['PAUSE_FAILED', 'MISMATCH']);
      delete guc.errors.control;
      await device.must(() => device.pf.sriovVfio.suspendDevice(1));
      expect(states(device)).toBe('PAUSED | PAUSED');
    }
  });

  it('takes back a pause that firmware does not answer', async () => {
    const device = new GoldenDevice('ptl');
    const guc = device.gts[1]?.guc;
    if (guc === undefined) throw new Error('no GT');
    guc.answersDone = false;
    const outcome = await device.run(() => device.pf.sriovVfio.suspendDevice(1));
    expect(outcome).toMatchObject({ timedOut: true, fault: { code: 'ETIMEDOUT' } });
    expect(device.clock.now()).toBe(1000);
    expect(guc.sent.at(-1)?.[2]).toBe(VF_CONTROL_COMMAND.RESUME);
    expect(states(device)).toBe('RESUMED | ');
    // The answer that comes after all disagrees with what the PF knows, and hurts nothing.
    guc.notify(1, VF_NOTIFY.PAUSE_DONE);
    expect(states(device)).toBe('RESUMED | MISMATCH');
    guc.answersDone = true;
    await device.must(() => device.pf.sriovVfio.suspendDevice(1));
    expect(states(device)).toBe('PAUSED | PAUSED');
  });

  it('is a failure of the device when the VF cannot be brought back', async () => {
    const device = new GoldenDevice('ptl');
    for (const { id, guc } of device.gts)
      guc.onCommand = (_, command) => {
        if (id === 1 || command === VF_CONTROL_COMMAND.RESUME) throw new Fault('EIO', 'broken');
      };
    const fault = await device.fails(() => device.pf.sriovVfio.suspendDevice(1));
    expect(fault).toBeInstanceOf(DeviceFault);
  });

  it('of a VF that is paused already changes nothing', async () => {
    const { device, vfio } = await paused('ptl');
    expect((await device.fails(() => vfio.suspendDevice(1))).code).toBe('EUCLEAN');
    expect(states(device)).toBe('PAUSED | PAUSED');
    const single = await paused('ptl', { singleGt: true });
    expect((await single.device.fails(() => single.vfio.suspendDevice(1))).code).toBe('ESTALE');
  });
});

describe('resuming', () => {
  it('is a failure of the device when a GT refuses', async () => {
    const { device, vfio } = await paused('ptl');
    const guc = device.gts[1]?.guc;
    if (guc === undefined) throw new Error('no GT');
    guc.errors.control = 'EIO';
    const fault = await device.fails(() => vfio.resumeDevice(1));
    expect(fault).toBeInstanceOf(DeviceFault);
    expect(fault.cause).toBeInstanceOf(Fault);
  });

  it('of a VF that is not paused, or saved, or restored, is refused without effect', async () => {
    const { device, vfio } = await paused('ptl', { singleGt: true });
    await device.must(() => vfio.stopCopyEnter(1));
    expect(await device.fails(() => vfio.resumeDevice(1))).toMatchObject({ code: 'EBUSY' });
    await device.must(() => vfio.stopCopyExit(1));
    await device.must(() => vfio.resumeDataEnter(1));
    expect(await device.fails(() => vfio.resumeDevice(1))).toMatchObject({ code: 'EBUSY' });
    await device.must(() =>
      vfio.dataWrite(1, golden('streams/ptl_no_descriptor.bin').slice(0, 88)),
    );
    const [gt] = device.gts;
    if (gt === undefined) throw new Error('no GT');
    gt.guc.errors.restore = 'EPROTO';
    const again = golden('streams/ptl_no_descriptor.bin').slice(0, 88);
    const failed = await device.fails(() => vfio.dataWrite(1, again));
    expect(failed).toMatchObject({ code: 'EPROTO', offset: 88, packet: 1 });
    // Half restored: only a reset may follow.
    expect(await device.fails(() => vfio.resumeDevice(1))).toMatchObject({ code: 'EIO' });
    expect(await device.fails(() => vfio.resumeDataExit(1))).toBe(failed);
    await device.must(() => device.pf.control.resetVf(1));
    const running = await device.fails(() => vfio.resumeDevice(1));
    expect(running).toMatchObject({ code: 'EPERM' });
    expect(running).not.toBeInstanceOf(DeviceFault);
    await device.must(() => vfio.suspendDevice(1));
  });
});
