import { describe, expect, test } from 'vitest';
import {
  at,
  BB_END,
  bbStart,
  CMP,
  condEnd,
  GGTT_BIT,
  gpr,
  lri,
  lrm,
  pipeControl,
  sdi,
  sdiMany,
  semaphoreWait,
  srm,
} from './assembler.ts';
import type { EngineRig as Rig } from './engine-rig.ts';
import { EngineRig, GGTT, PPGTT } from './engine-rig.ts';

const MISSING = 0x30_0000;
const { batch, data } = PPGTT;

function load(rig: Rig, ...dwords: number[]) {
  rig.ppgtt.put(batch, [...dwords, BB_END]);
  rig.submit(...bbStart(batch));
  return rig.load();
}

describe('an access to the PPGTT that fails', () => {
  test.each<[string, number[], 'read' | 'write']>([
    ['MI_STORE_DATA_IMM', sdi(MISSING, 1), 'write'],
    ['MI_STORE_REGISTER_MEM', srm(gpr(0), MISSING), 'write'],
    ['MI_LOAD_REGISTER_MEM', lrm(gpr(0), MISSING), 'read'],
    ['MI_COPY_MEM_MEM from it', [0x1700_0003, ...at(data), ...at(MISSING)], 'read'],
    ['MI_COPY_MEM_MEM to it', [0x1700_0003, ...at(MISSING), ...at(data)], 'write'],
    ['MI_SEMAPHORE_WAIT', semaphoreWait(MISSING, 0, CMP.EQ), 'read'],
    ['MI_CONDITIONAL_BATCH_BUFFER_END', condEnd(MISSING, 0, CMP.EQ), 'read'],
    ['PIPE_CONTROL', pipeControl((1 << 14) | (1 << 8), MISSING, 1n), 'write'],
    ['the fetch of a batch', bbStart(MISSING), 'read'],
  ])('is reported and can be repeated: %s', (_, command, access) => {
    const rig = new EngineRig();
    const execution = load(rig, ...lri(gpr(0), 5), ...command, ...sdi(data + 8, 1));
    expect(execution.turn(100)).toBe('page-fault');
    expect(execution.fault).toMatchObject({ address: MISSING, access, type: 'not-present' });
    expect(rig.ppgtt.get(data + 8)).toEqual([0]);
    expect(rig.msis).toBe(0);
    // Nothing was done, so it faults again, also after being taken off.
    expect(execution.turn(100)).toBe('page-fault');
    const again = rig.load(execution.save());
    expect(again.turn(100)).toBe('page-fault');
    rig.ppgtt.map(MISSING, 4096);
    if (command.length === 3) rig.ppgtt.put(MISSING, bbStart(batch + 4 * 6));
    expect(again.turn(100)).toBe('idle');
    expect(again.fault).toBeUndefined();
    expect(rig.ppgtt.get(data + 8)).toEqual([1]);
  });

  test('in the middle of a store of many dwords', () => {
    const rig = new EngineRig();
    const last = data + 0x4000 - 8;
    const execution = load(rig, ...sdiMany(last, [1, 2, 3, 4]));
    expect(execution.turn(100)).toBe('page-fault');
    expect(execution.fault?.address).toBe(last + 8);
    rig.ppgtt.map(last + 8, 4096);
    expect(execution.turn(100)).toBe('idle');
    expect(rig.ppgtt.get(last, 4)).toEqual([1, 2, 3, 4]);
  });

  test('because of a page that is read-only', () => {
    const rig = new EngineRig();
    rig.ppgtt.readOnly.add(data);
    const execution = load(rig, ...sdi(data, 1));
    expect(execution.turn(100)).toBe('page-fault');
    expect(execution.fault).toMatchObject({ access: 'write', type: 'write-access-violation' });
  });

  test('in the second half of a command that crosses a page', () => {
    const rig = new EngineRig();
    const start = batch + 0x4000 - 8;
    rig.ppgtt.put(start, sdi(data, 7).slice(0, 2));
    rig.submit(...bbStart(start));
    const execution = rig.load();
    expect(execution.turn(100)).toBe('page-fault');
    expect(execution.fault?.address).toBe(start + 8);
    rig.ppgtt.map(start + 8, 4096).put(start + 8, [...sdi(data, 7).slice(2), BB_END]);
    expect(execution.turn(100)).toBe('idle');
    expect(rig.ppgtt.get(data)).toEqual([7]);
  });
});

describe('nobody repairs', () => {
  test('an access to the GGTT', () => {
    const rig = new EngineRig();
    rig.submit(...sdi(0xf00_0000, 1, GGTT_BIT));
    const execution = rig.load();
    expect(execution.turn(100)).toBe('cat-error');
    expect(execution.fault?.address).toBe(0xf00_0000);
  });

  test('any access of a context without a PPGTT', () => {
    const rig = new EngineRig({ kernel: true });
    expect(rig.runRing(...sdi(MISSING, 1))).toBe('cat-error');
  });

  test('an access that the bus refuses', () => {
    const rig = new EngineRig();
    const execution = load(rig, ...sdi(MISSING, 1));
    Object.defineProperty(rig.ppgtt, 'fault', {
      get: () => ({ address: MISSING, access: 'write', level: 0, type: 'bus-error' }),
      set: () => undefined,
    });
    expect(execution.turn(100)).toBe('cat-error');
  });

  test('a batch in the GGTT that is not there', () => {
    const rig = new EngineRig();
    rig.submit(...bbStart(GGTT.batch + 0x10_0000, 0), 0);
    expect(rig.run()).toBe('cat-error');
  });
});
