import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { at, atomicInline, gpr, lri, lriQword, srmQword } from './assembler.ts';
import { EngineRig, PPGTT } from './engine-rig.ts';

const { data } = PPGTT;

type Operation = (old: bigint, first: bigint, second: bigint, bits: number) => bigint;
const operations: Record<string, [opcode: number, result: Operation]> = {
  AND: [0x01, (old, first) => old & first],
  OR: [0x02, (old, first) => old | first],
  XOR: [0x03, (old, first) => old ^ first],
  MOVE: [0x04, (_, first) => first],
  INC: [0x05, (old) => old + 1n],
  DEC: [0x06, (old) => old - 1n],
  ADD: [0x07, (old, first) => old + first],
  SUB: [0x08, (old, first) => old - first],
  RSUB: [0x09, (old, first) => first - old],
  IMAX: [0x0a, (old, first, _, bits) => pick(old, first, bits, true)],
  IMIN: [0x0b, (old, first, _, bits) => pick(old, first, bits, false)],
  UMAX: [0x0c, (old, first, _, bits) => pick(old, first, bits + 1, true)],
  UMIN: [0x0d, (old, first, _, bits) => pick(old, first, bits + 1, false)],
  CMP_WR: [0x0e, (old, first, second) => (old === first ? second : old)],
  PREDEC: [0x0f, (old) => old - 1n],
};

function pick(a: bigint, b: bigint, bits: number, greater: boolean): bigint {
  const isGreater = BigInt.asIntN(bits, a) > BigInt.asIntN(bits, b);
  return isGreater === greater ? a : b;
}

function run(opcode: number, old: bigint, first: bigint, second: bigint): bigint {
  const rig = new EngineRig();
  rig.ppgtt.put(data, [Number(old & 0xffff_ffffn), Number(old >> 32n)]);
  expect(rig.runBatch(...atomicInline(opcode, data, first, second))).toBe('idle');
  const [low, high] = rig.ppgtt.get(data, 2) as [number, number];
  return (BigInt(high) << 32n) | BigInt(low);
}

describe('MI_ATOMIC', () => {
  test.each(Object.entries(operations))('%s', (_, [opcode, result]) => {
    for (const bits of [32, 64] as const) {
      const value = fc.bigInt({ min: 0n, max: 2n ** BigInt(bits) - 1n });
      fc.assert(
        fc.property(value, value, value, fc.boolean(), (old, other, second, isEqual) => {
          const first = isEqual ? old : other;
          const stored = run(opcode | (bits === 64 ? 0x20 : 0), old, first, second);
          expect(stored).toBe(BigInt.asUintN(bits, result(old, first, second, bits)));
        }),
        { numRuns: 25, examples: [[0n, 0n, 1n, true]] },
      );
    }
  });

  test('compares and writes 16 bytes', () => {
    const rig = new EngineRig();
    rig.ppgtt.put(data, [1, 2, 3, 4]);
    const first = 1n | (2n << 32n) | (3n << 64n) | (4n << 96n);
    const second = 5n | (6n << 32n) | (7n << 64n) | (8n << 96n);
    rig.runBatch(...atomicInline(0x4e, data, first, second));
    expect(rig.ppgtt.get(data, 4)).toEqual([5, 6, 7, 8]);
    rig.runBatch(...atomicInline(0x4e, data, first, 0n));
    expect(rig.ppgtt.get(data, 4)).toEqual([5, 6, 7, 8]);
  });

  test('as igt sends it: three dwords without operands', () => {
    const rig = new EngineRig();
    rig.ppgtt.put(data, [41]);
    expect(rig.runBatch(0x1780_0501, ...at(data))).toBe('idle');
    expect(rig.ppgtt.get(data)).toEqual([42]);
  });

  test('takes operands from registers and returns the old value in one', () => {
    const rig = new EngineRig();
    rig.ppgtt.put(data, [10, 1]);
    rig.runBatch(
      ...lriQword(gpr(0), 5n),
      0x1780_2701 | (1 << 16),
      ...at(data),
      ...srmQword(gpr(4), data + 8),
    );
    expect(rig.ppgtt.get(data, 4)).toEqual([15, 1, 10, 1]);
  });

  test('faults where atomics are not allowed, and repeats', () => {
    const rig = new EngineRig();
    const page = data;
    rig.ppgtt.put(page, [1]);
    rig.ppgtt.readOnly.add(page);
    rig.ppgtt.put(PPGTT.batch, [0x1780_0501, ...at(page), 0x0500_0000]);
    rig.submit(0x1880_0101, 0, 1);
    const execution = rig.load();
    expect(execution.turn(10)).toBe('page-fault');
    expect(execution.fault).toMatchObject({ address: page, access: 'atomic' });
    expect(rig.ppgtt.get(page)).toEqual([1]);
    rig.ppgtt.readOnly.clear();
    expect(execution.turn(10)).toBe('idle');
    expect(rig.ppgtt.get(page)).toEqual([2]);
  });

  test.each([0x00, 0x10, 0x20, 0x41, 0x64])('opcode %i hangs', (opcode) => {
    const rig = new EngineRig();
    expect(rig.runBatch(...lri(gpr(0), 1), ...atomicInline(opcode, data))).toBe('hang');
  });
});
