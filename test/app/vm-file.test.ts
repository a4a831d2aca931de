import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openUnsynced, openVmFile, VmFileWriter } from '../../src/app/vm-file.ts';
import { decodeManifest, encodeManifest, type VmManifest } from '../../src/app/vm-manifest.ts';

const GOLDEN = fileURLToPath(new URL('../fixtures/vm-manifest.json', import.meta.url));

const MANIFEST: VmManifest = {
  createdAt: '2026-01-02T03:04:05.678Z',
  qemu: '11.1.3',
  vm: {
    machine: 'pc-q35-11.1-machine',
    cpus: 1,
    memory: 671088640,
    backends: [{ id: 'memory', size: 671088640, share: true }],
    vfs: [{ id: 'vf0', address: '02.0' }],
  },
  device: {
    irq: 1,
    relayVersion: { major: 1, minor: 0 },
    writes: [
      { name: 'BAR 0', offset: 0x10, size: 4, value: 0xfe00_0004 },
      { name: 'COMMAND', offset: 4, size: 2, value: 0x406 },
    ],
    bars: [
      { bar: 0, size: 16777216, address: 0xfe00_0000 },
      { bar: 2, size: 4096, address: undefined },
    ],
  },
  ggttStart: 0x100_0000,
  mappedRam: true,
  ram: { file: 'ram', bytes: 5, sha256: 'ab'.repeat(32) },
  vf: { file: 'vf.xevf', bytes: 7, sha256: 'cd'.repeat(32) },
};

describe('the manifest of a saved VM', () => {
  test('is written as it always was, and read', () => {
    expect(encodeManifest(MANIFEST)).toBe(readFileSync(GOLDEN, 'utf8'));
    expect(decodeManifest(readFileSync(GOLDEN, 'utf8'), 'vm.xevm')).toEqual(MANIFEST);
  });

  test('of a paused VM without interrupts or a known GGTT comes back as well', () => {
    const other = {
      ...MANIFEST,
      ggttStart: undefined,
      device: { ...MANIFEST.device, irq: undefined, relayVersion: undefined },
    };
    expect(decodeManifest(encodeManifest(other), 'vm.xevm')).toEqual(other);
  });

  test('is refused when a character of a value was changed, or it is something else', () => {
    const text = encodeManifest(MANIFEST);
    const values = [...text.matchAll(/: "?([0-9a-z]{2,})/g)].map(
      (match) => match.index + match[0].length - 1,
    );
    fc.assert(
      fc.property(fc.constantFrom(...values), (at) => {
        const changed = `${text.slice(0, at)}${text[at] === '1' ? '2' : '1'}${text.slice(at + 1)}`;
        expect(() => decodeManifest(changed, 'vm.xevm')).toThrow(/altered|no saved VM|version/);
      }),
    );
    for (const none of ['', '[]', '{"format":"xe-vfio"}', text.slice(1)])
      expect(() => decodeManifest(none, 'vm.xevm')).toThrow(
        expect.objectContaining({ code: 'EINVAL' }),
      );
    const later = text.replace('"version": 1', '"version": 2');
    expect(() => decodeManifest(later, 'vm.xevm')).toThrow('has version 2, not 1');
  });
});

describe('a saved VM', () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'xe-vfio-vm-file-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  async function written(): Promise<{ path: string; writer: VmFileWriter }> {
    const path = join(directory, 'vm.xevm');
    const writer = await VmFileWriter.create(path);
    await writeFile(writer.ramPath, 'memory');
    const vf = await openUnsynced(writer.vfPath, 'wx', 0o600);
    await vf.write(new TextEncoder().encode('state'), 0, 5);
    await vf.sync();
    await vf.close();
    return { path, writer };
  }

  test('is there when all of it is, and is read with its digests', async () => {
    const { path, writer } = await written();
    expect(existsSync(path)).toBe(false);
    const progress: number[] = [];
    const onProgress = (bytes: number) => progress.push(bytes);
    const whole = await writer.finish(MANIFEST, { onProgress });
    expect(readdirSync(directory)).toEqual(['vm.xevm']);
    expect(readdirSync(path).sort()).toEqual(['manifest.json', 'ram', 'vf.xevf']);
    expect(progress).toEqual([6]);
    expect(whole.ram).toMatchObject({ file: 'ram', bytes: 6 });
    const opened = await openVmFile(path);
    expect(opened).toEqual({
      manifest: whole,
      ramPath: join(path, 'ram'),
      vfPath: join(path, 'vf.xevf'),
    });
    await writer.abort();
    expect(existsSync(path)).toBe(true);
    await expect(VmFileWriter.create(path)).rejects.toMatchObject({ code: 'EEXIST' });
  });

  test('leaves nothing behind when it is given up, called off, or has lost a part', async () => {
    const first = await written();
    await first.writer.abort();
    expect(readdirSync(directory)).toEqual([]);
    const second = await written();
    const signal = AbortSignal.abort();
    await expect(second.writer.finish(MANIFEST, { signal })).rejects.toMatchObject({
      code: 'ECANCELED',
    });
    await second.writer.abort();
    const third = await written();
    await rm(third.writer.ramPath);
    await expect(third.writer.finish(MANIFEST)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(existsSync(third.path)).toBe(false);
    await third.writer.abort();
    expect(readdirSync(directory)).toEqual([]);
  });

  test.each([
    ['ram', 'memorY'],
    ['ram', 'mem'],
    ['vf.xevf', 'stat3'],
  ])('is refused when its %s is "%s"', async (name, text) => {
    const { path, writer } = await written();
    await writer.finish(MANIFEST);
    writeFileSync(join(path, name), text);
    await expect(openVmFile(path)).rejects.toMatchObject({ code: 'EBADMSG' });
  });

  test('that is not there, or has no RAM, is told so', async () => {
    await expect(openVmFile(join(directory, 'none'))).rejects.toMatchObject({ code: 'ENOENT' });
    const { path, writer } = await written();
    await writer.finish(MANIFEST);
    await rm(join(path, 'ram'));
    await expect(openVmFile(path)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
