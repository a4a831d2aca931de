import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { MIG_STATE } from '../../src/vfio/migration-state.ts';
import { Cli, endAll, lastDocument, runCli } from './cli.ts';
import { makeDirectory, removeDirectory, VfUnderTest } from './vf-under-test.ts';

const PAUSE = 'XE_VFIO_TEST_PAUSE_AT';
/** The phases before which a session can be paused. */
const PHASES = ['prepare', 'precopy', 'stop', 'copy', 'load', 'run', 'done'] as const;

const directory = makeDirectory();
let a: VfUnderTest;
let b: VfUnderTest;

beforeAll(async () => {
  [a, b] = await Promise.all([
    VfUnderTest.start(join(directory, 'a.sock')),
    VfUnderTest.start(join(directory, 'b.sock')),
  ]);
});

afterEach(endAll);

afterAll(async () => {
  await Promise.all([a?.stop(), b?.stop()]);
  removeDirectory(directory);
});

/** Both VFs as they are before a migration, with something in the source. */
async function prepare(text: string): Promise<void> {
  for (const vf of [a, b])
    if ((await vf.state()) !== 'RUNNING') await vf.setState(MIG_STATE.RUNNING);
  await a.write(text);
}

/** A tool that waits before a phase. */
async function pausedAt(phase: string): Promise<Cli> {
  const tool = new Cli(['migrate', a.socket, b.socket, '--json'], { env: { [PAUSE]: phase } });
  await tool.until(`pause before ${phase}`, () => tool.stderr.includes(`paused before ${phase}`));
  return tool;
}

async function expectMigrates(): Promise<void> {
  const ended = await runCli(['migrate', a.socket, b.socket, '--json']);
  expect(ended).toMatchObject({ code: 0, stderr: '' });
  expect([await a.state(), await b.state()]).toEqual(['STOP', 'RUNNING']);
  expect(await b.digests()).toEqual(await a.digests());
}

describe('migrate', () => {
  test('moves a VF and tells the way', async () => {
    await prepare('moves');
    const tool = new Cli(['migrate', a.socket, `vfio-user:${b.socket}`, '--json']);
    expect(await tool.ended).toMatchObject({ code: 0, stderr: '' });
    expect([await a.state(), await b.state()]).toEqual(['STOP', 'RUNNING']);
    expect(await b.digests()).toEqual(await a.digests());
    const { documents } = tool;
    expect(documents.every(({ schema }) => schema === 1)).toBe(true);
    const phases = documents.filter(({ event }) => event === 'phase').map(({ phase }) => phase);
    expect(phases).toEqual(PHASES);
    const done = documents.at(-1) as {
      streamBytes: number;
      phases: { name: string; bytes: number }[];
    };
    expect(done).toMatchObject({ event: 'done', ok: true });
    const moved = done.phases.reduce((total, { bytes }) => total + bytes, 0);
    expect(done.streamBytes).toBe(moved);
    const copied = done.phases.find(({ name }) => name === 'copy')?.bytes;
    const rounds = documents.filter(({ event }) => event === 'round');
    expect(rounds.length).toBeGreaterThan(0);
    const progress = documents.filter(({ event }) => event === 'progress').at(-1);
    expect(progress).toMatchObject({ phase: 'copy', bytes: copied, totalBytes: copied });
  });

  test('moves a VF that stands still the whole time, on demand', async () => {
    await prepare('stands still');
    const ended = await runCli(['migrate', a.socket, b.socket, '--precopy', 'off', '--json']);
    expect(ended.code).toBe(0);
    const done = lastDocument(ended) as { phases: { name: string; bytes: number }[] };
    expect(done.phases.map(({ name }) => name)).not.toContain('precopy');
    expect(done.phases.find(({ name }) => name === 'copy')?.bytes).toBeGreaterThan(8 * 2 ** 20);
    expect(await b.digests()).toEqual(await a.digests());
  });

  test('does not stop a VF that would be down for longer than allowed', async () => {
    await prepare('too long');
    const args = ['migrate', a.socket, b.socket, '--max-downtime', '1', '--json'];
    const ended = await runCli(args);
    expect(ended.code).toBe(7);
    expect(lastDocument(ended)).toMatchObject({ ok: false, errno: 'ETIME', phase: 'precopy' });
    expect([await a.state(), await b.state()]).toEqual(['RUNNING', 'RUNNING']);
  });

  test('moves it back again', async () => {
    await prepare('forth');
    await expectMigrates();
    const ended = await runCli(['migrate', b.socket, a.socket]);
    expect(ended.code).toBe(0);
    expect(ended.stdout).toMatch(/is stopped, .* runs: .* MiB at .*, down for .* ms/);
    expect([await a.state(), await b.state()]).toEqual(['RUNNING', 'STOP']);
  });

  test('EBUSY for the second tool; the first goes on unharmed', async () => {
    await prepare('busy');
    const first = await pausedAt('copy');
    const second = await runCli(['migrate', a.socket, b.socket, '--json']);
    expect(second.code).toBe(5);
    expect(lastDocument(second)).toMatchObject({
      ok: false,
      errno: 'EBUSY',
      source: 'untouched',
      target: 'untouched',
    });
    first.signal('SIGUSR2');
    expect((await first.ended).code).toBe(0);
    expect(await b.digests()).toEqual(await a.digests());
  });

  test('a file is no VF, and a device of the kernel has to be there', async () => {
    const file = await runCli(['migrate', a.socket, `file:${join(directory, 'x')}`]);
    expect(file.code).toBe(1);
    expect(file.stderr).toContain('cause: EINVAL');
    const kernel = await runCli(['migrate', 'vfio:ffff:00:02.1', b.socket, '--json']);
    expect(kernel.code).toBe(3);
    expect(lastDocument(kernel)).toMatchObject({ errno: 'ENODEV' });
    expect((await runCli(['migrate', join(directory, 'no.sock'), b.socket])).code).toBe(3);
  });
});

describe('migrate that is called off with Ctrl-C', () => {
  test.each(PHASES.slice(0, -1))('before %s', async (phase) => {
    await prepare(`called off before ${phase}`);
    const before = await a.digests();
    const tool = await pausedAt(phase);
    const ended = await tool.kill('SIGINT');
    expect(ended.code).toBe(7);
    expect(lastDocument(ended)).toMatchObject({ ok: false, errno: 'ECANCELED', phase });
    expect([await a.state(), await b.state()]).toEqual(['RUNNING', 'RUNNING']);
    expect(await a.digests()).toEqual(before);
    expect((await b.digests()).vram).not.toBe(before.vram);
  });
});

describe('migrate whose tool is killed', () => {
  test.each(PHASES)('before %s', async (phase) => {
    await prepare(`tool killed before ${phase}`);
    const before = await a.digests();
    const tool = await pausedAt(phase);
    await tool.kill('SIGKILL');
    // From `run` on the source has given all it has, and may run elsewhere.
    const stopped = phase === 'run' || phase === 'done';
    await expect.poll(() => a.state(), { timeout: 10_000 }).toBe(stopped ? 'STOP' : 'RUNNING');
    expect(await a.digests()).toEqual(before);
    await expectMigrates();
    expect((await b.digests()).vram).toBe(before.vram);
  });

  test('in the middle of the copy', async () => {
    await prepare('tool killed in the copy');
    const before = await a.digests();
    const tool = new Cli(['migrate', a.socket, b.socket, '--json']);
    await tool.until('progress', () => tool.stdout.includes('"event":"progress"'));
    await tool.kill('SIGKILL');
    await expect.poll(() => a.state(), { timeout: 10_000 }).toMatch(/^(RUNNING|STOP)$/);
    expect(await a.digests()).toEqual(before);
    await expectMigrates();
  });
});

describe('migrate whose target is killed', () => {
  test.each(PHASES.slice(0, -1))('before %s', async (phase) => {
    await prepare(`target killed before ${phase}`);
    const before = await a.digests();
    const tool = await pausedAt(phase);
    await b.kill();
    tool.signal('SIGUSR2');
    const ended = await tool.ended;
    expect(ended.code).not.toBe(0);
    expect(lastDocument(ended), JSON.stringify(ended)).toMatchObject({ ok: false, role: 'target' });
    expect(await a.state()).toBe('RUNNING');
    expect(await a.digests()).toEqual(before);
    await b.killAndRestart();
    await expectMigrates();
  });
});

describe('migrate whose source is killed', () => {
  test.each(PHASES.slice(0, -2))('before %s', async (phase) => {
    await prepare(`source killed before ${phase}`);
    const tool = await pausedAt(phase);
    await a.kill();
    tool.signal('SIGUSR2');
    const ended = await tool.ended;
    expect(ended.code).not.toBe(0);
    expect(lastDocument(ended)).toMatchObject({ ok: false, role: 'source' });
    // Never half a VF: the target is as it was, or reset.
    expect(await b.state()).toBe('RUNNING');
    await a.killAndRestart();
    await prepare('a later one');
    await expectMigrates();
  });

  test('before run: the target has everything and runs', async () => {
    await prepare('source killed before run');
    const before = await a.digests();
    const tool = await pausedAt('run');
    await a.kill();
    tool.signal('SIGUSR2');
    expect((await tool.ended).code).toBe(0);
    expect(await b.state()).toBe('RUNNING');
    expect((await b.digests()).vram).toBe(before.vram);
    await a.killAndRestart();
  });
});

test('the socket is for its owner alone', () => {
  expect(statSync(a.socket).mode & 0o777).toBe(0o600);
});
