import { describe, expect, it } from 'vitest';
import { GoldenDevice } from './golden-device.ts';
import { golden } from './golden-files.ts';
import { paused, states } from './paused-device.ts';

describe('saving', () => {
  it('delivers exactly the size that was told, byte for byte as Linux', async () => {
    for (const name of ['ptl', 'bmg'] as const) {
      const { device, vfio } = await paused(name);
      const size = await device.must(() => vfio.stopCopySize(1));
      await device.must(() => vfio.stopCopyEnter(1));
      const parts: Uint8Array[] = [];
      for (let max = 1; ; max = (max * 7) % 70_000) {
        const views = await device.must(() => vfio.dataRead(1, max));
        const got = views.reduce((sum, { length }) => sum + length, 0);
        parts.push(...views.map((view) => view.slice()));
        if (got < max) break;
      }
      const stream = Buffer.concat(parts);
      expect(stream.equals(golden(`streams/${name}_min.bin`))).toBe(true);
      expect(size).toBe(stream.length);
      expect(await device.must(() => vfio.dataRead(1, 100))).toEqual([]);
      await device.must(() => vfio.stopCopyExit(1));
      expect(states(device)).toBe('PAUSED+SAVED | PAUSED+SAVED');
      expect(device.gts.map(({ guc }) => guc.heldBuffers)).toEqual([0, 0]);
    }
  });

  it('counts a header for each 512 MiB of VRAM, and does not copy it', async () => {
    const vramSize = 2 ** 30 + 2 ** 21;
    const device = new GoldenDevice('bmg', { vfs: 1, profile: { ggttSize: 65_536, vramSize } });
    const vfio = device.pf.sriovVfio;
    await device.must(() => vfio.suspendDevice(1));
    const size = await device.must(() => vfio.stopCopySize(1));
    await device.must(() => vfio.stopCopyEnter(1));
    const views = await device.must(() => vfio.dataRead(1, 2 ** 31));
    expect(size).toBe(440 + 3 * 24 + vramSize);
    expect(views.reduce((sum, { length }) => sum + length, 0)).toBe(size);
    const memory = device.vram.get(1)?.bytes.buffer;
    const chunks = views.filter((view) => view.buffer === memory);
    expect(chunks.map(({ byteOffset, length }) => [byteOffset, length])).toEqual([
      [0, 2 ** 29],
      [2 ** 29, 2 ** 29],
      [2 ** 30, 2 ** 21],
    ]);
  });

  it('can be left before its end: the VF stays paused and runs on', async () => {
    for (const readFirst of [0, 1, 100, 441]) {
      const { device, vfio } = await paused('ptl');
      await device.must(() => vfio.stopCopyEnter(1));
      if (readFirst > 0) await device.must(() => vfio.dataRead(1, readFirst));
      await device.must(() => vfio.stopCopyExit(1));
      expect(states(device)).toMatch(/^PAUSED(\+SAVED)? \| PAUSED(\+SAVED)?$/);
      expect(await device.fails(() => vfio.dataRead(1, 1))).toMatchObject({ code: 'ENODEV' });
      await device.must(() => vfio.stopCopyEnter(1));
      expect(await device.must(() => vfio.dataRead(1, 16))).toHaveLength(1);
      await device.must(() => vfio.stopCopyExit(1));
      await device.must(() => vfio.resumeDevice(1));
      expect(states(device)).toBe('RESUMED | RESUMED');
    }
  });

  it('can fail, be left and succeed later', async () => {
    const { device, vfio } = await paused('ptl');
    const guc = device.gts[1]?.guc;
    if (guc === undefined) throw new Error('no GT');
    guc.errors.save = 'ETIME';
    await device.must(() => vfio.stopCopyEnter(1));
    const failed = await device.fails(() => vfio.dataRead(1, 1000));
    expect(failed).toMatchObject({ code: 'EIO', cause: { code: 'ETIME' } });
    expect(failed.message).toContain('GT1 could not save GUC of VF1');
    expect(await device.fails(() => vfio.dataRead(1, 1))).toBe(failed);
    await device.must(() => vfio.stopCopyExit(1));
    delete guc.errors.save;
    await device.must(() => vfio.stopCopyEnter(1));
    const views = await device.must(() => vfio.dataRead(1, 1000));
    expect(Buffer.concat(views).equals(golden('streams/ptl_min.bin'))).toBe(true);
    await device.must(() => vfio.stopCopyExit(1));
    expect((await device.fails(() => vfio.stopCopyExit(1))).code).toBe('EIO');
  });

  it('of which a GT failed can be begun anew, without the old failure', async () => {
    const { device, vfio } = await paused('ptl');
    const guc = device.gts[1]?.guc;
    if (guc === undefined) throw new Error('no GT');
    guc.errors.save = 'EIO';
    await device.must(() => vfio.stopCopyEnter(1));
    device.jobs.drain();
    // As Linux ends it: GT0 is saved, GT1 keeps its failure.
    expect(await device.fails(() => device.pf.migration.finishSave(1))).toMatchObject({
      code: 'EIO',
    });
    expect(states(device)).toBe('PAUSED+SAVED | PAUSED+SAVE_FAILED');
    delete guc.errors.save;
    await device.must(() => vfio.stopCopyEnter(1));
    expect(Buffer.concat(await device.must(() => vfio.dataRead(1, 1000)))).toHaveLength(440);
    await device.must(() => vfio.stopCopyExit(1));
    expect(states(device)).toBe('PAUSED+SAVED | PAUSED+SAVED');
  });

  it('refuses PTEs that belong to another function', async () => {
    const { device, vfio } = await paused('ptl');
    const { ggttStart } = device.pf.vfConfig(1);
    device.ggtt.ptes.set(ggttStart + 4096, [(2 << 2) | 1, 0]);
    await device.must(() => vfio.stopCopyEnter(1));
    const fault = await device.fails(() => vfio.dataRead(1, 1000));
    expect(fault).toMatchObject({ code: 'EIO', cause: { code: 'EPERM' } });
  });
});
