import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CONTROL_BIT, type ControlBit, ControlState } from '../../src/pf/control-bits.ts';
import type { PfEvent } from '../../src/pf/pf-event.ts';
import { hxgAction, hxgEvent } from '../../src/xe/guc/hxg.ts';
import {
  GUC2PF_ACTION,
  PF2GUC_ACTION,
  VF_CFG_KLV,
  VF_CONTROL_COMMAND,
  VF_NOTIFY,
} from '../../src/xe/guc/pf-actions.ts';
import type { FakeGuc } from './fake-guc.ts';
import { GoldenDevice } from './golden-device.ts';
import { goldenJson } from './golden-files.ts';

function gucOf(device: GoldenDevice, gt: number): FakeGuc {
  const guc = device.gts[gt]?.guc;
  if (guc === undefined) throw new Error(`no GT ${gt}`);
  return guc;
}

/** The control commands that a GuC was sent, as `VF1 PAUSE`. */
function commands(guc: FakeGuc): string[] {
  const names = Object.entries(VF_CONTROL_COMMAND);
  return guc.sent
    .filter(([header = 0]) => hxgAction(header) === PF2GUC_ACTION.VF_CONTROL.action)
    .map(([, vfid, command]) => `VF${vfid} ${names.find(([, n]) => n === command)?.[0]}`);
}

describe('the state bits', () => {
  it('have the numbers of Linux', () => {
    const { state_bits } = goldenJson<{ state_bits: object }>('control_scenarios.json');
    expect(CONTROL_BIT).toEqual(state_bits);
  });

  it('are a set', () => {
    const bits = Object.keys(CONTROL_BIT) as ControlBit[];
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom(...bits), fc.boolean())), (changes) => {
        const state = new ControlState();
        const model = new Set<ControlBit>();
        for (const [bit, enter] of changes) {
          expect(enter ? state.enter(bit) : state.exit(bit)).toBe(enter !== model.has(bit));
          if (enter) model.add(bit);
          else model.delete(bit);
          expect(state.has(bit)).toBe(enter);
        }
        expect(new Set(state.names())).toEqual(model);
      }),
    );
  });
});

describe('the worker', () => {
  it('takes one step of each VF in turn', async () => {
    const device = new GoldenDevice('ptl', { vfs: 3 });
    const guc = gucOf(device, 0);
    const resets = [1, 2, 3].map((vfid) => device.run(() => device.pf.control.resetVf(vfid)));
    expect(await Promise.all(resets)).toMatchObject([{}, {}, {}].map(() => ({ value: undefined })));
    expect(commands(guc)).toEqual([
      'VF1 FLR_START',
      'VF2 FLR_START',
      'VF3 FLR_START',
      'VF1 FLR_FINISH',
      'VF2 FLR_FINISH',
      'VF3 FLR_FINISH',
    ]);
  });

  it('asks again when firmware is busy, and leaves it alone meanwhile', async () => {
    const device = new GoldenDevice('ptl');
    gucOf(device, 0).busy = 7;
    await device.must(() => device.pf.control.operate(1, 'pause'));
    expect(commands(gucOf(device, 0))).toHaveLength(8);
    expect(device.clock.now()).toBe(7);
  });

  it('gives the caller up, not the command, when firmware stays busy', async () => {
    const device = new GoldenDevice('ptl', { singleGt: true });
    const guc = gucOf(device, 0);
    guc.busy = 5000;
    const fault = await device.fails(() => device.pf.control.operate(1, 'pause'));
    expect(fault.code).toBe('ETIMEDOUT');
    expect((await device.fails(() => device.pf.control.operate(1, 'pause'))).code).toBe('EALREADY');
    guc.busy = 0;
    device.clock.fireNext();
    device.jobs.drain();
    expect(device.pf.control.states(1)).toEqual([['PAUSED']]);
  });

  it('takes an answer that is not zero for a broken protocol', async () => {
    const device = new GoldenDevice('ptl', { singleGt: true });
    const guc = gucOf(device, 0);
    guc.send = () => 1;
    const fault = await device.fails(() => device.pf.control.operate(1, 'stop'));
    expect(fault).toMatchObject({ code: 'EIO', cause: { code: 'EPROTO' } });
    expect(device.pf.control.states(1)).toEqual([['STOP_FAILED']]);
  });
});

describe('firmware’s events', () => {
  const NOTIFY = hxgEvent(GUC2PF_ACTION.VF_STATE_NOTIFY.action);

  it('that are malformed are refused', () => {
    const device = new GoldenDevice('ptl');
    const refusals: string[] = [];
    device.pf.events.on((event: PfEvent) => {
      if (event.type === 'message-refused') refusals.push(event.cause.code);
    });
    const guc = gucOf(device, 1);
    guc.event(NOTIFY, 1);
    guc.event(NOTIFY, 1, 2, 3);
    guc.event((NOTIFY | (1 << 16)) >>> 0, 1, VF_NOTIFY.FLR);
    guc.event(NOTIFY, 64, VF_NOTIFY.FLR);
    guc.event(NOTIFY, 1, 5);
    guc.event(NOTIFY, 0, 2);
    guc.event(hxgEvent(0x1234), 1);
    guc.event(hxgEvent(GUC2PF_ACTION.ADVERSE_EVENT.action), 1);
    guc.event();
    expect(refusals).toEqual([
      'EPROTO',
      'EPROTO',
      'EPFNOSUPPORT',
      'EPROTO',
      'ENOPKG',
      'ENOPKG',
      'EOPNOTSUPP',
      'EPROTO',
      'EOPNOTSUPP',
    ]);
    guc.event(NOTIFY, 0, 1);
    guc.notify(1, VF_NOTIFY.FIXUP_DONE);
    expect(refusals).toHaveLength(9);
    expect(device.pf.control.states(1)).toEqual([[], []]);
  });

  it('that come out of order are a mismatch, which the next success wipes out', async () => {
    const device = new GoldenDevice('ptl');
    for (const event of [VF_NOTIFY.PAUSE_DONE, VF_NOTIFY.FLR_DONE]) {
      gucOf(device, 1).notify(1, event);
      expect(device.pf.control.states(1)).toEqual([[], ['MISMATCH']]);
      await device.must(() => device.pf.control.resetVf(1));
      expect(device.pf.control.states(1)).toEqual([[], []]);
    }
  });

  it('about adverse events name the threshold', () => {
    const device = new GoldenDevice('ptl');
    const events: PfEvent[] = [];
    device.pf.events.on((event) => events.push(event));
    const adverse = hxgEvent(GUC2PF_ACTION.ADVERSE_EVENT.action);
    gucOf(device, 0).event(adverse, 2, VF_CFG_KLV.THRESHOLD_PAGE_FAULT.key);
    gucOf(device, 1).event(adverse, 2, 0x1);
    expect(events).toEqual([
      { type: 'adverse-event', vfid: 2, gt: 0, threshold: 'PAGE_FAULT' },
      { type: 'adverse-event', vfid: 2, gt: 1, threshold: undefined },
    ]);
  });
});

describe('a reset', () => {
  it('waits for all GTs before the PF touches what the VF has', async () => {
    const device = new GoldenDevice('ptl');
    device.fill(1);
    gucOf(device, 1).answersDone = false;
    const pending = device.pf.control.resetVf(1);
    device.jobs.drain();
    expect(device.pf.control.states(1)).toEqual([
      ['WIP', 'FLR_WIP', 'FLR_SYNC'],
      ['WIP', 'FLR_WIP', 'FLR_WAIT_GUC'],
    ]);
    expect(device.gts[0]?.readVfFlag(1, 0)).not.toBe(0);
    gucOf(device, 1).notify(1, VF_NOTIFY.FLR_DONE);
    await device.must(() => pending);
    expect(device.gts.map((gt) => gt.readVfFlag(1, 0))).toEqual([0, 0]);
  });

  it('wins over a pause in progress, which is cancelled', async () => {
    const device = new GoldenDevice('ptl', { singleGt: true });
    const guc = gucOf(device, 0);
    guc.answersDone = false;
    const pause = device.pf.control.operate(1, 'pause');
    pause.catch(() => undefined);
    device.jobs.drain();
    guc.answersDone = true;
    await device.must(() => device.pf.control.resetVf(1));
    await expect(pause).rejects.toMatchObject({ code: 'ECANCELED' });
    expect(device.pf.control.states(1)).toEqual([[]]);
  });

  it('goes on when a stop that came too late is refused', async () => {
    const device = new GoldenDevice('ptl');
    const [main, media] = [gucOf(device, 0), gucOf(device, 1)];
    media.answersDone = false;
    const reset = device.pf.control.resetVf(1);
    device.jobs.drain();
    main.errors.control = 'EIO';
    const stop = device.pf.control.operate(1, 'stop');
    stop.catch(() => undefined);
    device.jobs.drain();
    delete main.errors.control;
    expect(device.pf.control.states(1)[0]).toContain('FLR_WIP');
    media.notify(1, VF_NOTIFY.FLR_DONE);
    await device.must(() => reset);
    await device.run(() => stop.catch(() => undefined));
    expect(device.pf.control.states(1)[0]).toEqual([]);
  });

  it('is told by an event of firmware alone, too', () => {
    const device = new GoldenDevice('ptl');
    const outcomes: string[] = [];
    device.pf.events.on((event) => {
      if (event.type === 'control') outcomes.push(`GT${event.gt} ${event.outcome}`);
    });
    for (const { guc } of device.gts) {
      guc.notify(1, VF_NOTIFY.FLR);
      guc.notify(1, VF_NOTIFY.FLR);
    }
    device.jobs.drain();
    expect(outcomes.sort()).toEqual([
      'GT0 flr-begun',
      'GT0 flr-done',
      'GT1 flr-begun',
      'GT1 flr-done',
    ]);
  });

  it('that fails can be repeated', async () => {
    const device = new GoldenDevice('ptl');
    gucOf(device, 1).errors.control = 'EIO';
    expect((await device.fails(() => device.pf.control.resetVf(1))).code).toBe('EUCLEAN');
    delete gucOf(device, 1).errors.control;
    // GT0 still waits at the checkpoint, so it refuses to begin, but goes on.
    expect((await device.fails(() => device.pf.control.resetVf(1))).code).toBe('EUCLEAN');
    expect(device.pf.control.states(1)).toEqual([[], []]);
    await device.must(() => device.pf.control.resetVf(1));
  });
});
