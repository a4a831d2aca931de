import { describe, expect, it } from 'vitest';
import { DeviceFault, Fault, StreamFault } from '../../src/base/fault.ts';
import { MIG_STATE } from '../../src/vfio/migration-state.ts';
import { VFIO_MIGRATION } from '../../src/vfio/uapi.ts';
import type { VfioPciEvent } from '../../src/vfio-pci/vfio-pci-core.ts';
import { XeVfioPci } from '../../src/xe-vfio-pci/xe-vfio-pci.ts';
import { FakePf, type PfCall } from '../support/fake-pf.ts';
import { FakeEventFds, TestFunction, xeVf } from '../support/test-function.ts';

const { ERROR, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY } = MIG_STATE;
const eventFds = new FakeEventFds();

async function open(pf = new FakePf(), pciFunction = xeVf('ptl')) {
  const device = await XeVfioPci.open({ pciFunction, eventFds, pf, vfid: 1 });
  const events: VfioPciEvent[] = [];
  device.events.on((event) => events.push(event));
  pf.calls.length = 0;
  return { device, pf, pciFunction, events };
}

const fault = (code: string) => expect.objectContaining({ code });

/** A promise and what fulfils it. */
function gate() {
  let release = () => {};
  const promise = new Promise<void>((resolve) => {
    release = resolve;
  });
  return { promise, release };
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('opening', () => {
  it('resets the VF around the PF’s part, and runs', async () => {
    const pf = new FakePf();
    const vf = xeVf('bmg');
    const device = await XeVfioPci.open({ pciFunction: vf, eventFds, pf, vfid: 1 });
    expect(pf.calls).toEqual(['flrPrepare', 'waitFlrDone']);
    expect(vf.resets).toBe(1);
    expect(device.platform).toBe('BMG');
    expect(device.migrationFlags).toBe(VFIO_MIGRATION.STOP_COPY | VFIO_MIGRATION.P2P);
    expect(await device.migrationState()).toBe(RUNNING);
  });

  it('goes on when the PF cannot say how the reset went, and reports that', async () => {
    const { device, pf, events } = await open();
    pf.failNext.set('flrPrepare', new Fault('EALREADY', 'running'));
    pf.failNext.set('waitFlrDone', new Fault('ETIMEDOUT', 'over'));
    await device.reset();
    expect(events).toEqual([
      { during: 'FLR preparation', fault: fault('EALREADY') },
      { during: 'FLR wait', fault: fault('ETIMEDOUT') },
    ]);
    expect(await device.migrationState()).toBe(RUNNING);
  });

  it('refuses a VF whose PF is not bound', async () => {
    await expect(XeVfioPci.open({ pciFunction: xeVf('ptl'), eventFds, vfid: 1 })).rejects.toEqual(
      fault('ENODEV'),
    );
  });

  it('makes a plain device of what is no VF', async () => {
    const pf = new FakePf();
    const pciFunction = new TestFunction({ isVirtfn: false, registers: [] });
    const device = await XeVfioPci.open({ pciFunction, eventFds, pf });
    expect(pf.calls).toEqual([]);
    expect(device.migrationFlags).toBe(0);
    await expect(device.migrationState()).rejects.toEqual(fault('ENOTTY'));
    await device.reset();
    await device.close();
    expect(pf.calls).toEqual([]);
  });

  it('makes a plain device of a VF that its PF cannot migrate, and says why', async () => {
    const pf = new FakePf();
    pf.supported = false;
    const { device } = await open(pf);
    expect(device.migrationFlags).toBe(0);
    const why = expect.objectContaining({
      code: 'ENOTTY',
      message: expect.stringContaining('70.53.0 is older'),
    });
    await expect(device.migrationState()).rejects.toEqual(why);
    await expect(device.setMigrationState(STOP)).rejects.toEqual(why);
    await expect(device.migrationDataSize()).rejects.toEqual(why);
    await device.reset();
    expect(pf.calls).toEqual(['flrPrepare', 'waitFlrDone']);
  });
});

describe('arcs', () => {
  const walks: ReadonlyArray<readonly [string, readonly number[], readonly PfCall[]]> = [
    ['RUNNING to RUNNING_P2P suspends', [RUNNING_P2P], ['suspendDevice']],
    ['RUNNING_P2P to RUNNING resumes', [RUNNING_P2P, RUNNING], ['suspendDevice', 'resumeDevice']],
    ['RUNNING_P2P to STOP does nothing', [STOP], ['suspendDevice']],
    ['STOP to RUNNING_P2P does nothing', [STOP, RUNNING_P2P], ['suspendDevice']],
    ['STOP to STOP_COPY saves', [STOP_COPY], ['suspendDevice', 'stopCopyEnter']],
    [
      'STOP_COPY to RUNNING ends saving',
      [STOP_COPY, RUNNING],
      ['suspendDevice', 'stopCopyEnter', 'stopCopyExit', 'resumeDevice'],
    ],
    ['STOP to RESUMING restores', [RESUMING], ['suspendDevice', 'resumeDataEnter']],
    [
      'RESUMING to RUNNING ends restoring',
      [RESUMING, RUNNING],
      ['suspendDevice', 'resumeDataEnter', 'resumeDataExit', 'resumeDevice'],
    ],
    [
      'STOP_COPY to RESUMING goes by STOP',
      [STOP_COPY, RESUMING],
      ['suspendDevice', 'stopCopyEnter', 'stopCopyExit', 'resumeDataEnter'],
    ],
    ['to where it is already, nothing', [RUNNING, STOP, STOP], ['suspendDevice']],
  ];
  for (const [name, states, calls] of walks)
    it(name, async () => {
      const { device, pf } = await open();
      for (const state of states) {
        const file = await device.setMigrationState(state);
        const direction = { [STOP_COPY]: 'read', [RESUMING]: 'write' }[state];
        expect(file?.direction).toBe(direction);
      }
      expect(pf.calls).toEqual(calls);
      expect(await device.migrationState()).toBe(states.at(-1));
    });

  it('opens one file a session: the same state again has none', async () => {
    const { device } = await open();
    expect(await device.setMigrationState(STOP_COPY)).toBeDefined();
    expect(await device.setMigrationState(STOP_COPY)).toBeUndefined();
  });

  it('run one after the other', async () => {
    const { device, pf } = await open();
    const suspend = gate();
    pf.holdNext.set('suspendDevice', suspend.promise);
    const first = device.setMigrationState(STOP);
    const second = device.setMigrationState(RUNNING);
    const state = device.migrationState();
    await turn();
    expect(pf.calls).toEqual(['suspendDevice']);
    suspend.release();
    await Promise.all([first, second]);
    expect(pf.calls).toEqual(['suspendDevice', 'resumeDevice']);
    expect(await state).toBe(RUNNING);
  });
});

describe('deviation 1: a refused SET', () => {
  it('changes nothing in any state, and does not stop the VF', async () => {
    for (const from of [RUNNING, RUNNING_P2P, STOP, STOP_COPY, RESUMING]) {
      const { device, pf } = await open();
      const file = await device.setMigrationState(from);
      const { length } = pf.calls;
      for (const state of [ERROR, PRE_COPY, 7, 8, 9, 0xabcd, 2 ** 32 - 1, -1, Number.NaN]) {
        await expect(device.setMigrationState(state)).rejects.toEqual(fault('EINVAL'));
        expect(await device.migrationState()).toBe(from);
      }
      expect(pf.calls).toHaveLength(length);
      if (file?.direction === 'read') expect(await file.read(1)).toEqual([]);
    }
  });
});

describe('deviation 2: ERROR', () => {
  const ways: ReadonlyArray<readonly [string, readonly number[], number, PfCall]> = [
    ['suspending', [], STOP, 'suspendDevice'],
    ['resuming', [STOP], RUNNING, 'resumeDevice'],
    ['starting to save', [STOP], STOP_COPY, 'stopCopyEnter'],
    ['ending to save', [STOP_COPY], STOP, 'stopCopyExit'],
    ['starting to restore', [STOP], RESUMING, 'resumeDataEnter'],
    ['ending to restore', [RESUMING], STOP, 'resumeDataExit'],
  ];
  for (const [name, before, wanted, call] of ways)
    it(`follows a device failure when ${name}, and only reset recovers`, async () => {
      const { device, pf } = await open();
      let file = undefined as Awaited<ReturnType<typeof device.setMigrationState>>;
      for (const state of before) file = await device.setMigrationState(state);
      pf.failNext.set(call, new DeviceFault('EIO', 'the GuC is gone'));
      await expect(device.setMigrationState(wanted)).rejects.toEqual(fault('EIO'));
      expect(await device.migrationState()).toBe(ERROR);
      expect(pf.activity).toBe('stopped');
      if (file !== undefined) {
        const access = file.direction === 'read' ? file.read(1) : file.write(new Uint8Array(1));
        await expect(access).rejects.toEqual(fault('ENODEV'));
      }
      for (let state = 0; state <= 8; state++)
        await expect(device.setMigrationState(state)).rejects.toEqual(fault('EINVAL'));
      expect(await device.migrationState()).toBe(ERROR);
      await device.reset();
      expect(await device.migrationState()).toBe(RUNNING);
      await device.setMigrationState(STOP_COPY);
    });

  it('follows a stream that could not be restored; the cause is told', async () => {
    const { device, pf } = await open();
    await device.setMigrationState(RESUMING);
    const cause = new StreamFault('ENODEV', 'another device', { offset: 24, packet: 1 });
    pf.failNext.set('resumeDataExit', cause);
    await expect(device.setMigrationState(RUNNING)).rejects.toBe(cause);
    expect(await device.migrationState()).toBe(ERROR);
    expect(pf.activity).toBe('stopped');
  });

  it('is kept when the VF cannot even be stopped', async () => {
    const { device, pf, events } = await open();
    pf.failNext.set('suspendDevice', new DeviceFault('EIO', 'gone'));
    pf.failNext.set('error', new Fault('ETIMEDOUT', 'gone'));
    await expect(device.setMigrationState(STOP)).rejects.toEqual(fault('EIO'));
    expect(events).toEqual([{ during: 'VF stop', fault: fault('ETIMEDOUT') }]);
    expect(await device.migrationState()).toBe(ERROR);
  });

  it('does not follow a refusal: the state stays, the file is closed', async () => {
    for (const [before, wanted, call] of [
      [RUNNING, STOP, 'suspendDevice'],
      [STOP, STOP_COPY, 'stopCopyEnter'],
      [STOP, RESUMING, 'resumeDataEnter'],
      [RUNNING_P2P, RUNNING, 'resumeDevice'],
    ] as const) {
      const { device, pf } = await open();
      await device.setMigrationState(before);
      pf.failNext.set(call, new Fault('EBUSY', 'not now'));
      await expect(device.setMigrationState(wanted)).rejects.toEqual(fault('EBUSY'));
      expect(await device.migrationState()).toBe(before);
      expect(pf.calls).not.toContain('error');
      await device.setMigrationState(wanted);
      expect(await device.migrationState()).toBe(wanted);
    }
  });

  it('does not follow an end of saving that is refused: it can be tried again', async () => {
    const { device, pf } = await open();
    const file = await device.setMigrationState(STOP_COPY);
    pf.failNext.set('stopCopyExit', new Fault('EIO', 'not yet'));
    await expect(device.setMigrationState(STOP)).rejects.toEqual(fault('EIO'));
    expect(await device.migrationState()).toBe(STOP_COPY);
    await expect(file?.read(1)).rejects.toEqual(fault('ENODEV'));
    await device.setMigrationState(RUNNING);
    expect(pf.activity).toBe('running');
  });

  it('keeps the arcs that succeeded before', async () => {
    const { device, pf } = await open();
    pf.failNext.set('stopCopyEnter', new Fault('ENOMEM', 'no buffer'));
    await expect(device.setMigrationState(STOP_COPY)).rejects.toEqual(fault('ENOMEM'));
    expect(await device.migrationState()).toBe(STOP);
  });
});

describe('data files', () => {
  it('carry data one way', async () => {
    const { device, pf } = await open();
    pf.stream = [new Uint8Array([1, 2]), new Uint8Array([3])];
    const save = await device.setMigrationState(STOP_COPY);
    expect(await save?.read(64)).toEqual([new Uint8Array([1, 2])]);
    await expect(save?.write(new Uint8Array(1))).rejects.toEqual(fault('EINVAL'));
    await expect(save?.commit(1)).rejects.toEqual(fault('EINVAL'));
    expect(save?.window(1)).toBeUndefined();
    const resume = await device.setMigrationState(RESUMING);
    await expect(resume?.read(1)).rejects.toEqual(fault('EINVAL'));
    await resume?.write(new Uint8Array([7]));
    pf.window = new Uint8Array([8, 9, 10]);
    expect(resume?.window(2)).toEqual(new Uint8Array([8, 9]));
    await resume?.commit(2);
    expect(pf.written).toEqual([7, 8, 9]);
  });

  it('are gone after the session, after a reset and after close', async () => {
    for (const end of [
      (device: XeVfioPci) => device.setMigrationState(STOP),
      (device: XeVfioPci) => device.reset(),
      (device: XeVfioPci) => device.close(),
    ])
      for (const state of [STOP_COPY, RESUMING]) {
        const { device, pf } = await open();
        const file = await device.setMigrationState(state);
        await end(device);
        pf.window = new Uint8Array(8);
        const { length } = pf.calls;
        const access = state === STOP_COPY ? file?.read(1) : file?.write(new Uint8Array(1));
        await expect(access).rejects.toEqual(fault('ENODEV'));
        expect(file?.window(8)).toBeUndefined();
        expect(pf.calls).toHaveLength(length);
      }
  });

  it('may be closed early: the session goes on', async () => {
    const { device, pf } = await open();
    const file = await device.setMigrationState(STOP_COPY);
    file?.close();
    file?.close();
    await expect(file?.read(1)).rejects.toEqual(fault('ENODEV'));
    expect(pf.activity).toBe('saving');
    await device.setMigrationState(RUNNING);
    expect(pf.activity).toBe('running');
  });

  it('of the session before do not reach the next one', async () => {
    const { device, pf } = await open();
    const old = await device.setMigrationState(STOP_COPY);
    await device.setMigrationState(STOP);
    pf.stream = [new Uint8Array([1])];
    const fresh = await device.setMigrationState(STOP_COPY);
    await expect(old?.read(1)).rejects.toEqual(fault('ENODEV'));
    expect(await fresh?.read(1)).toEqual([new Uint8Array([1])]);
  });

  it('serve one access at a time', async () => {
    const { device, pf } = await open();
    const file = await device.setMigrationState(RESUMING);
    const hold = gate();
    pf.holdNext.set('dataWrite', hold.promise);
    const both = [file?.write(new Uint8Array([1])), file?.write(new Uint8Array([2]))];
    await turn();
    expect(pf.calls.filter((name) => name === 'dataWrite')).toHaveLength(1);
    expect(file?.window(1)).toBeUndefined();
    hold.release();
    await Promise.all(both);
    expect(pf.written).toEqual([1, 2]);
  });

  it('pass the PF’s errors on', async () => {
    const { device, pf } = await open();
    const file = await device.setMigrationState(STOP_COPY);
    pf.failNext.set('dataRead', new Fault('EIO', 'the GuC refused to save'));
    await expect(file?.read(1)).rejects.toEqual(fault('EIO'));
    expect(await device.migrationState()).toBe(STOP_COPY);
  });

  for (const [name, end] of [
    ['reset', (device: XeVfioPci) => device.reset()],
    ['the end of the session', (device: XeVfioPci) => device.setMigrationState(STOP)],
    ['close', (device: XeVfioPci) => device.close()],
  ] as const)
    it(`deviation 7: wake when they sleep, by ${name}`, async () => {
      const { device, pf } = await open();
      const file = await device.setMigrationState(STOP_COPY);
      pf.holdNext.set('dataRead', new Promise(() => {}));
      const sleeping = expect(file?.read(1)).rejects.toEqual(fault('ENODEV'));
      const waiting = expect(file?.read(1)).rejects.toEqual(fault('ENODEV'));
      await turn();
      await end(device);
      await sleeping;
      await waiting;
    });
});

describe('the size of the data', () => {
  it('is the PF’s', async () => {
    const { device } = await open();
    expect(await device.migrationDataSize()).toBe(4096);
  });

  it('deviation 6: is an error when the PF has none', async () => {
    const { device, pf } = await open();
    pf.failNext.set('stopCopySize', new Fault('ENODATA', 'no GuC state'));
    await expect(device.migrationDataSize()).rejects.toEqual(fault('ENODATA'));
  });
});

describe('reset', () => {
  it('MIG-30: ends in RUNNING from every state', async () => {
    for (const from of [RUNNING, RUNNING_P2P, STOP, STOP_COPY, RESUMING]) {
      const { device, pf } = await open();
      await device.setMigrationState(from);
      await device.reset();
      expect(await device.migrationState()).toBe(RUNNING);
      expect(pf.activity).toBe('running');
    }
  });

  it('comes through DEVCTL as well', async () => {
    const { device, pf } = await open();
    await device.setMigrationState(STOP);
    await device.regionWrite(7, 0x49, new Uint8Array([0x80]), 0, 1);
    expect(pf.calls.slice(-2)).toEqual(['flrPrepare', 'waitFlrDone']);
    expect(await device.migrationState()).toBe(RUNNING);
  });

  it('is deferred while a state change holds the device, and applied by its holder', async () => {
    const { device, pf } = await open();
    await device.setMigrationState(STOP);
    const hold = gate();
    pf.holdNext.set('stopCopyEnter', hold.promise);
    const change = device.setMigrationState(STOP_COPY);
    await turn();
    await device.reset();
    hold.release();
    const file = await change;
    expect(file?.direction).toBe('read');
    await expect(file?.read(1)).rejects.toEqual(fault('ENODEV'));
    expect(await device.migrationState()).toBe(RUNNING);
  });

  it('is deferred in a change that it makes fail; the VF is not stopped behind its back', async () => {
    const { device, pf } = await open();
    await device.setMigrationState(RESUMING);
    const hold = gate();
    pf.holdNext.set('resumeDataExit', hold.promise);
    pf.failNext.set('resumeDataExit', new Fault('ECANCELED', 'reset'));
    const change = expect(device.setMigrationState(STOP)).rejects.toEqual(fault('ECANCELED'));
    await turn();
    await device.reset();
    hold.release();
    await change;
    expect(pf.calls).not.toContain('error');
    expect(await device.migrationState()).toBe(RUNNING);
  });

  it('is not overtaken by a state change that comes while it runs', async () => {
    const { device, pf } = await open();
    const hold = gate();
    pf.holdNext.set('waitFlrDone', hold.promise);
    const reset = device.reset();
    await turn();
    const change = device.setMigrationState(STOP);
    await turn();
    expect(pf.calls).toEqual(['flrPrepare', 'waitFlrDone']);
    hold.release();
    await Promise.all([reset, change]);
    expect(pf.calls).toEqual(['flrPrepare', 'waitFlrDone', 'suspendDevice']);
    expect(await device.migrationState()).toBe(STOP);
  });
});

describe('close', () => {
  it('ends the session and resets without the PF’s handlers', async () => {
    const { device, pf, pciFunction } = await open();
    await device.setMigrationState(STOP_COPY);
    const { length } = pf.calls;
    await device.close();
    await device.close();
    expect(pf.calls).toHaveLength(length);
    expect(pciFunction.resets).toBe(2);
    await expect(device.migrationState()).rejects.toEqual(fault('ENODEV'));
    await expect(device.setMigrationState(STOP)).rejects.toEqual(fault('ENODEV'));
  });

  it('waits for a state change, and refuses those that wait behind it', async () => {
    const { device, pf } = await open();
    const hold = gate();
    pf.holdNext.set('suspendDevice', hold.promise);
    const change = device.setMigrationState(STOP);
    const closed = device.close();
    const late = expect(device.setMigrationState(RUNNING)).rejects.toEqual(fault('ENODEV'));
    hold.release();
    await change;
    await closed;
    await late;
    expect(pf.calls).toEqual(['suspendDevice']);
  });

  it('leaves the VF to be opened again', async () => {
    const { device, pf, pciFunction } = await open();
    await device.setMigrationState(STOP);
    await device.close();
    const again = await open(pf, pciFunction);
    expect(await again.device.migrationState()).toBe(RUNNING);
    expect(pf.activity).toBe('running');
  });
});
