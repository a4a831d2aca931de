import { describe, expect, test } from 'vitest';
import { GGTT_BIT, gpr, lri, lriQword, lrm, lrr, srm, srmQword } from './assembler.ts';
import { EngineRig, GGTT, PPGTT } from './engine-rig.ts';

const { data } = PPGTT;
/** MI_LOAD_REGISTER_IMM and MI_STORE_REGISTER_MEM of an absolute offset. */
const lriAbsolute = (offset: number, value: number, flags = 0) => [
  0x1100_0001 | flags,
  offset,
  value,
];
const REMAP = 1 << 17;

describe('MI_LOAD_REGISTER_IMM', () => {
  test('loads several registers', () => {
    const rig = new EngineRig();
    rig.runBatch(
      ...lri(gpr(0), 1, gpr(0) + 4, 2, gpr(15), 3),
      ...srmQword(gpr(0), data),
      ...srm(gpr(15), data + 8),
    );
    expect(rig.ppgtt.get(data, 3)).toEqual([1, 2, 3]);
  });

  test('leaves bytes alone that are disabled', () => {
    const rig = new EngineRig();
    const some = [0x1108_0001 | (0b0110 << 8), gpr(1), 0xaabb_ccdd];
    rig.runBatch(...lri(gpr(1), 0x1122_3344), ...some, ...srm(gpr(1), data));
    expect(rig.ppgtt.get(data)).toEqual([0xaa22_33dd]);
  });

  test('remaps registers of RCS0 to the engine that executes', () => {
    for (const engine of ['rcs0', 'ccs0', 'bcs8', 'vcs0']) {
      const rig = new EngineRig({ engine });
      rig.runBatch(...lriAbsolute(0x2608, 77, REMAP), ...srm(gpr(1), data));
      expect(rig.ppgtt.get(data), engine).toEqual([77]);
    }
  });

  test('reaches the registers of its own engine by their absolute offset only', () => {
    const rig = new EngineRig({ engine: 'bcs0' });
    rig.runBatch(
      ...lriAbsolute(0x2_2608, 5),
      ...lriAbsolute(0x2610, 6),
      ...srm(gpr(1), data),
      ...srm(gpr(2), data + 4),
    );
    expect(rig.ppgtt.get(data, 2)).toEqual([5, 0]);
  });

  test('a masked register changes the bits that its upper half names', () => {
    const rig = new EngineRig();
    rig.submit(...lri(0x9c, 0xffff_1234, 0x9c, 0x000f_000a));
    rig.submit(...srm(0x9c, GGTT.data, GGTT_BIT));
    rig.run();
    expect(rig.ggtt.get(GGTT.data)).toEqual([0x123a]);
  });

  test('reads a register of the GT back, as the driver does to change some bits', () => {
    const rig = new EngineRig();
    rig.submit(...lriAbsolute(0xb158, 0x1234_5678));
    rig.submit(0x1200_0002 | GGTT_BIT, 0xb158, GGTT.data, 0);
    rig.run();
    expect(rig.ggtt.get(GGTT.data)).toEqual([0x1234_5678]);
  });
});

describe('MI_LOAD_REGISTER_MEM, MI_STORE_REGISTER_MEM, MI_LOAD_REGISTER_REG', () => {
  test('move a value through registers', () => {
    const rig = new EngineRig();
    rig.ppgtt.put(data, [0x8765_4321]);
    rig.runBatch(...lrm(gpr(3), data), ...lrr(gpr(3), gpr(4)), ...srm(gpr(4), data + 4));
    expect(rig.ppgtt.get(data + 4)).toEqual([0x8765_4321]);
  });

  test('work with the GGTT in the ring', () => {
    const rig = new EngineRig();
    rig.ggtt.put(GGTT.data, [42]);
    rig.submit(...lrm(gpr(0), GGTT.data, GGTT_BIT), ...srm(gpr(0), GGTT.data + 4, GGTT_BIT));
    rig.run();
    expect(rig.ggtt.get(GGTT.data + 4)).toEqual([42]);
  });

  test('MI_LOAD_REGISTER_REG remaps source and destination apart', () => {
    const rig = new EngineRig({ engine: 'vecs0' });
    rig.runBatch(
      ...lri(gpr(5), 9),
      ...lrr(0x2628, 0x2630, (1 << 16) | (1 << 17)),
      ...srm(gpr(6), data),
    );
    expect(rig.ppgtt.get(data)).toEqual([9]);
  });

  test('a predicated store depends on MI_PREDICATE_RESULT', () => {
    const rig = new EngineRig();
    const predicated = 1 << 21;
    rig.runBatch(
      ...lri(gpr(0), 1, 0x418, 0),
      ...srm(gpr(0), data, predicated),
      ...lri(0x418, 1),
      ...srm(gpr(0), data + 4, predicated),
    );
    expect(rig.ppgtt.get(data, 2)).toEqual([0, 1]);
  });
});

describe('registers that the engine answers', () => {
  test('time', () => {
    const rig = new EngineRig();
    rig.setReg(0x23, 500);
    rig.setReg(0x25, 2);
    rig.now = 0x3_0000_0010n;
    const execution = rig.load();
    rig.now += 5n;
    rig.submit(...srm(0x358, data), ...srm(0x35c, data + 4));
    rig.submit(...srm(0x3a8, data + 8), ...srm(0x3ac, data + 12));
    expect(execution.turn(100)).toBe('idle');
    expect(rig.ppgtt.get(data, 4)).toEqual([0x15, 3, 505, 2]);
  });

  test('where it is', () => {
    const rig = new EngineRig({ engine: 'bcs8' });
    rig.submit(...srm(0x34, data), ...srm(0x30, data + 4), ...srm(0x38, data + 8));
    rig.submit(...srm(0x3c, data + 12), ...srm(0x8c, data + 16), ...srm(0x240, data + 20));
    rig.run();
    const tail = rig.tail;
    expect(rig.ppgtt.get(data, 6)).toEqual([0, tail, GGTT.ring, 0x3001, (8 << 4) | 3, GGTT.lrc]);
  });

  test('which batch it is in', () => {
    const rig = new EngineRig();
    rig.runBatch(0, ...srm(0x140, data), ...srm(0x168, data + 4), ...srm(0x74, data + 8));
    const first = PPGTT.batch + 4;
    expect(rig.ppgtt.get(data, 3)).toEqual([
      first % 2 ** 32,
      Math.floor(first / 2 ** 32),
      (first + 32) % 2 ** 32,
    ]);
  });

  test('MI_NOOP writes its number when told to', () => {
    const rig = new EngineRig();
    rig.runBatch(0x0040_1234, 0x0000_5678, ...srm(0x94, data));
    expect(rig.ppgtt.get(data)).toEqual([0x1234]);
  });

  test('nothing is in registers that are not there', () => {
    const rig = new EngineRig();
    rig.ppgtt.put(data, [1, 1]);
    rig.runBatch(...srm(0xabc, data), 0x1200_0002, 0x9_9998, data + 4, 0);
    expect(rig.ppgtt.get(data, 2)).toEqual([0, 0]);
  });
});

describe('a context keeps its registers', () => {
  test('from job to job, and apart from another context', () => {
    const rig = new EngineRig();
    rig.runBatch(...lriQword(gpr(7), 0x1111_2222_3333_4444n), ...lri(0x400, 5));
    rig.submit(0x1100_0001, 0xb158, 6);
    rig.run();
    rig.submit(...srmQword(gpr(7), data), ...srm(0x400, data + 8));
    rig.submit(0x1200_0002, 0xb158, data + 12, 0);
    rig.run();
    expect(rig.ppgtt.get(data, 4)).toEqual([0x3333_4444, 0x1111_2222, 5, 6]);
    const other = new EngineRig();
    other.runBatch(...srm(gpr(7), data));
    expect(other.ppgtt.get(data)).toEqual([0]);
  });

  test('until its restore is inhibited', () => {
    const rig = new EngineRig();
    rig.runBatch(...lri(gpr(7), 3));
    expect(rig.reg(3) & 1).toBe(0);
    rig.setReg(3, 0x0009_0009);
    rig.runBatch(...srm(gpr(7), data));
    expect(rig.ppgtt.get(data)).toEqual([0]);
  });

  test('at most as many as its image has room for', () => {
    const rig = new EngineRig({ kernel: true });
    for (let index = 0; index < 300; index++)
      rig.submit(0x1100_0001, 0xc000 + index * 4, index, 0, ...lri(0x700 + index * 4, index), 0);
    expect(rig.run()).toBe('idle');
    for (const [index, offset] of [0xc000, 0xc000 + 95 * 4, 0xc000 + 96 * 4].entries())
      rig.submit(0x1200_0002 | GGTT_BIT, offset, GGTT.data + index * 4, 0);
    for (const [index, offset] of [0x700, 0x700 + 79 * 4, 0x700 + 80 * 4].entries())
      rig.submit(...srm(offset, GGTT.data + 16 + index * 4, GGTT_BIT));
    expect(rig.run()).toBe('idle');
    expect(rig.ggtt.get(GGTT.data, 7)).toEqual([0, 95, 0, 0, 0, 79, 0]);
    // The page behind the register state is not touched.
    expect(rig.ggtt.get(GGTT.regs + 4096, 4)).toEqual([0, 0, 0, 0]);
  });
});
