import { describe, expect, test } from 'vitest';
import { DeviceFault, Fault } from '../../src/base/fault.ts';
import { MIG_STATE, type MigState } from '../../src/vfio/migration-state.ts';
import type { MigrationData, VfioDevice } from '../../src/vfio/vfio-device.ts';
import { MigrationSession } from '../../src/vfio-user/migration-session.ts';

const { RUNNING, STOP, STOP_COPY, RESUMING, ERROR } = MIG_STATE;

/** A device that goes wherever it is told, unless it is told to fail. */
class FakeDevice {
  state: MigState = RUNNING;
  resets = 0;
  closed = 0;
  failure: Fault | undefined;
  breaks = false;

  async migrationState(): Promise<MigState> {
    return this.state;
  }

  async setMigrationState(state: number): Promise<MigrationData | undefined> {
    await undefined;
    if (this.failure !== undefined) {
      if (this.breaks) this.state = ERROR;
      throw this.failure;
    }
    this.state = state as MigState;
    if (state !== STOP_COPY && state !== RESUMING) return undefined;
    const direction = state === STOP_COPY ? 'read' : 'write';
    return { direction, close: () => this.closed++ } as unknown as MigrationData;
  }

  async reset(): Promise<void> {
    this.resets++;
    this.state = RUNNING;
  }
}

function setUp() {
  const device = new FakeDevice();
  const session = new MigrationSession(device as unknown as VfioDevice);
  return { device, session, a: { name: 'a' }, b: { name: 'b' } };
}

describe('MigrationSession', () => {
  test('belongs to the first that leaves RUNNING until the device runs again', async () => {
    const { session, a, b } = setUp();
    await session.setState(a, STOP);
    expect(session.heldBy(a)).toBe(true);
    await expect(session.setState(b, STOP)).rejects.toMatchObject({ code: 'EBUSY' });
    await session.setState(a, RUNNING);
    expect(session.active).toBe(false);
    await session.setState(b, STOP);
    expect(session.heldBy(b)).toBe(true);
  });

  test('is nobody’s while a first step is refused, and is held while it is under way', async () => {
    const { device, session, a, b } = setUp();
    const step = session.setState(a, STOP);
    await expect(session.setState(b, STOP)).rejects.toMatchObject({ code: 'EBUSY' });
    await step;
    await session.setState(a, RUNNING);
    device.failure = new Fault('EINVAL', 'no');
    await expect(session.setState(a, STOP)).rejects.toMatchObject({ code: 'EINVAL' });
    expect(session.active).toBe(false);
  });

  test('a fenced device runs for nobody, and gives its state to nobody, before it was reset', async () => {
    const { session, a, b } = setUp();
    await expect(session.fence()).rejects.toMatchObject({ code: 'EINVAL' });
    await session.setState(a, STOP);
    await session.fence();
    for (const state of [RUNNING, STOP_COPY, RESUMING])
      await expect(session.setState(a, state)).rejects.toMatchObject({ code: 'EPERM' });
    await session.drop(a);
    await expect(session.setState(b, RUNNING)).rejects.toMatchObject({ code: 'EPERM' });
    await session.afterReset(b);
    await session.setState(b, STOP_COPY);
    await session.setState(b, STOP);
    await session.fence();
    session.unfence();
    await session.setState(b, RUNNING);
  });

  test('data is there in its direction, for its holder, while the state has it', async () => {
    const { device, session, a, b } = setUp();
    expect(() => session.data(a, 'read')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    await session.setState(a, STOP_COPY);
    expect(session.data(a, 'read').direction).toBe('read');
    expect(() => session.data(a, 'write')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(() => session.data(b, 'read')).toThrow(expect.objectContaining({ code: 'EBUSY' }));
    await session.setState(a, STOP);
    expect(device.closed).toBe(1);
    expect(() => session.data(a, 'read')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  test.each([
    ['STOP_COPY', STOP_COPY, 'resumed', 0],
    ['STOP', STOP, 'kept', 0],
    ['RESUMING', RESUMING, 'reset', 1],
  ] as const)('a holder that vanishes in %s', async (from, state, action, resets) => {
    const { device, session, a, b } = setUp();
    await session.setState(a, state);
    expect(await session.rollBack(b)).toBeUndefined();
    expect(await session.rollBack(a)).toEqual({ from, action });
    expect(device.resets).toBe(resets);
    expect(device.state).toBe(action === 'kept' ? STOP : RUNNING);
    expect(session.active).toBe(false);
    expect(await session.rollBack(a)).toBeUndefined();
  });

  test('a holder that vanishes from a broken device', async () => {
    const { device, session, a } = setUp();
    await session.setState(a, STOP);
    device.failure = new DeviceFault('EIO', 'broken');
    device.breaks = true;
    await expect(session.setState(a, STOP_COPY)).rejects.toMatchObject({ code: 'EIO' });
    expect(session.heldBy(a)).toBe(true);
    expect(await session.rollBack(a)).toEqual({ from: 'ERROR', action: 'reset' });
  });

  test('a reset ends the session of the one that asked for it only', async () => {
    const { device, session, a, b } = setUp();
    await session.setState(a, STOP_COPY);
    await device.reset();
    await session.afterReset(b);
    expect(session.heldBy(a)).toBe(true);
    await session.afterReset(a);
    expect(session.active).toBe(false);
    expect(device.closed).toBe(1);
  });
});
