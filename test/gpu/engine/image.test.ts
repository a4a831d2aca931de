import { describe, expect, test } from 'vitest';
import { contextLoader } from '../../../src/gpu/engine/context-loader.ts';
import { ARB_ON, BB_END, bbStart, GGTT_BIT, lri, NOOP, sdi, srm } from './assembler.ts';
import { EngineRig, GGTT, PPGTT } from './engine-rig.ts';

const load = (rig: EngineRig, low: number) =>
  contextLoader.load(rig.engine, { low, high: 0 }, rig.host, undefined);

describe('an image is refused', () => {
  test.each<[string, (rig: EngineRig) => void]>([
    ['without a valid ring', (rig) => rig.setReg(0x0b, 0x3000)],
    ['with HEAD outside the ring', (rig) => rig.setReg(0x05, 0x4000)],
    ['with TAIL outside the ring', (rig) => rig.setReg(0x07, 0x4000)],
    ['without the command that it begins with', (rig) => rig.setReg(0x01, 0)],
    ['that is not mapped', (rig) => rig.ggtt.pages.delete(GGTT.regs)],
    [
      'with an indirect ring state that is not mapped',
      (rig) => {
        rig.setReg(0x03, 0x0019_0019);
        rig.setReg(0x27, 0x90_0000);
      },
    ],
  ])('%s', (_, spoil) => {
    const rig = new EngineRig();
    expect(load(rig, GGTT.lrc + 0x119)).toBeDefined();
    spoil(rig);
    expect(load(rig, GGTT.lrc + 0x119)).toBeUndefined();
  });

  test('by a descriptor that is not valid', () => {
    expect(load(new EngineRig(), GGTT.lrc + 0x118)).toBeUndefined();
  });
});

describe('taking a context off', () => {
  test('writes HEAD, time and where it is in a batch', () => {
    const rig = new EngineRig();
    rig.setReg(0x23, 100);
    rig.ppgtt.put(PPGTT.batch, [NOOP, NOOP, ...bbStart(PPGTT.batch)]);
    rig.submit(...bbStart(PPGTT.batch));
    const execution = rig.load();
    rig.now += 50n;
    execution.turn(3);
    execution.save();
    expect(rig.reg(0x05)).toBe(12);
    expect([rig.reg(0x23), rig.reg(0x25)]).toEqual([150, 0]);
    expect([rig.reg(0x0f), rig.reg(0x0d)]).toEqual([8, 1]);
  });

  test('counts only the time on the engine', () => {
    const rig = new EngineRig();
    for (let turn = 0; turn < 3; turn++) {
      const execution = rig.load();
      rig.now += 10n;
      execution.save();
      rig.now += 1000n;
    }
    expect(rig.reg(0x23)).toBe(30);
  });

  test('writes the engine state as the commands that load it', () => {
    const rig = new EngineRig();
    rig.runBatch(...lri(0x604, 0xabcd, 0x400, 7));
    const state = rig.ggtt.get(GGTT.regs + 0x60 * 4, 73);
    const expected: number[] = [0x1108_1000 | (34 * 2 - 1)];
    for (let index = 0; index < 32; index++)
      expected.push(0x600 + index * 4, index === 1 ? 0xabcd : 0);
    expected.push(0x178, 1, 0x400, 7, 0x0500_0001, 0, 0, 0);
    expect(state.slice(0, 70)).toEqual(expected.slice(0, 70));
    expect(state.slice(70)).toEqual([0, 0, 0]);
  });

  test('leaves what the driver keeps in the image alone', () => {
    const rig = new EngineRig();
    const before = Array.from({ length: 0x60 }, (_, index) => rig.reg(index));
    rig.run();
    const own = new Set([0x03, 0x05, 0x0d, 0x0f, 0x23, 0x25]);
    for (const [index, value] of before.entries())
      if (!own.has(index)) expect(rig.reg(index), `dword ${index}`).toBe(value);
    expect(rig.reg(0x03)).toBe(0x0009_0008);
  });
});

describe('an indirect ring state', () => {
  test('holds the ring in a page of its own', () => {
    const rig = new EngineRig({ ringSize: 4096 });
    const page = GGTT.lrc + 0x4000;
    rig.setReg(0x03, 0x0019_0019);
    rig.setReg(0x27, page);
    for (const index of [0x05, 0x07, 0x09, 0x0b]) rig.setReg(index, 0xffff_ffff);
    rig.ggtt.put(page + 0x1c, [GGTT.ring]);
    rig.ggtt.put(page + 0x2c, [1]);
    rig.ggtt.put(GGTT.ring, [...sdi(GGTT.data, 3, GGTT_BIT)]);
    rig.ggtt.put(page + 0x14, [16]);
    expect(rig.run()).toBe('idle');
    expect(rig.ggtt.get(GGTT.data)).toEqual([3]);
    expect(rig.ggtt.get(page + 0x0c)).toEqual([16]);
  });
});

describe('batches of a context restore', () => {
  const wa = GGTT.batch + 0x1000;
  const indirect = GGTT.batch + 0x2000;

  test('run before anything else, each time the context is put on', () => {
    const rig = new EngineRig();
    rig.ggtt.put(wa, [
      ...srm(0x34, GGTT.data, GGTT_BIT),
      ...sdi(GGTT.data + 4, 1, GGTT_BIT),
      BB_END,
    ]);
    rig.ggtt.put(indirect, sdi(GGTT.data + 8, 2, GGTT_BIT));
    // A size of one cache line: the rest of it are NOOPs.
    rig.setReg(0x15, indirect | 1);
    rig.setReg(0x13, wa | 1);
    rig.submit(ARB_ON, NOOP);
    rig.run();
    expect(rig.ggtt.get(GGTT.data, 3)).toEqual([0, 1, 2]);
    rig.ggtt.put(GGTT.data, [0, 0, 0]);
    rig.submit(ARB_ON, NOOP);
    rig.run();
    expect(rig.ggtt.get(GGTT.data, 3)).toEqual([8, 1, 2]);
  });

  test('are no part of where the context stands', () => {
    const rig = new EngineRig();
    rig.ggtt.put(wa, [NOOP, NOOP, BB_END]);
    rig.setReg(0x13, wa | 1);
    rig.ppgtt.put(PPGTT.batch, [NOOP, NOOP, ...sdi(PPGTT.data, 1), BB_END]);
    rig.submit(...bbStart(PPGTT.batch), ...sdi(PPGTT.data + 4, 2));
    let execution = rig.load();
    // In the restore, between it and the ring, in the batch: taken off after each command.
    for (let commands = 1; commands <= 5; commands++) {
      expect(execution.turn(commands)).toBe('more');
      const position = execution.save();
      expect(position.dwords.length).toBe(commands <= 3 ? 0 : 7);
      execution = rig.load(position);
    }
    expect(execution.turn(100)).toBe('idle');
    expect(rig.ppgtt.get(PPGTT.data, 2)).toEqual([1, 2]);
  });

  test('are not predicated', () => {
    const rig = new EngineRig();
    rig.ggtt.put(wa, [0x0080_000f, ...sdi(GGTT.data, 1, GGTT_BIT), BB_END]);
    rig.setReg(0x13, wa | 1);
    rig.ppgtt.put(PPGTT.batch, [0x0080_000f, NOOP, ...sdi(PPGTT.data, 1), 0x0080_0000]);
    rig.ppgtt.put(PPGTT.batch + 28, [...sdi(PPGTT.data + 4, 2), BB_END]);
    rig.submit(...bbStart(PPGTT.batch));
    const execution = rig.load();
    execution.turn(5);
    rig.ggtt.put(GGTT.data, [0]);
    const again = rig.load(execution.save());
    expect(again.turn(100)).toBe('idle');
    expect(rig.ggtt.get(GGTT.data)).toEqual([1]);
    expect(rig.ppgtt.get(PPGTT.data, 2)).toEqual([0, 2]);
  });
});
