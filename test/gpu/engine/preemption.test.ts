/**
 * Running a program in turns of any length, with the context taken off and put on in between, comes
 * to the same as running it through.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { contextLoader } from '../../../src/gpu/engine/context-loader.ts';
import {
  A,
  ARB_CHECK,
  alu,
  atomicInline,
  BB,
  BB_END,
  bbStart,
  CMP,
  condEnd,
  flushDw,
  GGTT_BIT,
  gpr,
  lri,
  lrm,
  lrr,
  math,
  memCopy,
  memSet,
  sdi,
  setPredicate,
  srm,
} from './assembler.ts';
import { EngineRig, GGTT, PPGTT } from './engine-rig.ts';

const { batch, second, data } = PPGTT;
const SLOTS = 64;
/** Turns after which a program stands still. */
const TURN_LIMIT = 5000;
const slot = fc.integer({ min: 0, max: SLOTS - 1 }).map((index) => data + index * 8);
const register = fc.integer({ min: 0, max: 9 }).map(gpr);
const dword = fc.integer({ min: 0, max: 0xffff_ffff });
const reg = fc.integer({ min: 0, max: 9 });
const opcode = fc.constantFrom(A.ADD, A.SUB, A.AND, A.OR, A.XOR, A.SHL, A.SHR, A.SAR);

/** One step of a program: commands that have an effect on memory and registers only. */
const step: fc.Arbitrary<number[]> = fc.oneof(
  fc.constant<number[]>([ARB_CHECK]),
  fc.tuple(slot, dword).map(([to, value]) => sdi(to, value)),
  fc.tuple(register, dword).map(([to, value]) => lri(to, value)),
  fc.tuple(register, slot).map(([to, from]) => lrm(to, from)),
  fc.tuple(register, slot).map(([from, to]) => srm(from, to)),
  fc.tuple(register, register).map(([from, to]) => lrr(from, to)),
  fc.tuple(slot, slot).map(([from, to]) => [0x1700_0003, to, 0, from, 0]),
  fc
    .tuple(opcode, reg, reg, reg)
    .map(([op, a, b, to]) =>
      math(
        alu(A.LOAD, A.SRCA, a),
        alu(A.LOADINV, A.SRCB, b),
        alu(op),
        alu(A.STORE, to, A.ACCU),
        alu(A.STOREINV, (to + 1) % 10, A.CF),
      ),
    ),
  fc
    .tuple(fc.integer({ min: 1, max: 15 }), slot, dword)
    .map(([op, to, value]) => atomicInline(op, to, BigInt(value), 3n)),
  fc
    .tuple(fc.integer({ min: 1, max: 15 }), slot, dword)
    .map(([op, to, value]) => atomicInline(op | 0x20, to, BigInt(value) << 20n, 3n, 1 << 16)),
  // Predicated or not, depending on what was computed.
  fc
    .tuple(register, fc.constantFrom(1, 2, 3, 4), slot)
    .map(([from, mode, to]) => [
      ...lrr(from, mode < 3 ? 0x3bc : 0x418),
      setPredicate(mode),
      ...sdi(to, 0xabcd),
      ...lri(gpr(3), 0x77),
      setPredicate(0),
    ]),
  fc.tuple(slot, dword).map(([to, value]) => flushDw(1 << 14, to, value)),
  fc
    .tuple(slot, fc.integer({ min: 1, max: 9000 }))
    .map(([to, width]) => [
      ...memSet(data + 0x1000, width, to & 0xff),
      ...memCopy(data + 0x1000 + (to & 0x38), data + 0x2800, (width % 5000) + 1),
    ]),
);

/** A program: the ring starts a batch that loops, with a nested batch in each lap. */
const program = fc.record({
  laps: fc.integer({ min: 1, max: 4 }),
  first: fc.array(step, { maxLength: 8 }),
  nested: fc.array(step, { maxLength: 6 }),
  last: fc.array(step, { maxLength: 4 }),
});
type Program = typeof program extends fc.Arbitrary<infer T> ? T : never;

const COUNTER = data + 0x7f8;
const waBatch = GGTT.batch + 0x1000;

function prepare({ laps, first, nested, last }: Program): EngineRig {
  const rig = new EngineRig({ engine: 'bcs0', ringSize: 4096, head: 4096 - 24 });
  rig.ppgtt.map(data, 0x8000);
  rig.ggtt.put(waBatch, [...lri(0xd8, 0x40_0040), BB_END]);
  rig.setReg(0x13, waBatch | 1);
  rig.ppgtt.put(COUNTER, [laps]);
  rig.ppgtt.put(batch, [
    ...first.flat(),
    ...bbStart(second, BB.PPGTT | BB.NESTED),
    ...atomicInline(6, COUNTER),
    ...condEnd(COUNTER, 0, CMP.GT),
    ...bbStart(batch),
  ]);
  rig.ppgtt.put(second, [...nested.flat(), BB_END]);
  rig.submit(...bbStart(batch));
  for (const commands of last) rig.submit(...commands);
  rig.submit(...srm(gpr(1), GGTT.data, GGTT_BIT), ...srm(gpr(4), GGTT.data + 4, GGTT_BIT));
  return rig;
}

/** Everything that a program can have changed. */
function outcome(rig: EngineRig): unknown {
  const commands = new Map(rig.commands);
  // How often a context was put on is not the program's doing.
  for (const name of ['MI_LOAD_REGISTER_IMM', 'MI_BATCH_BUFFER_END']) commands.delete(name);
  const registers = Array.from({ length: 0x100 }, (_, index) => rig.reg(index));
  return {
    ppgtt: rig.ppgtt.snapshot(),
    data: rig.ggtt.get(GGTT.data, 2),
    registers,
    commands: [...commands].sort(),
    copied: rig.copied,
  };
}

describe('a program', () => {
  test('comes to the same in any turns', () => {
    const turn = fc.record({
      budget: fc.integer({ min: 1, max: 12 }),
      takesOff: fc.boolean(),
    });
    fc.assert(
      fc.property(program, fc.array(turn, { minLength: 1, maxLength: 8 }), (some, turns) => {
        const whole = prepare(some);
        expect(whole.run(1_000_000)).toBe('idle');
        const parts = prepare(some);
        let execution = parts.load();
        for (let index = 0; index < TURN_LIMIT; index++) {
          const { budget, takesOff } = turns[index % turns.length] as {
            budget: number;
            takesOff: boolean;
          };
          // A restore is three units: with less, a context that is always taken off stands still.
          const end = execution.turn(budget + 3);
          if (end === 'idle') break;
          expect(end).toBe('more');
          if (!takesOff) continue;
          const { dwords } = execution.save();
          const position = contextLoader.position(JSON.parse(JSON.stringify(dwords)));
          execution = parts.load(position);
        }
        execution.save();
        expect(outcome(parts)).toEqual(outcome(whole));
      }),
      { numRuns: 120 },
    );
  });

  test('comes to the same when its pages are missing at first', () => {
    fc.assert(
      fc.property(program, fc.integer({ min: 1, max: 40 }), (some, budget) => {
        const whole = prepare(some);
        expect(whole.run(1_000_000)).toBe('idle');
        const rig = prepare(some);
        const absent = new Map([...rig.ppgtt.pages].filter(([address]) => address < data + 0x8000));
        for (const address of absent.keys()) rig.ppgtt.pages.delete(address);
        let execution = rig.load();
        for (let index = 0; index < TURN_LIMIT; index++) {
          const end = execution.turn(budget);
          if (end === 'idle') break;
          if (end !== 'page-fault') continue;
          const address = execution.fault?.address as number;
          const page = address - (address % 4096);
          rig.ppgtt.pages.set(page, absent.get(page) as Uint8Array);
          absent.delete(page);
          if (absent.size % 2 === 0) execution = rig.load(execution.save());
        }
        for (const [address, page] of absent) rig.ppgtt.pages.set(address, page);
        execution.save();
        expect(rig.ppgtt.snapshot()).toEqual(whole.ppgtt.snapshot());
      }),
      { numRuns: 60 },
    );
  });
});
