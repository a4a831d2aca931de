/** Data files over pipes, which block as those of drivers do. */
import { execFileSync } from 'node:child_process';
import { closeSync, constants, fstatSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { KernelMigrationData } from '../../src/linux/vfio-migration-data.ts';
import { addressOf } from '../../src/sys/mapping.ts';
import { waitFor } from '../support/wait-for.ts';

let directory = '';
let reader = -1;
let writer = -1;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'xe-vfio-data-'));
  const path = join(directory, 'pipe');
  execFileSync('mkfifo', [path]);
  // A reader that does not wait for a writer, then one that waits for data.
  const first = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  writer = openSync(path, constants.O_WRONLY);
  reader = openSync(path, constants.O_RDONLY);
  closeSync(first);
});

afterEach(() => {
  for (const fd of [reader, writer]) if (isOpen(fd)) closeSync(fd);
  rmSync(directory, { recursive: true, force: true });
});

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

function text(views: readonly Uint8Array[]): string {
  return Buffer.concat(views).toString();
}

describe('KernelMigrationData', () => {
  it('gives as much as was asked for, however it comes, and less at the end', async () => {
    const data = new KernelMigrationData('read', reader, 'a device');
    const whole = data.read(6);
    for (const part of ['abc', 'de', 'fg']) writeSync(writer, part);
    const views = await whole;
    expect(text(views)).toBe('abcdef');
    expect(addressOf(views[0] as Uint8Array)).toBeDefined();
    closeSync(writer);
    expect(text(await data.read(6))).toBe('g');
    expect(await data.read(6)).toEqual([]);
    data.close();
  });

  it('leaves its thread free while a read sleeps, and closes only after it', async () => {
    const data = new KernelMigrationData('read', reader, 'a device');
    const sleeping = data.read(1);
    const waiting = data.read(1);
    await new Promise((resolve) => setImmediate(resolve));
    data.close();
    expect(isOpen(reader)).toBe(true);
    writeSync(writer, 'x');
    await Promise.all([
      expect(sleeping).rejects.toMatchObject({ code: 'ENODEV' }),
      expect(waiting).rejects.toMatchObject({ code: 'ENODEV' }),
    ]);
    await waitFor('the descriptor is closed', 5000, () => !isOpen(reader) || undefined);
    await expect(data.read(1)).rejects.toMatchObject({ code: 'ENODEV' });
    data.close();
  });

  it('writes all of it', async () => {
    const data = new KernelMigrationData('write', writer, 'a device');
    const back = new KernelMigrationData('read', reader, 'a device');
    const sent = Buffer.alloc(300_000, 'xyz');
    const [, got] = await Promise.all([data.write(sent), back.read(sent.length)]);
    expect(Buffer.compare(Buffer.concat(got), sent)).toBe(0);
    expect(data.window()).toBeUndefined();
    await expect(data.commit()).rejects.toMatchObject({ code: 'EINVAL' });
    data.close();
    back.close();
    expect(isOpen(writer)).toBe(false);
  });

  it('refuses the other direction', async () => {
    const data = new KernelMigrationData('read', reader, 'a device');
    await expect(data.write(new Uint8Array(1))).rejects.toMatchObject({ code: 'EINVAL' });
    data.close();
  });

  it('passes errnos on', async () => {
    const data = new KernelMigrationData('read', writer, 'a device');
    await expect(data.read(1)).rejects.toMatchObject({ code: 'EBADF', message: /a device/ });
    await expect(data.precopyInfo()).rejects.toMatchObject({ code: 'ENOTTY' });
    data.close();
  });
});
