import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { A, alu, gpr, lriQword, math, srmQword } from './assembler.ts';
import { EngineRig, PPGTT } from './engine-rig.ts';

const { data } = PPGTT;
const MASK = 2n ** 64n - 1n;
const ONES = MASK;
const u64 = fc.bigInt({ min: 0n, max: MASK });

function qword(rig: EngineRig, address: number): bigint {
  const [low, high] = rig.ppgtt.get(address, 2) as [number, number];
  return (BigInt(high) << 32n) | BigInt(low);
}

/** Runs one operation on two values. */
function calculate(opcode: number, a: bigint, b: bigint): { accu: bigint; zf: bigint; cf: bigint } {
  const rig = new EngineRig();
  const end = rig.runBatch(
    ...lriQword(gpr(0), a),
    ...lriQword(gpr(1), b),
    ...math(
      alu(A.LOAD, A.SRCA, 0),
      alu(A.LOAD, A.SRCB, 1),
      alu(opcode),
      alu(A.STORE, 2, A.ACCU),
      alu(A.STORE, 3, A.ZF),
      alu(A.STORE, 4, A.CF),
    ),
    ...srmQword(gpr(2), data),
    ...srmQword(gpr(3), data + 8),
    ...srmQword(gpr(4), data + 16),
  );
  expect(end).toBe('idle');
  return { accu: qword(rig, data), zf: qword(rig, data + 8), cf: qword(rig, data + 16) };
}

const operations: Record<string, [opcode: number, result: (a: bigint, b: bigint) => bigint]> = {
  ADD: [A.ADD, (a, b) => a + b],
  SUB: [A.SUB, (a, b) => a - b],
  AND: [A.AND, (a, b) => a & b],
  OR: [A.OR, (a, b) => a | b],
  XOR: [A.XOR, (a, b) => a ^ b],
  SHL: [A.SHL, (a, b) => a << (b & 63n)],
  SHR: [A.SHR, (a, b) => a >> (b & 63n)],
  SAR: [A.SAR, (a, b) => BigInt.asIntN(64, a) >> (b & 63n)],
};

describe('MI_MATH', () => {
  test.each(Object.entries(operations))('%s', (_, [opcode, result]) => {
    fc.assert(
      fc.property(u64, fc.oneof(u64, fc.bigInt({ min: 0n, max: 64n })), (a, b) => {
        const { accu, zf, cf } = calculate(opcode, a, b);
        const exact = result(a, b);
        expect(accu).toBe(exact & MASK);
        expect(zf).toBe((exact & MASK) === 0n ? ONES : 0n);
        const carries = opcode === A.ADD ? exact > MASK : opcode === A.SUB && a < b;
        expect(cf).toBe(carries ? ONES : 0n);
      }),
      {
        numRuns: 60,
        examples: [
          [5n, 5n],
          [ONES, 1n],
          [0n, 1n],
          [1n << 63n, 32n],
          [ONES, 63n],
        ],
      },
    );
  });

  test('LOAD0, LOAD1, LOADINV and STOREINV', () => {
    const rig = new EngineRig();
    rig.runBatch(
      ...lriQword(gpr(0), 0x00ff_00ff_1234_5678n),
      ...math(
        alu(A.LOADINV, A.SRCA, 0),
        alu(A.LOAD0, A.SRCB),
        alu(A.OR),
        alu(A.STORE, 1, A.ACCU),
        alu(A.LOAD1, A.SRCB),
        alu(A.AND),
        alu(A.STOREINV, 2, A.ACCU),
      ),
      ...srmQword(gpr(1), data),
      ...srmQword(gpr(2), data + 8),
    );
    expect(qword(rig, data)).toBe(0xff00_ff00_edcb_a987n);
    expect(qword(rig, data + 8)).toBe(0x00ff_00ff_1234_5678n);
  });

  test('LOADIND and STOREIND reach memory by an address in a register', () => {
    const rig = new EngineRig();
    rig.ppgtt.put(data + 0x108, [0xaaaa_bbbb, 0xcccc_dddd]);
    const end = rig.runBatch(
      ...lriQword(gpr(0), BigInt(data)),
      ...lriQword(gpr(1), 0x108n),
      ...math(
        alu(A.LOAD, A.SRCA, 0),
        alu(A.LOAD, A.SRCB, 1),
        alu(A.ADD),
        alu(A.LOADIND, 2, A.ACCU),
        alu(A.FENCE_RD),
        alu(A.LOAD, A.SRCA, 0),
        alu(A.LOAD0, A.SRCB),
        alu(A.ADD),
        alu(A.STOREIND, A.ACCU, 2),
      ),
    );
    expect(end).toBe('idle');
    expect(rig.ppgtt.get(data, 2)).toEqual([0xaaaa_bbbb, 0xcccc_dddd]);
  });

  test('a fault in the middle leaves the registers as they were', () => {
    const rig = new EngineRig();
    const missing = 0x55_0000;
    rig.ppgtt.put(PPGTT.batch, [
      ...lriQword(gpr(0), BigInt(missing)),
      ...lriQword(gpr(1), 4n),
      ...math(
        alu(A.LOAD, A.SRCA, 0),
        alu(A.LOAD, A.SRCB, 1),
        alu(A.ADD),
        alu(A.STORE, 0, A.ACCU),
        alu(A.LOADIND, 2, 0),
      ),
      ...srmQword(gpr(0), data),
      ...srmQword(gpr(2), data + 8),
      0x0500_0000,
    ]);
    rig.submit(0x1880_0101, 0, 1);
    const execution = rig.load();
    expect(execution.turn(100)).toBe('page-fault');
    expect(execution.fault).toMatchObject({ address: missing + 4, access: 'read' });
    rig.ppgtt.map(missing, 4096);
    rig.ppgtt.put(missing + 4, [6, 7]);
    expect(execution.turn(100)).toBe('idle');
    expect(rig.ppgtt.get(data, 4)).toEqual([missing + 4, 0, 6, 7]);
  });

  test.each([
    ['an unknown instruction', [alu(0x200)]],
    ['a store into no register', [alu(A.STORE, A.SRCA, A.ACCU)]],
    ['a load of no operand', [alu(A.LOAD, A.SRCA, 0x40)]],
    ['a load into no source', [alu(A.LOAD, 0, 1)]],
  ])('%s hangs', (_, instructions) => {
    expect(new EngineRig().runBatch(...math(...instructions))).toBe('hang');
  });
});
