import { describe, expect, it } from 'vitest';
import { StreamFault } from '../../src/base/fault.ts';
import { golden } from './golden-files.ts';
import { paused } from './paused-device.ts';

describe('restoring', () => {
  it('gives windows only inside of VRAM', async () => {
    const { device, vfio } = await paused('bmg');
    expect(vfio.dataWindow(1, 100)).toBeUndefined();
    await device.must(() => vfio.resumeDataEnter(1));
    const stream = golden('streams/bmg_min.bin');
    await device.must(() => vfio.dataWrite(1, stream.subarray(0, 320)));
    expect(vfio.dataWindow(1, 100)).toBeUndefined();
    await device.must(() => vfio.dataWrite(1, stream.subarray(320, 344)));
    expect(vfio.dataWindow(1, 100)).toHaveLength(100);
    expect(vfio.dataWindow(1, 2 ** 22)).toHaveLength(2 ** 21);
    await device.must(() => vfio.dataCommit(1, 2 ** 21 - 1));
    expect(vfio.dataWindow(1, 100)).toHaveLength(1);
    await expect(vfio.dataCommit(1, 2)).rejects.toThrow(RangeError);
    await device.must(() => vfio.dataCommit(1, 1));
    expect(vfio.dataWindow(1, 100)).toBeUndefined();
    await device.must(() => vfio.dataWrite(1, stream.subarray(344 + 2 ** 21)));
    await device.must(() => vfio.resumeDataExit(1));
  });

  it('skips gigabytes of an unknown type without holding them', async () => {
    const { device, vfio } = await paused('ptl');
    const skipped: number[] = [];
    device.pf.events.on((event) => {
      if (event.type === 'packet-skipped') skipped.push(event.packetType);
    });
    await device.must(() => vfio.resumeDataEnter(1));
    const header = Buffer.alloc(24);
    header.writeUInt8(1, 0);
    header.writeUInt8(200, 1);
    header.writeUInt32LE(0x7fff_ffff, 16);
    await device.must(() => vfio.dataWrite(1, header));
    const piece = new Uint8Array(2 ** 24);
    const before = process.memoryUsage().arrayBuffers;
    for (let left = 0x7fff_ffff; left > 0; left -= piece.length)
      await vfio.dataWrite(1, piece.subarray(0, Math.min(left, piece.length)));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 24);
    expect(skipped).toEqual([200]);
    await device.must(() => vfio.dataWrite(1, golden('streams/ptl_min.bin')));
    await device.must(() => vfio.resumeDataExit(1));
  });

  it('tells what is wrong and where, again and again', async () => {
    const { device, vfio } = await paused('ptl');
    await device.must(() => vfio.resumeDataEnter(1));
    const stream = golden('streams/ggtt_long.bin');
    const fault = await device.fails(() => vfio.dataWrite(1, stream));
    expect(fault).toBeInstanceOf(StreamFault);
    expect(fault).toMatchObject({ code: 'EINVAL', offset: 128, packet: 2 });
    for (const call of [() => vfio.dataWrite(1, stream), () => vfio.resumeDataExit(1)])
      expect(await device.fails(call)).toBe(fault);
    expect(await device.fails(() => vfio.resumeDevice(1))).toMatchObject({ code: 'EUCLEAN' });
    await device.must(() => device.pf.control.resetVf(1));
    await device.must(() => vfio.suspendDevice(1));
  });
});
