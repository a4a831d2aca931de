import { describe, expect, test } from 'vitest';
import { GGTT_BIT, NOOP, sdi } from './assembler.ts';
import { EngineRig, GGTT } from './engine-rig.ts';

const store = (index: number) => sdi(GGTT.data + index * 4, index + 1, GGTT_BIT);

describe('the ring', () => {
  test('is idle when HEAD is TAIL', () => {
    expect(new EngineRig().run()).toBe('idle');
  });

  test('wraps, with commands that cross its end', () => {
    const ringSize = 4096;
    for (const before of [8, 24, 40]) {
      const rig = new EngineRig({ ringSize, head: ringSize - before });
      // The commands are four dwords, so that the first one or its neighbour crosses the end.
      rig.submit(...store(0), ...store(1), ...store(2));
      expect(rig.run()).toBe('idle');
      expect(rig.ggtt.get(GGTT.data, 3)).toEqual([1, 2, 3]);
      expect(rig.reg(5)).toBe(0x0020_0000 | (48 - before));
    }
  });

  test('counts in HEAD how often it wrapped', () => {
    const ringSize = 4096;
    const rig = new EngineRig({ ringSize });
    const execution = rig.load();
    for (let round = 0; round < 600; round++) {
      rig.submit(...store(0), ...store(1));
      expect(execution.turn(100)).toBe('idle');
    }
    execution.save();
    expect(rig.reg(5)).toBe(((600 * 32) % ringSize) | (Math.floor((600 * 32) / ringSize) << 21));
  });

  test('has commands that cross its pages', () => {
    const rig = new EngineRig({ head: 4096 - 8 });
    rig.submit(...store(0), ...store(1));
    expect(rig.run()).toBe('idle');
    expect(rig.ggtt.get(GGTT.data, 2)).toEqual([1, 2]);
  });

  test('executes what is appended while it runs', () => {
    const rig = new EngineRig();
    const execution = rig.load();
    expect(execution.turn(10)).toBe('idle');
    rig.submit(...store(0));
    expect(execution.turn(10)).toBe('idle');
    rig.submit(...store(1));
    expect(execution.turn(10)).toBe('idle');
    expect(rig.ggtt.get(GGTT.data, 2)).toEqual([1, 2]);
  });

  test('waits for the rest of a command', () => {
    const rig = new EngineRig();
    rig.submit(...store(0).slice(0, 2));
    const execution = rig.load();
    expect(execution.turn(10)).toBe('idle');
    expect(rig.ggtt.get(GGTT.data)).toEqual([0]);
    rig.submit(...store(0).slice(2));
    expect(execution.turn(10)).toBe('idle');
    expect(rig.ggtt.get(GGTT.data)).toEqual([1]);
  });

  test('stops at its budget and goes on', () => {
    const rig = new EngineRig();
    rig.submit(...store(0), NOOP, NOOP, ...store(1));
    const execution = rig.load();
    expect(execution.turn(2)).toBe('more');
    expect(rig.ggtt.get(GGTT.data, 2)).toEqual([1, 0]);
    expect(execution.turn(2)).toBe('more');
    expect(execution.turn(2)).toBe('idle');
    expect(rig.ggtt.get(GGTT.data, 2)).toEqual([1, 2]);
  });

  test('whose TAIL leaves it is a catastrophic error', () => {
    const rig = new EngineRig({ ringSize: 4096 });
    const execution = rig.load();
    rig.setReg(7, 8192);
    expect(execution.turn(10)).toBe('cat-error');
  });

  test('that is not mapped is a catastrophic error', () => {
    const rig = new EngineRig();
    rig.submit(...store(0));
    rig.ggtt.pages.delete(GGTT.ring);
    const execution = rig.load();
    expect(execution.turn(10)).toBe('cat-error');
    expect(execution.fault).toMatchObject({ address: GGTT.ring, type: 'not-present' });
  });
});
