import { afterEach, describe, expect, it } from 'vitest';
import { Fault } from '../../../src/base/fault.ts';
import type { EmulatedGpu } from '../../../src/gpu/emulated-gpu.ts';
import { PF2GUC_ACTION, VF_CONTROL_COMMAND, VF_NOTIFY } from '../../../src/xe/guc/pf-actions.ts';
import {
  control,
  driverInGuestMemory,
  gtOf,
  makeGpu,
  queryState,
  restoreState,
  saveState,
} from '../vf-driver.ts';

const open: Array<{ close(): void }> = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

function gpuWithEvents() {
  const tasks: Array<() => void> = [];
  const gpu = makeGpu({ schedule: (task) => tasks.push(task) });
  open.push(gpu);
  const events: number[][] = [];
  for (const gt of [0, 1])
    gtOf(gpu, gt).guc.onEvent(([, vfid = 0, event = 0]) => events.push([gt, vfid, event]));
  const run = () => {
    for (const task of tasks.splice(0)) task();
    return events.splice(0);
  };
  return { gpu, run };
}

function code(run: () => unknown): string {
  try {
    run();
    return 'ok';
  } catch (error) {
    if (error instanceof Fault) return error.code;
    throw error;
  }
}

describe('VF_CONTROL', () => {
  it('tells of pause and reset after the answer', () => {
    const { gpu, run } = gpuWithEvents();
    expect(control(gpu, 0, 'PAUSE')).toBe(0);
    expect(control(gpu, 1, 'PAUSE', 2)).toBe(0);
    expect(run()).toEqual([
      [0, 1, VF_NOTIFY.PAUSE_DONE],
      [1, 2, VF_NOTIFY.PAUSE_DONE],
    ]);
    expect(control(gpu, 0, 'RESUME')).toBe(0);
    expect(control(gpu, 0, 'STOP')).toBe(0);
    expect(run()).toEqual([]);
    expect(control(gpu, 0, 'FLR_START')).toBe(0);
    expect(run()).toEqual([[0, 1, VF_NOTIFY.FLR_DONE]]);
    expect(control(gpu, 0, 'FLR_FINISH')).toBe(0);
    expect(control(gpu, 0, 'PAUSE')).toBe(0);
  });

  it('refuses what does not fit the state of the VF', () => {
    const { gpu } = gpuWithEvents();
    expect(() => control(gpu, 0, 'RESUME')).toThrow(/GuC of GT 0 refused: .*INVALID_STATE/);
    control(gpu, 0, 'PAUSE');
    expect(code(() => control(gpu, 0, 'PAUSE'))).toBe('EIO');
    expect(code(() => control(gpu, 0, 'FLR_FINISH'))).toBe('EIO');
    control(gpu, 0, 'STOP');
    expect(code(() => control(gpu, 0, 'RESUME'))).toBe('EIO');
  });

  it('refuses VFs, commands and lengths that do not exist', () => {
    const { gpu } = gpuWithEvents();
    const { guc } = gtOf(gpu, 0);
    expect(() => control(gpu, 0, 'PAUSE', 0)).toThrow(/INVALID_VFID/);
    expect(() => control(gpu, 0, 'PAUSE', 64)).toThrow(/INVALID_VFID/);
    expect(() => guc.send([PF2GUC_ACTION.VF_CONTROL.action, 1, 9])).toThrow(/INVALID_PARAMS/);
    expect(() => guc.send([PF2GUC_ACTION.VF_CONTROL.action, 1])).toThrow(/INVALID_SIZE/);
    expect(() => guc.send([0x4321])).toThrow(/UNKNOWN_ACTION/);
    expect(code(() => guc.send([]))).toBe('EIO');
  });

  it('lets a VF forget all that its driver set up when it is reset', () => {
    const { gpu } = gpuWithEvents();
    const before = gpu.digests(1).guc;
    driverInGuestMemory(gpu).boot();
    expect(gpu.digests(1).guc).not.toBe(before);
    control(gpu, 0, 'FLR_START');
    control(gpu, 0, 'FLR_FINISH');
    expect(gpu.digests(1).guc).toBe(before);
  });
});

describe('SAVE_RESTORE_VF', () => {
  it('tells the size at any time, and saves and restores only a paused VF', () => {
    const { gpu } = gpuWithEvents();
    const dwords = queryState(gpu, 0);
    expect(dwords).toBeGreaterThan(0);
    expect(() => saveState(gpu, 0)).toThrow(/INVALID_STATE/);
    control(gpu, 0, 'PAUSE');
    const state = saveState(gpu, 0);
    expect(state.length).toBe(dwords * 4);
    expect(restoreState(gpu, 0, state)).toBe(dwords);
    control(gpu, 0, 'RESUME');
    expect(() => restoreState(gpu, 0, state)).toThrow(/INVALID_STATE/);
  });

  it('refuses a buffer that is too small or is none', () => {
    const { gpu } = gpuWithEvents();
    control(gpu, 0, 'PAUSE');
    const { guc } = gtOf(gpu, 0);
    const buffer = guc.buffer(8);
    const { action } = PF2GUC_ACTION.SAVE_RESTORE_VF;
    const save = (address: number, dwords: number) => guc.send([action, 1, address, 0, dwords]);
    expect(() => save(buffer.ggttAddress, 2)).toThrow(/DATA_TOO_LARGE/);
    expect(() => save(buffer.ggttAddress, 1000)).toThrow(/INVALID_BUFFER_RANGE/);
    expect(() => save(0x1000, 1000)).toThrow(/INVALID_BUFFER_RANGE/);
    expect(() => guc.send([action | (2 << 16), 1, 0, 0, 0])).toThrow(/INVALID_PARAMS/);
    buffer.release();
  });

  it('changes nothing when a state is refused', () => {
    const { gpu } = gpuWithEvents();
    driverInGuestMemory(gpu).boot();
    control(gpu, 0, 'PAUSE');
    const before = gpu.digests(1).guc;
    const state = saveState(gpu, 0);
    state[40] = (state[40] ?? 0) ^ 1;
    expect(() => restoreState(gpu, 0, state)).toThrow(/GuC state refused: its checksum/);
    expect(gpu.digests(1).guc).toBe(before);
    // And the VF goes on, with nothing to recover from.
    control(gpu, 0, 'RESUME');
    expect(code(() => control(gpu, 0, 'PAUSE'))).toBe('ok');
  });
});

describe('faults', () => {
  const errorsOf = (gpu: EmulatedGpu, gt: number) =>
    (['PAUSE', 'RESUME'] as const).map((command) => code(() => control(gpu, gt, command)));

  it('strike the GT, VF and command they name, as often as they say', () => {
    const { gpu } = gpuWithEvents();
    gpu.faults.add({
      kind: 'vf-control',
      gt: 1,
      vfid: 1,
      command: VF_CONTROL_COMMAND.RESUME,
      error: 'EBUSY',
      times: 2,
    });
    expect(errorsOf(gpu, 0)).toEqual(['ok', 'ok']);
    expect(errorsOf(gpu, 1)).toEqual(['ok', 'EBUSY']);
    expect(code(() => control(gpu, 1, 'RESUME'))).toBe('EBUSY');
    expect(code(() => control(gpu, 1, 'RESUME'))).toBe('ok');
  });

  it('can be taken back', () => {
    const { gpu } = gpuWithEvents();
    const takeBack = gpu.faults.add({ kind: 'vf-control', error: 'EIO', times: 9 });
    expect(code(() => control(gpu, 0, 'PAUSE'))).toBe('EIO');
    takeBack();
    expect(code(() => control(gpu, 0, 'PAUSE'))).toBe('ok');
    gpu.faults.add({ kind: 'save-restore', operation: 'save', error: 'ETIME' });
    expect(code(() => queryState(gpu, 0))).toBe('ok');
    expect(code(() => saveState(gpu, 0))).toBe('ETIME');
    expect(code(() => saveState(gpu, 0))).toBe('ok');
    gpu.faults.add({ kind: 'save-restore', error: 'EIO' });
    gpu.faults.clear();
    expect(code(() => queryState(gpu, 0))).toBe('ok');
  });

  it('can lose an event', () => {
    const { gpu, run } = gpuWithEvents();
    gpu.faults.add({ kind: 'drop-event', event: VF_NOTIFY.PAUSE_DONE, gt: 0 });
    control(gpu, 0, 'PAUSE');
    control(gpu, 1, 'PAUSE');
    expect(run()).toEqual([[1, 1, VF_NOTIFY.PAUSE_DONE]]);
  });
});
