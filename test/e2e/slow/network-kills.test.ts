/** Whoever is killed in a migration over the network, at whatever phase: never do both run. */
import { describe, expect, test } from 'vitest';
import { Cli, lastDocument, runCli } from '../cli.ts';
import { startReceiver } from '../receiving.ts';
import { PAUSE, servedPair, untilPaused } from '../vf-pair.ts';

const PHASES = ['prepare', 'stop', 'copy', 'load', 'run'] as const;
/** Long enough for a busy machine, short enough for a test. */
const RECONNECT = ['--reconnect-timeout', '1'];

const vfs = servedPair();
const { prepare } = vfs;

/** A receiver, and a tool that waits before a phase. */
async function pausedAt(phase: string): Promise<{ tool: Cli; receiver: Cli }> {
  const { receiver, address } = await startReceiver(vfs.b.socket, RECONNECT);
  const tool = new Cli(['migrate', vfs.a.socket, '--via', address, '--json', ...RECONNECT], {
    env: { [PAUSE]: phase },
  });
  await untilPaused(tool, phase);
  return { tool, receiver };
}

async function expectMigrates(): Promise<void> {
  const { receiver, address } = await startReceiver(vfs.b.socket, RECONNECT);
  const ended = await runCli(['migrate', vfs.a.socket, '--via', address, '--json']);
  expect(ended, JSON.stringify(ended)).toMatchObject({ code: 0 });
  expect((await receiver.ended).code).toBe(0);
  expect([await vfs.a.state(), await vfs.b.state()]).toEqual(['STOP', 'RUNNING']);
  expect(await vfs.b.digests()).toEqual(await vfs.a.digests());
}

describe('migrate --via whose receiver is killed', () => {
  test.each(PHASES)('before %s', async (phase) => {
    await prepare(`receiver killed before ${phase}`);
    const before = await vfs.a.digests();
    const { tool, receiver } = await pausedAt(phase);
    await receiver.kill('SIGKILL');
    tool.signal('SIGUSR2');
    const ended = await tool.ended;
    expect(ended.code).toBe(7);
    const told = lastDocument(ended);
    // At the point of no return nobody can say whether the target runs: the source waits.
    if (phase === 'run') {
      expect(told).toMatchObject({ phase: 'run', source: 'stopped', target: 'unknown' });
      expect([await vfs.a.state(), await vfs.b.state()]).toEqual(['STOP', 'STOP']);
    } else {
      const source = phase === 'prepare' ? 'untouched' : 'running';
      expect(told).toMatchObject({ errno: 'ETIMEDOUT', source });
      expect(await vfs.a.state()).toBe('RUNNING');
    }
    expect(await vfs.a.digests()).toEqual(before);
    await expectMigrates();
  });
});

describe('migrate --via whose tool is killed', () => {
  test.each(PHASES)('before %s', async (phase) => {
    await prepare(`tool killed before ${phase}`);
    const before = await vfs.a.digests();
    const { tool, receiver } = await pausedAt(phase);
    await tool.kill('SIGKILL');
    const ended = await receiver.ended;
    expect(ended.code).toBe(7);
    const target = phase === 'prepare' ? 'untouched' : 'reset';
    expect(lastDocument(ended)).toMatchObject({ errno: 'ETIMEDOUT', role: 'source', target });
    await expect.poll(() => vfs.a.state()).toBe(phase === 'run' ? 'STOP' : 'RUNNING');
    expect(await vfs.b.state()).toBe('RUNNING');
    expect((await vfs.b.digests()).vram).not.toBe(before.vram);
    expect(await vfs.a.digests()).toEqual(before);
    await expectMigrates();
  });
});

describe('migrate --via whose target server is killed', () => {
  test.each(PHASES)('before %s', async (phase) => {
    await prepare(`target killed before ${phase}`);
    const before = await vfs.a.digests();
    const { tool, receiver } = await pausedAt(phase);
    await vfs.b.kill();
    tool.signal('SIGUSR2');
    const [sent, received] = await Promise.all([tool.ended, receiver.ended]);
    expect(sent.code).not.toBe(0);
    expect(received.code).toBe(sent.code);
    const told = lastDocument(sent);
    expect(told).toMatchObject({ ok: false, role: 'target' });
    expect(lastDocument(received)).toMatchObject({ errno: told['errno'], reason: told['reason'] });
    // A server that is gone runs nothing, and the receiver can tell.
    expect(await vfs.a.state()).toBe('RUNNING');
    expect(await vfs.a.digests()).toEqual(before);
    await vfs.b.killAndRestart();
    await expectMigrates();
  });
});

describe('migrate --via whose source server is killed', () => {
  test.each(PHASES.slice(0, -1))('before %s', async (phase) => {
    await prepare(`source killed before ${phase}`);
    const { tool, receiver } = await pausedAt(phase);
    await vfs.a.kill();
    tool.signal('SIGUSR2');
    const [sent, received] = await Promise.all([tool.ended, receiver.ended]);
    expect(sent.code).not.toBe(0);
    expect(received.code).toBe(sent.code);
    expect(lastDocument(sent)).toMatchObject({ ok: false, role: 'source' });
    expect(await vfs.b.state()).toBe('RUNNING');
    await vfs.a.killAndRestart();
    await prepare('a later one');
    await expectMigrates();
  });
});

describe('migrate --via that is called off', () => {
  test.each(PHASES)('by the tool before %s', async (phase) => {
    await prepare(`called off before ${phase}`);
    const { tool, receiver } = await pausedAt(phase);
    const ended = await tool.kill('SIGINT');
    expect([ended.code, (await receiver.ended).code]).toEqual([7, 7]);
    expect([await vfs.a.state(), await vfs.b.state()]).toEqual(['RUNNING', 'RUNNING']);
  });

  test.each(PHASES.slice(1))('by the receiver before %s', async (phase) => {
    await prepare(`called off there before ${phase}`);
    const { tool, receiver } = await pausedAt(phase);
    receiver.signal('SIGINT');
    tool.signal('SIGUSR2');
    const [sent, received] = await Promise.all([tool.ended, receiver.ended]);
    const codes = [sent.code, received.code];
    // The request to run may have been first.
    if (phase === 'run' && sent.code === 0) expect(codes).toEqual([0, 0]);
    else {
      expect(codes).toEqual([7, 7]);
      expect([await vfs.a.state(), await vfs.b.state()]).toEqual(['RUNNING', 'RUNNING']);
    }
  });
});
