import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ControlBit, WIP_GROUPS } from '../../src/pf/control-bits.ts';
import { VF_NOTIFY } from '../../src/xe/guc/pf-actions.ts';
import type { FakeGuc } from './fake-guc.ts';
import { GoldenDevice } from './golden-device.ts';
import { golden } from './golden-files.ts';

function gucOf(device: GoldenDevice, gt: number): FakeGuc {
  const guc = device.gts[gt]?.guc;
  if (guc === undefined) throw new Error(`no GT ${gt}`);
  return guc;
}

describe('any order of requests, answers and failures', () => {
  const WIP = Object.keys(WIP_GROUPS) as ControlBit[];
  const stream = golden('streams/ptl_min.bin');
  const action = fc.constantFrom(
    'pause',
    'resume',
    'stop',
    'reset',
    'prepare',
    'flr-event',
    'pause-done',
    'flr-done',
    'save',
    'finish-save',
    'abort-save',
    'restore',
    'finish-restore',
    'read',
    'write',
    'run-one',
    'drain',
    'time',
    'break',
    'mend',
    'silent',
    'talk',
  );

  it('leaves no work without WIP, and a VF that a reset recovers', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(action, fc.nat(1)), { maxLength: 60 }), async (steps) => {
        const device = new GoldenDevice('ptl');
        const { control, migration, sriovVfio } = device.pf;
        const pending: Array<Promise<unknown>> = [];
        const start = (operation: () => unknown) =>
          pending.push(
            Promise.resolve()
              .then(operation)
              .catch(() => undefined),
          );
        const perform = (name: string, gt: number): unknown => {
          const guc = gucOf(device, gt);
          switch (name) {
            case 'pause':
            case 'resume':
            case 'stop':
              return start(() => control.operate(1, name));
            case 'reset':
              return start(() => control.resetVf(1));
            case 'prepare':
              return start(() => control.prepareFlr(1));
            case 'flr-event':
              return guc.notify(1, VF_NOTIFY.FLR);
            case 'pause-done':
              return guc.notify(1, VF_NOTIFY.PAUSE_DONE);
            case 'flr-done':
              return guc.notify(1, VF_NOTIFY.FLR_DONE);
            case 'save':
              return start(() => migration.beginSave(1));
            case 'finish-save':
              return start(() => migration.finishSave(1));
            case 'abort-save':
              return start(() => sriovVfio.stopCopyExit(1));
            case 'restore':
              return start(() => migration.beginRestore(1));
            case 'finish-restore':
              return start(() => migration.finishRestore(1));
            case 'read':
              return start(() => migration.vf(1).read(100));
            case 'write':
              return start(() => migration.vf(1).write(stream));
            case 'run-one':
              return device.jobs.runOne();
            case 'drain':
              return device.jobs.drain();
            case 'time':
              return device.clock.fireNext();
            case 'break':
              guc.errors.control = 'EIO';
              guc.errors.save = 'EIO';
              guc.errors.restore = 'EIO';
              return undefined;
            case 'mend':
              for (const kind of ['control', 'save', 'restore'] as const) delete guc.errors[kind];
              return undefined;
            default:
              guc.answersDone = name === 'talk';
              return undefined;
          }
        };
        for (const [name, gt] of steps) {
          perform(name, gt);
          await Promise.resolve();
          await Promise.resolve();
          for (const bits of control.states(1)) {
            const working = bits.some((bit) => WIP.includes(bit));
            if (!bits.includes('WIP')) expect(working, bits.join('+')).toBe(false);
          }
        }
        // Whatever happened: firmware that works again and a reset make the VF as new.
        for (const { guc } of device.gts) {
          for (const kind of ['control', 'save', 'restore'] as const) delete guc.errors[kind];
          guc.answersDone = true;
        }
        device.jobs.drain();
        for (const [id, { guc }] of device.gts.entries())
          if (control.states(1)[id]?.includes('FLR_WAIT_GUC')) guc.notify(1, VF_NOTIFY.FLR_DONE);
        await device.run(() => Promise.all(pending));
        // After one that failed a reset answers at once, with its workers still at it, as in Linux.
        await device.run(() => control.resetVf(1));
        device.jobs.drain();
        await device.must(() => control.resetVf(1));
        expect(control.states(1)).toEqual([[], []]);
        await device.must(() => sriovVfio.suspendDevice(1));
        await device.must(() => sriovVfio.stopCopyEnter(1));
        const views = await device.must(() => sriovVfio.dataRead(1, 1000));
        expect(Buffer.concat(views)).toHaveLength(440);
        await device.must(() => sriovVfio.stopCopyExit(1));
        await device.must(() => sriovVfio.resumeDevice(1));
        expect(device.gts.map(({ guc }) => guc.heldBuffers)).toEqual([0, 0]);
      }),
      {
        numRuns: 200,
        examples: [
          [
            [
              ['pause', 0],
              ['flr-event', 0],
              ['break', 0],
              ['run-one', 0],
            ],
          ],
        ],
      },
    );
  });
});
