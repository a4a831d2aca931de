import { describe, expect, test } from 'vitest';
import {
  BB,
  BB_END,
  bbStart,
  CMP,
  condEnd,
  GGTT_BIT,
  gpr,
  lri,
  lriQword,
  NOOP,
  sdi,
  setPredicate,
} from './assembler.ts';
import { EngineRig, GGTT, PPGTT } from './engine-rig.ts';

const { batch, second, data } = PPGTT;

/** Offsets of dwords in the data page that commands of a test set to 1. */
function marks(rig: EngineRig, count: number): number[] {
  return rig.ppgtt.get(data, count);
}
const mark = (index: number) => sdi(data + index * 4, 1);

describe('batches', () => {
  test('the ring goes on behind a batch', () => {
    const rig = new EngineRig();
    rig.ppgtt.put(batch, [...mark(0), BB_END, ...mark(1)]);
    rig.submit(...bbStart(batch), ...mark(2));
    expect(rig.run()).toBe('idle');
    expect(marks(rig, 3)).toEqual([1, 0, 1]);
  });

  test('a chained batch does not return', () => {
    const rig = new EngineRig();
    rig.ppgtt.put(second, [...mark(0), BB_END]);
    rig.runBatch(...bbStart(second), ...mark(1));
    expect(marks(rig, 2)).toEqual([1, 0]);
  });

  test('a nested batch returns', () => {
    const rig = new EngineRig();
    rig.ppgtt.put(second, [...mark(0), BB_END]);
    rig.runBatch(...bbStart(second, BB.PPGTT | BB.NESTED), ...mark(1));
    expect(marks(rig, 2)).toEqual([1, 1]);
  });

  test('in the second level a nested batch is chained, unless MI_MODE allows more', () => {
    for (const isDeep of [false, true]) {
      const rig = new EngineRig();
      const third = second + 0x100;
      rig.ppgtt.put(second, [...bbStart(third, BB.PPGTT | BB.NESTED), ...mark(0), BB_END]);
      rig.ppgtt.put(third, [...mark(1), BB_END]);
      if (isDeep) rig.submit(...lri(0x9c, 0x1000_1000));
      rig.runBatch(...bbStart(second, BB.PPGTT | BB.NESTED), ...mark(2));
      expect(marks(rig, 3), `deep: ${isDeep}`).toEqual([isDeep ? 1 : 0, 1, 1]);
    }
  });

  test('nesting ends where the levels do', () => {
    const rig = new EngineRig();
    rig.submit(...lri(0x9c, 0x1000_1000));
    rig.ppgtt.put(batch, [...bbStart(batch, BB.PPGTT | BB.NESTED), BB_END]);
    rig.submit(...bbStart(batch));
    expect(rig.run(1000)).toBe('more');
  });

  test('an indirect batch starts where CS_GPR_R0 says', () => {
    const rig = new EngineRig();
    rig.ppgtt.put(second, [...mark(0), BB_END]);
    rig.runBatch(
      ...lriQword(gpr(0), BigInt(second)),
      ...bbStart(0x1000, BB.PPGTT | BB.INDIRECT),
      ...mark(1),
    );
    expect(marks(rig, 2)).toEqual([1, 0]);
  });

  test('a batch in the GGTT', () => {
    const rig = new EngineRig();
    rig.ggtt.put(GGTT.batch, [...sdi(GGTT.data, 7, GGTT_BIT), ...mark(0), BB_END]);
    rig.submit(...bbStart(GGTT.batch, 0));
    expect(rig.run()).toBe('idle');
    expect(rig.ggtt.get(GGTT.data)).toEqual([7]);
    expect(marks(rig, 1)).toEqual([1]);
  });

  test('MI_BATCH_BUFFER_END in the ring is nothing', () => {
    const rig = new EngineRig();
    expect(rig.runRing(BB_END, NOOP, ...mark(0))).toBe('idle');
    expect(marks(rig, 1)).toEqual([1]);
  });

  test('a loop sees what the processor writes into it', () => {
    for (const indirect of [false, true]) {
      const rig = new EngineRig();
      rig.ppgtt.indirect = indirect;
      rig.ppgtt.put(batch, [NOOP, ...bbStart(batch)]);
      rig.submit(...bbStart(batch));
      const execution = rig.load();
      expect(execution.turn(100)).toBe('more');
      rig.ppgtt.put(batch, [BB_END]);
      expect(execution.turn(100)).toBe('idle');
    }
  });

  test('a batch that changes itself sees it at once', () => {
    for (const indirect of [false, true]) {
      const rig = new EngineRig();
      rig.ppgtt.indirect = indirect;
      rig.runBatch(...sdi(batch + 16, BB_END), NOOP, ...mark(0));
      expect(marks(rig, 1)).toEqual([0]);
    }
  });
});

describe('MI_CONDITIONAL_BATCH_BUFFER_END', () => {
  test.each([
    ['GT', CMP.GT, [false, false, true]],
    ['GTE', CMP.GTE, [false, true, true]],
    ['LT', CMP.LT, [true, false, false]],
    ['LTE', CMP.LTE, [true, true, false]],
    ['EQ', CMP.EQ, [false, true, false]],
    ['NEQ', CMP.NEQ, [true, false, true]],
  ])('goes on while memory is %s', (_, operation, goesOn) => {
    for (const [index, value] of [1, 0x8000_0000, 0xffff_ffff].entries()) {
      const rig = new EngineRig();
      rig.ppgtt.put(data + 64, [value]);
      rig.runBatch(...condEnd(data + 64, 0x8000_0000, operation), ...mark(0));
      expect(marks(rig, 1)[0] === 1, `${value}`).toBe(goesOn[index]);
    }
  });

  test('compares by a mask behind the value', () => {
    for (const [mask, goesOn] of [
      [0xff00, 1],
      [0x00ff, 0],
    ] as const) {
      const rig = new EngineRig();
      rig.ppgtt.put(data + 64, [0x1234, mask]);
      rig.runBatch(...condEnd(data + 64, 0x1200, CMP.EQ, 1 << 19), ...mark(0));
      expect(marks(rig, 1)).toEqual([goesOn]);
    }
  });

  test('ends every level, or with bit 18 its own', () => {
    for (const [flag, expected] of [
      [0, [0, 0, 1]],
      [1 << 18, [0, 1, 1]],
    ] as const) {
      const rig = new EngineRig();
      rig.ppgtt.put(second, [...condEnd(data + 64, 0, CMP.GT, flag), ...mark(0), BB_END]);
      rig.ppgtt.put(batch, [...bbStart(second, BB.PPGTT | BB.NESTED), ...mark(1), BB_END]);
      rig.submit(...bbStart(batch), ...mark(2));
      expect(rig.run()).toBe('idle');
      expect(marks(rig, 3)).toEqual(expected);
    }
  });
});

describe('predicates', () => {
  test.each([
    [0, 0, 0, true],
    [1, 0, 0, false],
    [1, 1, 0, true],
    [2, 0, 0, true],
    [2, 1, 0, false],
    [3, 0, 0, false],
    [3, 0, 1, true],
    [4, 0, 0, true],
    [4, 0, 1, false],
    [15, 1, 1, false],
    // By the workload partition, which is 0.
    [0x10, 0, 0, false],
    [0x20, 0, 0, true],
  ])('MI_SET_PREDICATE %i with RESULT_2 %i and RESULT %i', (mode, result2, result, executes) => {
    const rig = new EngineRig();
    rig.runBatch(
      ...lri(0x3bc, result2, 0x418, result),
      setPredicate(mode),
      ...mark(0),
      setPredicate(0),
      ...mark(1),
    );
    expect(marks(rig, 2)).toEqual([executes ? 1 : 0, 1]);
  });

  test('a jump as Mesa makes it', () => {
    for (const taken of [0, 1]) {
      const rig = new EngineRig();
      rig.ppgtt.put(second, [setPredicate(0), ...mark(0), BB_END]);
      rig.runBatch(
        ...lri(0x418, taken),
        setPredicate(3),
        ...bbStart(second, BB.PPGTT | BB.PREDICATED),
        setPredicate(0),
        ...mark(1),
      );
      expect(marks(rig, 2)).toEqual([taken, 1 - taken]);
    }
  });

  test('a batch that ends predicated leaves the ring alone', () => {
    const rig = new EngineRig();
    rig.ppgtt.put(batch, [setPredicate(15), BB_END]);
    rig.ppgtt.put(second, [...mark(0), BB_END]);
    rig.submit(...bbStart(batch), ...bbStart(second), ...mark(1));
    expect(rig.run()).toBe('idle');
    expect(marks(rig, 2)).toEqual([1, 1]);
  });

  /** MI_PREDICATE: load, combine and compare operations. */
  const predicate = (load: number, combine: number, compare: number) =>
    0x0600_0000 | (load << 6) | (combine << 3) | compare;
  const LOAD = 2;
  const LOADINV = 3;
  const EQUAL = 2;

  test.each([
    ['SET equal', predicate(LOAD, 0, EQUAL), 0, true, 1],
    ['SET different', predicate(LOAD, 0, EQUAL), 1, false, 0],
    ['inverted', predicate(LOADINV, 0, EQUAL), 0, false, 1],
    ['AND', predicate(LOAD, 1, EQUAL), 0, true, 0],
    ['AND of both', predicate(LOAD, 1, EQUAL), 1, true, 1],
    ['OR', predicate(LOAD, 2, EQUAL), 1, false, 1],
    ['XOR', predicate(LOAD, 3, EQUAL), 1, true, 0],
    ['the inverse of the result', predicate(LOADINV, 2, 1), 1, false, 0],
    ['true', predicate(LOAD, 0, 0), 0, false, 1],
    ['kept', predicate(0, 0, EQUAL), 1, false, 1],
  ])('MI_PREDICATE: %s', (_, header, before, isEqual, result) => {
    const rig = new EngineRig();
    rig.runBatch(
      ...lri(0x418, before),
      ...lriQword(0x400, 0x1_0000_0005n),
      ...lriQword(0x408, isEqual ? 0x1_0000_0005n : 5n),
      header,
      0x1208_0002,
      0x418,
      data,
      0,
    );
    expect(marks(rig, 1)).toEqual([result]);
  });

  test('MI_PREDICATE compares the difference of its sources', () => {
    for (const [difference, result] of [
      [0xffff_ffff_ffff_fffen, 1],
      [2n, 0],
    ] as const) {
      const rig = new EngineRig();
      rig.runBatch(
        ...lriQword(0x400, 0x1_0000_0000n),
        ...lriQword(0x408, 0x1_0000_0002n),
        ...lriQword(0x410, difference),
        predicate(LOAD, 0, 3),
        0x1208_0002,
        0x418,
        data,
        0,
      );
      expect(marks(rig, 1)).toEqual([result]);
    }
  });
});
