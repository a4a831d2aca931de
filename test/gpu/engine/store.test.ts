import { describe, expect, test } from 'vitest';
import { at, GGTT_BIT, sdi, sdiMany, sdiQword } from './assembler.ts';
import { EngineRig, GGTT, PPGTT } from './engine-rig.ts';

const { data } = PPGTT;

describe('MI_STORE_DATA_IMM', () => {
  test('stores a dword', () => {
    const rig = new EngineRig();
    expect(rig.runBatch(...sdi(data + 4, 0xdead_beef))).toBe('idle');
    expect(rig.ppgtt.get(data, 3)).toEqual([0, 0xdead_beef, 0]);
  });

  test('stores a qword at an address above 4 GiB', () => {
    const rig = new EngineRig();
    const address = 0x7fff_0000_1000;
    rig.ppgtt.map(address, 4096);
    expect(rig.runBatch(...sdiQword(address, 0x0123_4567_89ab_cdefn))).toBe('idle');
    expect(rig.ppgtt.get(address, 3)).toEqual([0x89ab_cdef, 0x0123_4567, 0]);
  });

  test('ignores the sign extension of a canonical address', () => {
    const rig = new EngineRig();
    rig.ppgtt.map(0xffff_ffff_f000, 4096);
    expect(rig.runBatch(0x1000_0002, 0xffff_f010, 0xffff_ffff, 7)).toBe('idle');
    expect(rig.ppgtt.get(0xffff_ffff_f010)).toEqual([7]);
  });

  test('stores many dwords over a page boundary', () => {
    const rig = new EngineRig();
    const values = Array.from({ length: 510 * 2 }, (_, index) => index + 1);
    expect(rig.runBatch(...sdiMany(data + 4000, values, 1 << 21))).toBe('idle');
    expect(rig.ppgtt.get(data + 4000, values.length + 1)).toEqual([...values, 0]);
  });

  test('stores into the GGTT from the ring', () => {
    const rig = new EngineRig();
    expect(rig.runRing(...sdi(GGTT.data, 5, GGTT_BIT))).toBe('idle');
    expect(rig.ggtt.get(GGTT.data)).toEqual([5]);
  });

  test('without data it hangs', () => {
    const rig = new EngineRig();
    expect(rig.runBatch(0x1000_0000, ...at(data))).toBe('hang');
  });
});

describe('MI_COPY_MEM_MEM', () => {
  test('copies a dword', () => {
    const rig = new EngineRig();
    rig.ppgtt.put(data + 8, [0x1234]);
    expect(rig.runBatch(0x1700_0003, ...at(data + 64), ...at(data + 8))).toBe('idle');
    expect(rig.ppgtt.get(data + 64)).toEqual([0x1234]);
  });

  test('copies between the spaces from the ring', () => {
    const rig = new EngineRig();
    rig.ggtt.put(GGTT.data, [1, 2]);
    rig.ppgtt.put(data, [3, 4]);
    rig.submit(0x1740_0003, ...at(data), ...at(GGTT.data));
    rig.submit(0x1720_0003, ...at(GGTT.data + 4), ...at(data + 4));
    expect(rig.run()).toBe('idle');
    expect(rig.ppgtt.get(data)).toEqual([1]);
    expect(rig.ggtt.get(GGTT.data + 4)).toEqual([4]);
  });
});

describe('the status page', () => {
  test('MI_STORE_DATA_INDEX writes a dword or a qword into it', () => {
    const rig = new EngineRig();
    rig.submit(0x1080_0001, 0x208, 7);
    rig.submit(0x1080_0002, 0x210, 8, 9);
    expect(rig.run()).toBe('idle');
    expect(rig.ggtt.get(GGTT.lrc + 0x208, 5)).toEqual([7, 0, 8, 9, 0]);
  });

  test('MI_REPORT_HEAD writes HEAD into it', () => {
    const rig = new EngineRig();
    expect(rig.runRing(0, 0, 0x0380_0000, 0)).toBe('idle');
    expect(rig.ggtt.get(GGTT.lrc + 0x10)).toEqual([8]);
  });
});
