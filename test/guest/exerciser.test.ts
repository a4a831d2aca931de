import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { buildExerciser, exerciserSources } from '../../guest/exerciser/build.mjs';
import { findRig } from '../../guest/rig.mjs';

const { rig, reason } = findRig();
let directory = '';
let executable = '';

function needExerciser(context: TestContext): string {
  if (executable === '') context.skip(reason);
  return executable;
}

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(executable, args, { encoding: 'utf8' });
  return { status, stdout, stderr };
}

describe('the GPU exerciser', () => {
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'xe-vfio-exerciser-'));
    if (rig !== undefined) executable = buildExerciser(rig.root, directory);
  });

  afterAll(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  it('is compiled with the compiler of the rig, and only once', (context) => {
    const built = needExerciser(context);
    const { mtimeNs } = statSync(built, { bigint: true });
    if (rig === undefined) return;
    expect(buildExerciser(rig.root, directory)).toBe(built);
    expect(statSync(built, { bigint: true }).mtimeNs).toBe(mtimeNs);
    expect(readdirSync(directory)).toEqual([built.slice(directory.length + 1)]);
  });

  it('lists its cases, each once and of a group that has a file', (context) => {
    needExerciser(context);
    const names = run('--list').stdout.trimEnd().split('\n');
    expect(names.length).toBeGreaterThan(100);
    expect(new Set(names).size).toBe(names.length);
    for (const name of names) expect(name).toMatch(/^[a-z]+\.[a-z0-9-]+(@ENGINE)?$/);
    const files = exerciserSources().filter((file) => file.includes('/case_'));
    expect(new Set(names.map((name) => name.split('.')[0])).size).toBe(files.length);
  });

  it('fails where there is no xe device', (context) => {
    needExerciser(context);
    expect(run('--device', '/dev/null')).toEqual({
      status: 1,
      stdout: '',
      stderr: 'error: DRM_IOCTL_VERSION: ENOTTY\n',
    });
    expect(run('--loop', '1', '--device', '/no/such/node')).toEqual({
      status: 1,
      stdout: '',
      stderr: 'error: /no/such/node: No such file or directory\n',
    });
  });

  it('refuses arguments that it does not know', (context) => {
    needExerciser(context);
    for (const args of [['--nonsense'], ['query'], ['--loop']]) {
      const { status, stderr } = run(...args);
      expect(status).toBe(2);
      expect(stderr).toContain('usage: ');
    }
  });

  it('says what is missing in a root without a compiler', () => {
    const root = join(directory, 'root');
    mkdirSync(join(root, 'usr/include/drm'), { recursive: true });
    writeFileSync(join(root, 'usr/include/drm/xe_drm.h'), '');
    expect(() => buildExerciser(root, join(directory, 'out'))).toThrow(/ENOENT/);
    expect(readdirSync(join(directory, 'out'))).toEqual([]);
    rmSync(root, { recursive: true });
    rmSync(join(directory, 'out'), { recursive: true });
  });
});
