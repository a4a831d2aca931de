import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Fault, MigrationFault } from '../../src/base/fault.ts';
import type { MigrationEvent, MigrationPhase } from '../../src/migration/migration-phase.ts';
import { MIGRATION_PHASES } from '../../src/migration/migration-phase.ts';
import { migrate } from '../../src/migration/session.ts';
import { MIG_STATE } from '../../src/vfio/migration-state.ts';
import { VFIO_MIGRATION } from '../../src/vfio/uapi.ts';
import { FakeVfioDevice } from './fake-vfio-device.ts';

const CONTENT = Uint8Array.from({ length: 4500 }, (_, at) => at % 251);
const P2P = VFIO_MIGRATION.STOP_COPY | VFIO_MIGRATION.P2P;

function pair(flags = P2P) {
  const source = new FakeVfioDevice(CONTENT, flags);
  const target = new FakeVfioDevice(new Uint8Array(10), flags);
  return { source, target, ends: [{ device: source.device }, { device: target.device }] as const };
}

async function failureOf(run: Promise<unknown>): Promise<MigrationFault> {
  const error = await run.then(
    () => undefined,
    (fault: unknown) => fault,
  );
  expect(error).toBeInstanceOf(MigrationFault);
  return error as MigrationFault;
}

describe('a migration that nothing disturbs', () => {
  test.each([P2P, VFIO_MIGRATION.STOP_COPY])('moves the content, flags %i', async (flags) => {
    const { source, target, ends } = pair(flags);
    const events: MigrationEvent[] = [];
    const result = await migrate(...ends, { onEvent: (event) => events.push(event) });
    expect(target.state).toBe(MIG_STATE.RUNNING);
    expect(source.state).toBe(MIG_STATE.STOP);
    expect([...target.content]).toEqual([...CONTENT]);
    expect(source.resets + target.resets).toBe(0);
    expect(result.streamBytes).toBe(CONTENT.length);
    expect(result.phases.map(({ name }) => name)).toEqual([...MIGRATION_PHASES]);
    expect(events.filter(({ type }) => type === 'phase')).toHaveLength(MIGRATION_PHASES.length);
    const last = events.filter((event) => event.type === 'progress').at(-1);
    expect(last).toMatchObject({ bytes: CONTENT.length, totalBytes: CONTENT.length });
  });

  test('passes the source through RUNNING_P2P and stops it before the target runs', async () => {
    const { source, target, ends } = pair();
    const { RUNNING, RUNNING_P2P, STOP, STOP_COPY, RESUMING } = MIG_STATE;
    await migrate(...ends, {
      beforePhase: async (phase) => {
        if (phase === 'run') expect([source.state, target.state]).toEqual([STOP, STOP]);
        if (phase === 'copy') expect([source.state, target.state]).toEqual([STOP_COPY, RESUMING]);
        if (phase === 'stop') expect(source.state).toBe(RUNNING);
      },
    });
    expect(source.states).toEqual([RUNNING, RUNNING_P2P, STOP, STOP_COPY, STOP]);
  });

  test('counts downtime from the pause to the answer of the target, without hooks', async () => {
    let now = 0;
    const { ends } = pair();
    const result = await migrate(...ends, {
      now: () => now++,
      beforePhase: async () => {
        now += 1000;
      },
    });
    expect(result.downtimeMs).toBeGreaterThan(0);
    expect(result.downtimeMs).toBeLessThan(result.totalMs);
    expect(result.totalMs).toBeLessThan(1000);
  });

  test('works from a source that its VMM has stopped', async () => {
    const { source, target, ends } = pair();
    await source.setMigrationState(MIG_STATE.STOP);
    await migrate(...ends);
    expect([source.state, target.state]).toEqual([MIG_STATE.STOP, MIG_STATE.RUNNING]);
  });

  test.each([MIG_STATE.STOP_COPY, MIG_STATE.RUNNING_P2P])(
    'takes over a source that a dead session left in state %i',
    async (state) => {
      const { source, target, ends } = pair();
      await source.setMigrationState(state);
      await migrate(...ends);
      expect([...target.content]).toEqual([...CONTENT]);
      expect(source.state).toBe(MIG_STATE.STOP);
    },
  );

  test.each([MIG_STATE.STOP, MIG_STATE.RESUMING, MIG_STATE.ERROR])(
    'resets a target that a dead session left in state %i',
    async (state) => {
      const { target, ends } = pair();
      target.state = state;
      await migrate(...ends);
      expect(target.resets).toBe(1);
      expect([...target.content]).toEqual([...CONTENT]);
    },
  );
});

describe('a migration that is refused at the start', () => {
  test('touches nothing when the profiles do not fit', async () => {
    const { source, target } = pair();
    const fault = await failureOf(
      migrate(
        { device: source.device, profile: { deviceId: 0xb080 } },
        { device: target.device, profile: { deviceId: 0xe20b } },
      ),
    );
    expect(fault).toMatchObject({ code: 'EREMCHG', phase: 'prepare' });
    expect(fault.ends).toEqual({ source: 'untouched', target: 'untouched' });
    expect([...source.calls, ...target.calls]).toEqual([]);
  });

  test.each(['source', 'target'] as const)('ENOTTY when the %s cannot migrate', async (role) => {
    const { source, target } = pair();
    const plain = new FakeVfioDevice(CONTENT, 0);
    const fault = await failureOf(
      migrate(
        { device: role === 'source' ? plain.device : source.device },
        { device: role === 'target' ? plain.device : target.device },
      ),
    );
    expect(fault).toMatchObject({ code: 'ENOTTY', role });
    expect(source.states).toEqual([MIG_STATE.RUNNING]);
  });

  test.each([MIG_STATE.ERROR, MIG_STATE.RESUMING])('a source in state %i', async (state) => {
    const { source, target, ends } = pair();
    source.state = state;
    const fault = await failureOf(migrate(...ends));
    expect(fault.ends).toEqual({ source: 'untouched', target: 'untouched' });
    expect(target.resets).toBe(0);
  });

  test('leaves an end alone that another session owns', async () => {
    for (const role of ['source', 'target'] as const) {
      const { source, target, ends } = pair();
      const owned = role === 'source' ? source : target;
      owned.setMigrationState = async () => {
        throw new Fault('EBUSY', 'another session owns this VF');
      };
      const fault = await failureOf(migrate(...ends));
      expect(fault).toMatchObject({ code: 'EBUSY', role });
      expect(owned.resets).toBe(0);
      expect(fault.ends[role]).toBe('untouched');
      expect([source.state, target.state]).toEqual([MIG_STATE.RUNNING, MIG_STATE.RUNNING]);
    }
  });
});

describe('a migration that fails', () => {
  test.each([1, -1, 5000, -4500])('EIO when the source gives %i bytes too many', async (extra) => {
    const { source, target, ends } = pair();
    source.extraBytes = extra;
    const fault = await failureOf(migrate(...ends));
    expect(fault).toMatchObject({ code: 'EIO', phase: 'copy', role: 'source' });
    expect(fault.ends).toEqual({ source: 'running', target: 'reset' });
    expect(target.content).toHaveLength(0);
  });

  // Whatever call is refused, once, at whatever end: never both run, and the source comes back.
  test('comes back from any call that one end refuses', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('source', 'target'),
        fc.nat({ max: 16 }),
        fc.constantFrom(P2P, VFIO_MIGRATION.STOP_COPY),
        async (role, call, flags) => {
          const { source, target, ends } = pair(flags);
          const failing = role === 'source' ? source : target;
          failing.failAt(call, 'refuse');
          const events: MigrationEvent[] = [];
          const outcome = await migrate(...ends, { onEvent: (event) => events.push(event) }).catch(
            (fault: unknown) => fault,
          );
          if (!(outcome instanceof MigrationFault)) {
            expect([source.state, target.state]).toEqual([MIG_STATE.STOP, MIG_STATE.RUNNING]);
            expect([...target.content]).toEqual([...CONTENT]);
            return;
          }
          expect(outcome).toMatchObject({ code: 'EIO', role });
          expect([...source.content]).toEqual([...CONTENT]);
          expect(source.state).toBe(MIG_STATE.RUNNING);
          expect(source.resets).toBe(0);
          if (outcome.ends.target !== 'untouched') expect(target.resets).toBe(1);
          expect(target.state).toBe(MIG_STATE.RUNNING);
          expect(events.at(-1)).toEqual({ type: 'rollback', fault: outcome });
        },
      ),
      { numRuns: 200 },
    );
  });

  // Whatever call the way to one end is cut at: the guest runs at most at one end, and where its
  // server is reachable the source runs or holds the whole state.
  test('never runs at both ends when the way to one is cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('source', 'target'),
        fc.nat({ max: 16 }),
        fc.constantFrom('lost-after', 'lost-before'),
        fc.constantFrom('answers', 'gone', 'silent'),
        async (role, call, failure, probe) => {
          const { source, target } = pair();
          const failing = role === 'source' ? source : target;
          failing.failAt(call, failure);
          const ask = (device: FakeVfioDevice) => async () => {
            if (probe === 'silent') throw new Fault('ETIMEDOUT', 'no answer');
            if (probe === 'gone') device.state = MIG_STATE.STOP;
            return probe === 'gone' ? undefined : device.state;
          };
          const outcome = await migrate(
            { device: source.device, probe: ask(source) },
            { device: target.device, probe: ask(target) },
          ).catch((fault: unknown) => fault);
          expect([...source.content]).toEqual([...CONTENT]);
          const loaded = target.content.length === CONTENT.length;
          if (source.state === MIG_STATE.RUNNING)
            expect(loaded && target.state === MIG_STATE.RUNNING).toBe(false);
          if (outcome instanceof MigrationFault) {
            if (role === 'target' && outcome.ends.source === 'running')
              expect(source.state).toBe(MIG_STATE.RUNNING);
            if (role === 'target' && outcome.ends.source === 'stopped')
              expect(source.state).toBe(MIG_STATE.STOP);
            if (role === 'target') expect(outcome.ends.source).not.toBe('unknown');
          } else expect(target.state).toBe(MIG_STATE.RUNNING);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('keeps the source stopped when nobody can say whether the target runs', async () => {
    const { source, target, ends } = pair();
    const whole = pair();
    await migrate(...whole.ends);
    // The call that starts the target is the last one of a migration that succeeds.
    target.failAt(whole.target.calls.length - 1, 'lost-after');
    const fault = await failureOf(migrate(...ends));
    expect(fault).toMatchObject({ code: 'ECONNRESET', phase: 'run', role: 'target' });
    expect(fault.ends).toEqual({ source: 'stopped', target: 'unknown' });
    expect(source.state).toBe(MIG_STATE.STOP);
  });

  test('succeeds when only the answer that the target runs was lost', async () => {
    const { source, target } = pair();
    const whole = pair();
    await migrate(...whole.ends);
    target.failAt(whole.target.calls.length - 1, 'lost-after');
    await migrate(
      { device: source.device },
      { device: target.device, probe: async () => target.state },
    );
    expect([source.state, target.state]).toEqual([MIG_STATE.STOP, MIG_STATE.RUNNING]);
  });
});

describe('a migration that is called off', () => {
  const before: MigrationPhase[] = ['prepare', 'stop', 'copy', 'load', 'run'];
  test.each(before)('before %s', async (phase) => {
    const { source, target, ends } = pair();
    const abort = new AbortController();
    const fault = await failureOf(
      migrate(...ends, {
        signal: abort.signal,
        beforePhase: async (next) => {
          if (next === phase) abort.abort();
        },
      }),
    );
    expect(fault).toMatchObject({ code: 'ECANCELED', phase, role: 'tool' });
    expect([source.state, target.state]).toEqual([MIG_STATE.RUNNING, MIG_STATE.RUNNING]);
    expect(target.resets).toBe(phase === 'prepare' ? 0 : 1);
  });

  test('too late, after the point of no return, has no effect', async () => {
    const { target, ends } = pair();
    const abort = new AbortController();
    await migrate(...ends, {
      signal: abort.signal,
      beforePhase: async (next) => {
        if (next === 'done') abort.abort();
      },
    });
    expect(target.state).toBe(MIG_STATE.RUNNING);
  });

  test('keeps the fault that the caller gave as the reason', async () => {
    const { ends } = pair();
    const reason = new Fault('ETIMEDOUT', 'the deadline is over');
    const fault = await failureOf(migrate(...ends, { signal: AbortSignal.abort(reason) }));
    expect(fault).toMatchObject({ code: 'ETIMEDOUT', cause: reason });
  });
});
