import { statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Cli, lastDocument, runCli } from './cli.ts';
import { PAUSE, servedPair, untilPaused } from './vf-pair.ts';

/** The phases before which a session can be paused. */
const PHASES = ['prepare', 'precopy', 'stop', 'copy', 'load', 'run', 'done'] as const;

const vfs = servedPair();
const { directory, prepare } = vfs;

/** A tool that waits before a phase. */
async function pausedAt(phase: string): Promise<Cli> {
  const tool = new Cli(['migrate', vfs.a.socket, vfs.b.socket, '--json'], {
    env: { [PAUSE]: phase },
  });
  await untilPaused(tool, phase);
  return tool;
}

async function expectMigrates(): Promise<void> {
  const ended = await runCli(['migrate', vfs.a.socket, vfs.b.socket, '--json']);
  expect(ended).toMatchObject({ code: 0, stderr: '' });
  expect([await vfs.a.state(), await vfs.b.state()]).toEqual(['STOP', 'RUNNING']);
  expect(await vfs.b.digests()).toEqual(await vfs.a.digests());
}

describe('migrate', () => {
  test('moves a VF and tells the way', async () => {
    await prepare('moves');
    const tool = new Cli(['migrate', vfs.a.socket, `vfio-user:${vfs.b.socket}`, '--json']);
    expect(await tool.ended).toMatchObject({ code: 0, stderr: '' });
    expect([await vfs.a.state(), await vfs.b.state()]).toEqual(['STOP', 'RUNNING']);
    expect(await vfs.b.digests()).toEqual(await vfs.a.digests());
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
    const ended = await runCli([
      'migrate',
      vfs.a.socket,
      vfs.b.socket,
      '--precopy',
      'off',
      '--json',
    ]);
    expect(ended.code).toBe(0);
    const done = lastDocument(ended) as { phases: { name: string; bytes: number }[] };
    expect(done.phases.map(({ name }) => name)).not.toContain('precopy');
    expect(done.phases.find(({ name }) => name === 'copy')?.bytes).toBeGreaterThan(8 * 2 ** 20);
    expect(await vfs.b.digests()).toEqual(await vfs.a.digests());
  });

  test('does not stop a VF that would be down for longer than allowed', async () => {
    await prepare('too long');
    const args = ['migrate', vfs.a.socket, vfs.b.socket, '--max-downtime', '1', '--json'];
    const ended = await runCli(args);
    expect(ended.code).toBe(7);
    expect(lastDocument(ended)).toMatchObject({ ok: false, errno: 'ETIME', phase: 'precopy' });
    expect([await vfs.a.state(), await vfs.b.state()]).toEqual(['RUNNING', 'RUNNING']);
  });

  test('moves it back again', async () => {
    await prepare('forth');
    await expectMigrates();
    const ended = await runCli(['migrate', vfs.b.socket, vfs.a.socket]);
    expect(ended.code).toBe(0);
    expect(ended.stdout).toMatch(/is stopped, .* runs: .* MiB at .*, down for .* ms/);
    expect([await vfs.a.state(), await vfs.b.state()]).toEqual(['RUNNING', 'STOP']);
  });

  test('EBUSY for the second tool; the first goes on unharmed', async () => {
    await prepare('busy');
    const first = await pausedAt('copy');
    const second = await runCli(['migrate', vfs.a.socket, vfs.b.socket, '--json']);
    expect(second.code).toBe(5);
    expect(lastDocument(second)).toMatchObject({
      ok: false,
      errno: 'EBUSY',
      source: 'untouched',
      target: 'untouched',
    });
    first.signal('SIGUSR2');
    expect((await first.ended).code).toBe(0);
    expect(await vfs.b.digests()).toEqual(await vfs.a.digests());
  });

  test('a file is no VF, and a device of the kernel has to be there', async () => {
    const file = await runCli(['migrate', vfs.a.socket, `file:${join(directory, 'x')}`]);
    expect(file.code).toBe(1);
    expect(file.stderr).toContain('cause: EINVAL');
    const kernel = await runCli(['migrate', 'vfio:ffff:00:02.1', vfs.b.socket, '--json']);
    expect(kernel.code).toBe(3);
    expect(lastDocument(kernel)).toMatchObject({ errno: 'ENODEV' });
    expect((await runCli(['migrate', join(directory, 'no.sock'), vfs.b.socket])).code).toBe(3);
  });
});

describe('migrate that is called off with Ctrl-C', () => {
  test.each(PHASES.slice(0, -1))('before %s', async (phase) => {
    await prepare(`called off before ${phase}`);
    const before = await vfs.a.digests();
    const tool = await pausedAt(phase);
    const ended = await tool.kill('SIGINT');
    expect(ended.code).toBe(7);
    expect(lastDocument(ended)).toMatchObject({ ok: false, errno: 'ECANCELED', phase });
    expect([await vfs.a.state(), await vfs.b.state()]).toEqual(['RUNNING', 'RUNNING']);
    expect(await vfs.a.digests()).toEqual(before);
    expect((await vfs.b.digests()).vram).not.toBe(before.vram);
  });
});

describe('migrate whose tool is killed', () => {
  test.each(PHASES)('before %s', async (phase) => {
    await prepare(`tool killed before ${phase}`);
    const before = await vfs.a.digests();
    const tool = await pausedAt(phase);
    await tool.kill('SIGKILL');
    // From `run` on the source has given all it has, and may run elsewhere.
    const stopped = phase === 'run' || phase === 'done';
    await expect.poll(() => vfs.a.state(), { timeout: 10_000 }).toBe(stopped ? 'STOP' : 'RUNNING');
    expect(await vfs.a.digests()).toEqual(before);
    await expectMigrates();
    expect((await vfs.b.digests()).vram).toBe(before.vram);
  });

  test('in the middle of the copy', async () => {
    await prepare('tool killed in the copy');
    const before = await vfs.a.digests();
    const tool = new Cli(['migrate', vfs.a.socket, vfs.b.socket, '--json']);
    await tool.until('progress', () => tool.stdout.includes('"event":"progress"'));
    await tool.kill('SIGKILL');
    await expect.poll(() => vfs.a.state(), { timeout: 10_000 }).toMatch(/^(RUNNING|STOP)$/);
    expect(await vfs.a.digests()).toEqual(before);
    await expectMigrates();
  });
});

describe('migrate whose target is killed', () => {
  test.each(PHASES.slice(0, -1))('before %s', async (phase) => {
    await prepare(`target killed before ${phase}`);
    const before = await vfs.a.digests();
    const tool = await pausedAt(phase);
    await vfs.b.kill();
    tool.signal('SIGUSR2');
    const ended = await tool.ended;
    expect(ended.code).not.toBe(0);
    expect(lastDocument(ended), JSON.stringify(ended)).toMatchObject({ ok: false, role: 'target' });
    expect(await vfs.a.state()).toBe('RUNNING');
    expect(await vfs.a.digests()).toEqual(before);
    await vfs.b.killAndRestart();
    await expectMigrates();
  });
});

describe('migrate whose source is killed', () => {
  test.each(PHASES.slice(0, -2))('before %s', async (phase) => {
    await prepare(`source killed before ${phase}`);
    const tool = await pausedAt(phase);
    await vfs.a.kill();
    tool.signal('SIGUSR2');
    const ended = await tool.ended;
    expect(ended.code).not.toBe(0);
    expect(lastDocument(ended)).toMatchObject({ ok: false, role: 'source' });
    // Never half a VF: the target is as it was, or reset.
    expect(await vfs.b.state()).toBe('RUNNING');
    await vfs.a.killAndRestart();
    await prepare('a later one');
    await expectMigrates();
  });

  test('before run: the target has everything and runs', async () => {
    await prepare('source killed before run');
    const before = await vfs.a.digests();
    const tool = await pausedAt('run');
    await vfs.a.kill();
    tool.signal('SIGUSR2');
    expect((await tool.ended).code).toBe(0);
    expect(await vfs.b.state()).toBe('RUNNING');
    expect((await vfs.b.digests()).vram).toBe(before.vram);
    await vfs.a.killAndRestart();
  });
});

test('the socket is for its owner alone', () => {
  expect(statSync(vfs.a.socket).mode & 0o777).toBe(0o600);
});
