/** The fake PF has the manners of the kernel's files, or the other tests would prove nothing. */
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import { BlockingFiles } from '../../src/linux/sysfs-files.ts';
import { PF } from '../support/fuse/fake-machine.ts';
import {
  alsoClose,
  closeMachines,
  noFuse,
  serveMachine,
  skipNote,
} from '../support/fuse/machines.ts';

afterEach(closeMachines);

describe.skipIf(noFuse)(`files of a PF${skipNote}`, () => {
  const served = (options = {}) => {
    const made = serveMachine({ restoreTimeoutMs: 50, ...options }, 1);
    const vf = `${made.root}/sys/kernel/debug/dri/${PF}/sriov/vf1`;
    const files = new BlockingFiles({ sharedSize: 4096 });
    alsoClose(() => files.close());
    return { ...made, vf, files };
  };
  const handle = async (path: string, flags: string): Promise<FileHandle> => {
    const file = await open(path, flags);
    alsoClose(() => file.close());
    return file;
  };

  test('control files take truth values at position 0, again and again', async () => {
    const { machine, vf } = served();
    const pause = await handle(`${vf}/pause`, 'r+');
    await pause.write('0');
    await pause.write('off\n');
    expect(machine.debugfs.calls).toEqual([]);
    await pause.write('1\n');
    expect(machine.debugfs.calls).toEqual(['vf1/pause']);
    await expect(pause.write('maybe')).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(pause.write('1', 4096)).rejects.toMatchObject({ code: 'EINVAL' });
    // Paused already: GT0 says ESTALE, then GT1.
    await expect(pause.write('1')).rejects.toMatchObject({ errno: -117 });
    expect(await readFile(`${vf}/pause`, 'utf8')).toBe('');
  });

  test('whoever reads `save` ends it, and not before all was made', async () => {
    const { machine, vf, files } = served();
    await files.write(`${vf}/pause`, '1');
    await files.write(`${vf}/save`, '1');
    await files.openData(`${vf}/migration_data`, 'r');
    while ((await files.pull(0, 2 ** 20)) > 0);
    // The end of the data ends nothing.
    await expect(files.write(`${vf}/resume`, '1')).rejects.toMatchObject({ code: 'EUCLEAN' });
    const save = await handle(`${vf}/save`, 'r+');
    expect((await save.read()).bytesRead).toBe(0);
    expect((await save.read()).bytesRead).toBe(0);
    expect(machine.debugfs.calls.filter((call) => call === 'vf1/save-end')).toHaveLength(1);
    await files.write(`${vf}/resume`, '1');
  });

  test('a read without a session sleeps until it is killed, and spoils the next one', async () => {
    const { server, vf, files } = served();
    await files.openData(`${vf}/migration_data`, 'r');
    const read = files.pull(0, 100);
    while (server.underway === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    files.cut(new Fault('ENODEV', 'enough'));
    await expect(read).rejects.toMatchObject({ code: 'ENODEV' });
    while (server.underway > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await files.openData(`${vf}/migration_data`, 'r');
    await expect(files.pull(0, 100)).rejects.toMatchObject({ code: 'EINTR' });
  });

  test('a reset leaves a sleeping reader asleep and a half-read packet where it is', async () => {
    const { machine, vf, files } = served();
    await files.write(`${vf}/pause`, '1');
    await files.write(`${vf}/save`, '1');
    await files.openData(`${vf}/migration_data`, 'r');
    await files.pull(0, 100);
    await files.write(`${vf}/reset`, '1');
    expect(machine.debugfs.migration(1).halfPacket).toBe(true);
    await files.write(`${vf}/pause`, '1');
    await files.write(`${vf}/restore`, '1');
    await files.openData(`${vf}/migration_data`, 'w');
    await expect(files.push(0, 24)).rejects.toMatchObject({ code: 'EINVAL' });
    expect(machine.debugfs.hazards).toEqual([
      'a stream was written into a packet that is half read',
    ]);
  });

  test('positions other than 0 are refused by the data', async () => {
    const { vf } = served();
    const data = await handle(`${vf}/migration_data`, 'r+');
    await expect(data.read(Buffer.alloc(8), 0, 8, 4096)).rejects.toMatchObject({ code: 'ESPIPE' });
    await expect(data.write(Buffer.alloc(8), 0, 8, 4096)).rejects.toMatchObject({ code: 'ESPIPE' });
  });

  test('a restore without a trailer is waited for, then times out', async () => {
    const { vf, files } = served();
    await files.write(`${vf}/pause`, '1');
    await files.write(`${vf}/restore`, '1');
    await expect(files.read(`${vf}/restore`)).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    await expect(files.write(`${vf}/restore`, '1')).rejects.toMatchObject({ code: 'EALREADY' });
  });

  test('lockdown opens nothing that can be written, but migration_size', async () => {
    const { vf } = served({ lockdown: true });
    expect(Number(await readFile(`${vf}/migration_size`, 'utf8'))).toBeGreaterThan(0);
    await expect(open(`${vf}/pause`, 'r+')).rejects.toMatchObject({ code: 'EPERM' });
    await expect(open(`${vf}/migration_data`, 'r')).rejects.toMatchObject({ code: 'EPERM' });
  });
});
