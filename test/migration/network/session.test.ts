import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { Fault } from '../../../src/base/fault.ts';
import { MIG_STATE } from '../../../src/vfio/migration-state.ts';
import { TwoHosts } from './two-hosts.ts';

const { RUNNING, STOP } = MIG_STATE;
const CONTENT = Buffer.concat([
  randomBytes(300_000),
  Buffer.alloc(500_000),
  Buffer.from('abcdefgh'.repeat(50_000)),
]);

let hosts: TwoHosts | undefined;

async function start(...args: Parameters<typeof TwoHosts.start>): Promise<TwoHosts> {
  hosts = await TwoHosts.start(...args);
  return hosts;
}

afterEach(() => hosts?.close());

describe('a migration over the network', () => {
  test.each([1, 4])('moves the content over %i connections', async (streams) => {
    const pair = await start(CONTENT);
    const { source, target } = pair;
    const ended = await pair.move({}, { streams });
    expect(ended.source).toHaveProperty('value');
    expect(ended.target).toEqual({ value: { report: { result: expect.anything() } } });
    expect([source.state, target.state]).toEqual([STOP, RUNNING]);
    expect(Buffer.compare(target.content, CONTENT)).toBe(0);
    expect(ended.resumptions).toBe(0);
  });

  test('both ends report the same', async () => {
    const pair = await start(CONTENT);
    const { source, target } = await pair.move();
    const told = 'value' in target ? target.value.report : undefined;
    expect(told).toEqual({ result: 'value' in source ? source.value : undefined });
  });

  test('goes on after every cut, without sending again what is there', async () => {
    const content = randomBytes(4 * 2 ** 20);
    const pair = await start(content);
    pair.proxy.cutEvery = 400_000;
    pair.proxy.cutsLeft = 6;
    const ended = await pair.move({}, { rateLimit: 20e6 });
    expect(ended.source, JSON.stringify(ended)).toHaveProperty('value');
    expect(ended.resumptions).toBeGreaterThan(2);
    expect(Buffer.compare(pair.target.content, content)).toBe(0);
    expect([pair.source.state, pair.target.state]).toEqual([STOP, RUNNING]);
  });

  test.each([100, 5000, 200_000])('a byte altered on the way at %i is found', async (alterAt) => {
    const pair = await start(CONTENT);
    pair.proxy.alterAt = alterAt;
    const ended = await pair.move();
    // In the handshake the session fails; later the bytes come again.
    if ('fault' in ended.source) expect(pair.source.state).toBe(RUNNING);
    else expect(Buffer.compare(pair.target.content, CONTENT)).toBe(0);
    expect(pair.proxy.alterAt).toBe(Number.POSITIVE_INFINITY);
  });

  test('EBUSY for a second source, ENOENT when it means another VF', async () => {
    const pair = await start(CONTENT);
    await expect(pair.link({ to: '/run/c.sock' })).rejects.toMatchObject({ code: 'ENOENT' });
    const first = await pair.link();
    await expect(pair.link()).rejects.toMatchObject({ code: 'EBUSY' });
    await first.close();
  });

  test('a session that only looks can change nothing and uses nothing up', async () => {
    const pair = await start(CONTENT);
    const look = await pair.link({ kind: 'check', reconnectMs: 1 });
    await expect(look.request({ op: 'reset' })).rejects.toBeInstanceOf(Fault);
    await look.close();
    await expect.poll(() => pair.move().catch(() => undefined)).toHaveProperty('source.value');
    expect(pair.target.resets).toBe(0);
  });
});

describe('a migration over the network that fails', () => {
  // Whatever call is refused at whatever end: never both run, both report the same.
  test('comes back from any call that one end refuses', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom('source', 'target'), fc.nat(16), async (role, call) => {
        const pair = await TwoHosts.start(CONTENT.subarray(0, 3000));
        try {
          (role === 'source' ? pair.source : pair.target).failAt(call, 'refuse');
          const { source, target } = await pair.move();
          if ('value' in source) {
            expect([pair.source.state, pair.target.state]).toEqual([STOP, RUNNING]);
            expect(Buffer.compare(pair.target.content, CONTENT.subarray(0, 3000))).toBe(0);
            return;
          }
          expect(pair.source.state).toBe(RUNNING);
          expect(pair.target.content.length).not.toBe(3000);
          const told = 'fault' in target ? target.fault : undefined;
          expect(told).toMatchObject({
            code: source.fault.code,
            message: source.fault.message,
            phase: source.fault.phase,
            role: source.fault.role,
            ends: source.fault.ends,
          });
        } finally {
          pair.close();
        }
      }),
      { numRuns: 60 },
    );
  });

  // The way is cut for good at any point: the guest runs at most at one end.
  test('never runs at both ends when the way is cut for good', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('prepare', 'stop', 'copy', 'load', 'run', 'done'),
        fc.nat(3),
        async (phase, turns) => {
          const content = CONTENT.subarray(250_000, 350_000);
          const pair = await TwoHosts.start(content, 60);
          try {
            const ended = await pair.move(
              {
                beforePhase: async (next) => {
                  if (next !== phase) return;
                  const cut = () => pair.proxy.close();
                  if (turns === 0) cut();
                  else setTimeout(cut, turns - 1);
                },
              },
              { reconnectMs: 60 },
            );
            const loaded = pair.target.content.length === content.length;
            if (pair.source.state === RUNNING)
              expect(loaded && pair.target.state === RUNNING).toBe(false);
            if ('fault' in ended.source && ended.source.fault.phase !== 'run')
              expect(pair.source.state).toBe(RUNNING);
            if ('fault' in ended.source && ended.source.fault.ends.source === 'stopped')
              expect(pair.source.state).toBe(STOP);
            if (!loaded) expect(pair.target.state).toBe(RUNNING);
          } finally {
            pair.close();
          }
        },
      ),
      { numRuns: 30 },
    );
  });

  test('a source that is gone leaves the target reset', async () => {
    const pair = await start(CONTENT, 50);
    const link = await pair.link();
    await link.request({ op: 'set', state: MIG_STATE.RUNNING_P2P, dataEnd: 0 });
    await link.request({ op: 'set', state: MIG_STATE.RESUMING, dataEnd: 0 });
    pair.proxy.close();
    await expect(pair.receiver.ended).rejects.toMatchObject({
      code: 'ETIMEDOUT',
      role: 'source',
      ends: { source: 'unknown', target: 'reset' },
    });
    expect(pair.target.state).toBe(RUNNING);
    await link.close();
  });

  test.each(['stop', 'copy', 'load', 'run'])('called off by the receiver before %s', async (at) => {
    const pair = await start(CONTENT);
    const ended = await pair.move({
      beforePhase: async (phase) => {
        if (phase !== at) return;
        pair.receiverAbort.abort();
        // The refusal is on its way.
        await new Promise((resolve) => setTimeout(resolve, 50));
      },
    });
    expect(ended.source).toMatchObject({ fault: { code: 'ECANCELED', role: 'target' } });
    expect(ended.target).toMatchObject({ fault: { code: 'ECANCELED', role: 'target' } });
    expect([pair.source.state, pair.target.state]).toEqual([RUNNING, RUNNING]);
    expect(pair.target.content.length).not.toBe(CONTENT.length);
  });

  test('what an older connection carries is void once the session goes on', async () => {
    const pair = await start(CONTENT);
    const link = await pair.link();
    const state = await link.request({ op: 'state' });
    pair.proxy.cut();
    expect(await link.request({ op: 'state' })).toEqual(state);
    expect(link.resumptions).toBe(1);
    expect(pair.target.calls.filter((call) => call === 'GET state')).toHaveLength(2);
    await link.close();
  });

  test('called off while the way is cut: the source runs at once', async () => {
    const pair = await start(CONTENT, 50);
    const abort = new AbortController();
    const ended = await pair.move(
      {
        signal: abort.signal,
        beforePhase: async (phase) => {
          if (phase !== 'copy') return;
          pair.proxy.close();
          setTimeout(() => abort.abort(new Fault('ETIME', 'stopped for too long')), 20);
        },
      },
      { reconnectMs: 60_000 },
    );
    expect(ended.source).toMatchObject({ fault: { code: 'ETIME', ends: { source: 'running' } } });
    expect(ended.target).toMatchObject({ fault: { code: 'ETIMEDOUT' } });
  });
});
