import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { contextLoader } from '../../../src/gpu/engine/context-loader.ts';
import { makePosition, positionFields } from '../../../src/gpu/engine/position.ts';

const level = fc.tuple(
  fc.integer({ min: 0, max: 3 }),
  fc.integer({ min: 0, max: 2 ** 30 - 1 }).map((word) => word * 4),
  fc.integer({ min: 0, max: 0xffff }),
);
const fields = fc.record({
  arbitrationOff: fc.boolean(),
  noop: fc.boolean(),
  progress: fc.option(fc.integer({ min: 0, max: 2 ** 53 - 1 }), { nil: undefined }),
  levels: fc.array(level, { maxLength: 8 }).map((levels) => levels.flat()),
});

describe('a position', () => {
  test('survives as dwords', () => {
    fc.assert(
      fc.property(fields, (some) => {
        const position = makePosition(some);
        const again = contextLoader.position(JSON.parse(JSON.stringify(position.dwords)));
        expect(again?.dwords).toEqual(position.dwords);
        const isEmpty = position.dwords.length === 0;
        if (again !== undefined && !isEmpty) expect(positionFields(again)).toEqual(some);
      }),
    );
  });

  test('has this layout', () => {
    const position = makePosition({
      arbitrationOff: true,
      noop: true,
      progress: 0x3_0000_0004,
      levels: [1, 0x1000, 5, 2, 0x2000, 0],
    });
    expect(position.dwords).toEqual([1, 7, 4, 3, 1, 0x1000, 5, 2, 0x2000, 0]);
    const nowhere = { arbitrationOff: false, noop: false, progress: undefined, levels: [] };
    expect(makePosition(nowhere).dwords).toEqual([]);
  });

  test('moves with the GGTT, but not its batches in a PPGTT', () => {
    const position = makePosition({
      arbitrationOff: false,
      noop: false,
      progress: undefined,
      levels: [1, 0x1000, 5, 2, 0x80_2000, 0, 0, 0x80_4000, 0],
    });
    const moved = position.rebased(-0x10_0000);
    expect(moved.dwords).toEqual([1, 0, 0, 0, 1, 0x1000, 5, 2, 0x70_2000, 0, 0, 0x70_4000, 0]);
    expect(moved.rebased(0x10_0000).dwords).toEqual(position.dwords);
    expect(
      makePosition({ ...positionFields(position), levels: [] } as never).rebased(1).dwords,
    ).toEqual([]);
  });

  test('is refused when its dwords make no sense', () => {
    for (const dwords of [
      [2, 0, 0, 0],
      [1, 8, 0, 0],
      [1, 0, 0],
      [1, 0, 0, 1 << 21],
      [1, 0, 0, 0, 1, 4],
      [1, 0, 0, 0, 4, 4, 0],
      [1, 0, 0, 0, 1, 2, 0],
      [1, 0, 0, 0, 1, 4, 0x1_0000],
      [1, 0, -1, 0],
      [1, 0, 0.5, 0],
      [1, 0, 0, 0, ...new Array(27).fill(0)],
    ])
      expect(contextLoader.position(dwords), `${dwords}`).toBeUndefined();
  });

  test('of any dwords is refused or can be had again', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 0xffff_ffff }), { maxLength: 12 }), (some) => {
        const position = contextLoader.position(some);
        if (position !== undefined) expect(position.dwords).toEqual(some);
      }),
    );
  });
});
