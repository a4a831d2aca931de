import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { findRig, qemuCommand, RECIPE, rigDirectory } from '../../guest/rig.mjs';

const STAMP = {
  recipe: RECIPE,
  qemuVersion: '1:11.0.0',
  kernelRelease: '7.3.0-amd64',
  kernelVersion: '7.3.0-1',
  vmlinuz: 'kernel/boot/vmlinuz',
  modules: 'kernel/lib/modules',
  guestModules: ['guest/drm.ko', 'guest/xe.ko'],
};
const FILES = [
  ...STAMP.guestModules,
  'kernel/boot/vmlinuz',
  'kernel/lib/modules/modules.dep',
  'root/usr/bin/busybox',
  'root/usr/bin/qemu-system-x86_64',
  'root/usr/lib64/ld-linux-x86-64.so.2',
];

let directory = '';

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'xe-vfio-rig-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
  vi.unstubAllEnvs();
});

function write(file: string, content = ''): void {
  mkdirSync(dirname(join(directory, file)), { recursive: true });
  writeFileSync(join(directory, file), content);
}

function writeRig(stamp: object = STAMP): void {
  for (const file of FILES) write(file);
  write('stamp.json', JSON.stringify(stamp));
}

describe('rigDirectory', () => {
  it('is in XDG_CACHE_HOME', () => {
    vi.stubEnv('XDG_CACHE_HOME', '/somewhere');
    expect(rigDirectory()).toBe('/somewhere/xe-vfio/rig');
  });

  it.each(['', 'relative'])('is in ~/.cache when XDG_CACHE_HOME is "%s"', (value) => {
    vi.stubEnv('XDG_CACHE_HOME', value);
    vi.stubEnv('HOME', '/home/someone');
    expect(rigDirectory()).toBe('/home/someone/.cache/xe-vfio/rig');
  });
});

describe('findRig', () => {
  it('finds a complete rig', () => {
    writeRig();
    expect(findRig(directory).rig).toMatchObject({
      root: join(directory, 'root'),
      qemuVersion: STAMP.qemuVersion,
      kernelRelease: STAMP.kernelRelease,
      vmlinuz: join(directory, STAMP.vmlinuz),
      guestModules: STAMP.guestModules.map((each) => join(directory, each)),
    });
  });

  it('says that there is none', () => {
    expect(findRig(directory).reason).toMatch(/^no guest rig in .*build it as root/);
  });

  it('says that an older recipe built it', () => {
    writeRig({ ...STAMP, recipe: RECIPE - 1 });
    expect(findRig(directory).reason).toContain('outdated');
  });

  it.each(FILES.filter((file) => !file.endsWith('modules.dep')))('misses %s', (file) => {
    writeRig();
    rmSync(join(directory, file));
    expect(findRig(directory).reason).toContain(`ENOENT ${join(directory, file)}`);
  });
});

describe('qemuCommand', () => {
  it('uses the loader, the libraries and the firmware of the rig, not of the host', () => {
    writeRig();
    const { rig } = findRig(directory);
    if (rig === undefined) throw new Error('no rig');
    const { command, args, env } = qemuCommand(rig);
    expect(command).toBe(join(directory, 'root/usr/lib64/ld-linux-x86-64.so.2'));
    for (const path of [...args.filter((arg) => arg.startsWith('/')), ...Object.values(env)]) {
      expect(path.startsWith(rig.root)).toBe(true);
    }
    expect(args).toContain('--inhibit-cache');
  });
});
