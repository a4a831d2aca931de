import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RangeSet } from '../../src/migration/range-set.ts';

const range = fc
  .tuple(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max: 12 }))
  .map(([start, size]) => ({ start, end: start + size }));

describe('RangeSet', () => {
  it('knows the gaps that a table of bytes knows', () => {
    fc.assert(
      fc.property(fc.array(range), fc.integer({ min: 0, max: 80 }), (ranges, size) => {
        const set = new RangeSet();
        const seen = new Array<boolean>(80).fill(false);
        for (const { start, end } of ranges) {
          const twice = seen.slice(start, end).some(Boolean);
          expect(set.add(start, end)).toBe(twice);
          seen.fill(true, start, end);
        }
        expect(set.end).toBe(seen.lastIndexOf(true) + 1);
        const gaps = set.gaps(size);
        const missing = seen
          .slice(0, size)
          .map((_, at) => gaps.some((g) => at >= g.start && at < g.end));
        expect(missing).toEqual(seen.slice(0, size).map((byte) => !byte));
        for (const [at, gap] of gaps.entries())
          expect(gap.start).toBeGreaterThan(at === 0 ? -1 : (gaps[at - 1]?.end ?? 0));
      }),
    );
  });

  it('gives up being exact instead of growing without end', () => {
    const set = new RangeSet();
    for (let at = 0; at < 5000; at++) set.add(at * 2, at * 2 + 1);
    expect(set.exact).toBe(false);
    const inOrder = new RangeSet();
    for (let at = 0; at < 5000; at++) inOrder.add(at, at + 1);
    expect([inOrder.exact, inOrder.gaps(5001)]).toEqual([true, [{ start: 5000, end: 5001 }]]);
  });
});
