import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { MIG_STATE } from '../../src/vfio/migration-state.ts';
import { Cli, endAll, lastDocument, runCli } from './cli.ts';
import { makeDirectory, removeDirectory, VfUnderTest } from './vf-under-test.ts';

const directory = makeDirectory();
const path = (name: string) => join(directory, name);
let a: VfUnderTest;
let b: VfUnderTest;

beforeAll(async () => {
  [a, b] = await Promise.all([
    VfUnderTest.start(path('a.sock')),
    VfUnderTest.start(path('b.sock')),
  ]);
});

beforeEach(async () => {
  for (const vf of [a, b])
    if ((await vf.state()) !== 'RUNNING') await vf.setState(MIG_STATE.RUNNING);
  await a.write(`something to keep ${Math.random()}`);
});

afterEach(endAll);

afterAll(async () => {
  await Promise.all([a?.stop(), b?.stop()]);
  removeDirectory(directory);
});

/** Nothing is under the name, and nothing half-written beside it. */
function expectNothingKept(where: string, name: string): void {
  expect(readdirSync(where).filter((entry) => entry.includes(name))).toEqual([]);
}

describe.each([[[]], [['--raw']]])('save and restore %j', (flags) => {
  test('bring a VF to another place in two halves', async () => {
    const file = path(`whole${flags.length}.vf`);
    const saved = await runCli(['save', a.socket, file, ...flags, '--json']);
    expect(saved).toMatchObject({ code: 0, stderr: '' });
    expect(lastDocument(saved)).toMatchObject({ event: 'done', ok: true, path: file });
    expect(await a.state()).toBe('STOP');
    const restored = await runCli(['restore', file, b.socket, ...flags, '--json']);
    expect(restored).toMatchObject({ code: 0, stderr: '' });
    expect(await b.state()).toBe('RUNNING');
    expect(await b.digests()).toEqual(await a.digests());
  });

  test('make a file that verify accepts, and that fits its own VF', async () => {
    const file = path(`verified${flags.length}.vf`);
    await runCli(['save', a.socket, file, ...flags, '--resume']);
    expect(await a.state()).toBe('RUNNING');
    const target = ['--device', '8086:e20b', '--revision', '0', '--vram', '8M', '--ggtt', '2G'];
    const verified = await runCli(['verify', file, ...target, '--json']);
    expect(verified.code).toBe(0);
    expect(lastDocument(verified)).toMatchObject({ ok: true });
  });
});

describe('save', () => {
  test('replaces an older file only when it is through', async () => {
    const file = path('older.vf');
    writeFileSync(file, 'older');
    const tool = new Cli(['save', a.socket, file], { env: { XE_VFIO_TEST_PAUSE_AT: 'load' } });
    await tool.until('pause', () => tool.stderr.includes('paused before load'));
    expect(readFileSync(file, 'utf8')).toBe('older');
    expect((await tool.kill('SIGINT')).code).toBe(7);
    expect(readFileSync(file, 'utf8')).toBe('older');
    expect(await a.state()).toBe('RUNNING');
    expect((await runCli(['save', a.socket, file, '--precopy', 'off'])).code).toBe(0);
    expect(readFileSync(file).length).toBeGreaterThan(8 * 2 ** 20);
  });

  test('lets the VF run on when the file gets too big', async () => {
    const before = await a.digests();
    // dash counts 512 bytes, bash 1 KiB: less than the 8 MiB of VRAM either way.
    const ended = await runCli(['save', a.socket, path('big.vf'), '--json'], {
      prelude: 'ulimit -f 2000;',
    });
    expect(ended.code).toBe(1);
    expect(lastDocument(ended)).toMatchObject({
      ok: false,
      errno: 'EFBIG',
      phase: 'copy',
      role: 'target',
      source: 'running',
    });
    expect(await a.state()).toBe('RUNNING');
    expect(await a.digests()).toEqual(before);
    expectNothingKept(directory, 'big.vf');
  });

  const trial = ['-m', 'mount', '-t', 'tmpfs', '-o', 'size=1m', 'trial', tmpdir()];
  const mounts = spawnSync('unshare', trial).status === 0;
  test.skipIf(!mounts)(
    `lets the VF run on when the disk is full${mounts ? '' : ' (skipped: mounting needs root)'}`,
    async () => {
      const mountPoint = path('full');
      mkdirSync(mountPoint);
      const mount = `mount -t tmpfs -o size=1m full '${mountPoint}' &&`;
      const tool = spawnSync(
        'unshare',
        [
          '-m',
          'sh',
          '-c',
          `${mount} exec "$@"`,
          'sh',
          process.execPath,
          'bin/xe-vfio',
          'save',
          a.socket,
          join(mountPoint, 'vf'),
          '--json',
        ],
        { encoding: 'utf8' },
      );
      expect(lastDocument(tool)).toMatchObject({ ok: false, errno: 'ENOSPC', source: 'running' });
      expect(tool.status).toBe(1);
      expect(await a.state()).toBe('RUNNING');
      expect((await runCli(['save', a.socket, path('later.vf')])).code).toBe(0);
    },
  );

  test('never stops the VF when the file cannot be made', async () => {
    const ended = await runCli(['save', a.socket, path('no/such/place'), '--json']);
    expect(ended.code).toBe(3);
    expect(lastDocument(ended)).toMatchObject({ errno: 'ENOENT', source: 'untouched' });
    expect((await runCli(['save', a.socket, '/dev/full'])).code).not.toBe(0);
    expect(await a.state()).toBe('RUNNING');
  });

  test('leaves a VF that runs and no file when it is killed', async () => {
    const env = { XE_VFIO_TEST_PAUSE_AT: 'copy' };
    const tool = new Cli(['save', a.socket, path('killed.vf')], { env });
    await tool.until('pause', () => tool.stderr.includes('paused before copy'));
    await tool.kill('SIGKILL');
    await expect.poll(() => a.state(), { timeout: 10_000 }).toBe('RUNNING');
    expect(existsSync(path('killed.vf'))).toBe(false);
    expect((await runCli(['save', a.socket, path('killed.vf')])).code).toBe(0);
  });
});

describe('restore', () => {
  let whole: Buffer;

  beforeEach(async () => {
    await runCli(['save', a.socket, path('kept.vf'), '--resume']);
    whole = readFileSync(path('kept.vf'));
  });

  test.each([
    ['cut', (bytes: Buffer) => bytes.subarray(0, bytes.length - 5000), 'EUCLEAN'],
    ['altered in its VRAM', (bytes: Buffer) => flip(bytes, bytes.length - 100_000), 'EBADMSG'],
    ['altered in its header', (bytes: Buffer) => flip(bytes, 20), 'EBADMSG'],
  ])('refuses a checkpoint that was %s', async (_, damage, errno) => {
    writeFileSync(path('damaged.vf'), damage(Buffer.from(whole)));
    const ended = await runCli(['restore', path('damaged.vf'), b.socket, '--json']);
    expect(ended.code).toBe(6);
    expect(lastDocument(ended)).toMatchObject({ ok: false, errno });
    expect(await b.state()).toBe('RUNNING');
    expect((await runCli(['restore', path('kept.vf'), b.socket])).code).toBe(0);
  });

  test('resets the target of a plain stream that is cut, and names the cause', async () => {
    await runCli(['save', a.socket, path('raw'), '--raw', '--resume']);
    const stream = readFileSync(path('raw'));
    writeFileSync(path('raw-cut'), stream.subarray(0, stream.length - 24));
    const ended = await runCli(['restore', path('raw-cut'), b.socket, '--raw', '--json']);
    expect(ended.code).not.toBe(0);
    expect(lastDocument(ended)).toMatchObject({
      errno: 'ETIMEDOUT',
      phase: 'load',
      target: 'reset',
    });
    expect(await b.state()).toBe('RUNNING');
  });

  test('wants --raw for a plain stream', async () => {
    await runCli(['save', a.socket, path('plain'), '--raw', '--resume']);
    const ended = await runCli(['restore', path('plain'), b.socket]);
    expect(ended.stderr).toMatch(/cause: EINVAL .*\nhint: .*--raw/);
  });
});

function flip(bytes: Buffer, at: number): Buffer {
  bytes[at] = (bytes[at] ?? 0) ^ 0xff;
  return bytes;
}
