import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Extent, ExtentMap, sideBySide } from '../../src/migration/extents.ts';

const puts = fc.array(fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 15 })));

/** Where each byte of the resource lies, put after put, as a table. */
function table(list: readonly (readonly [number, number])[]): number[] {
  const bytes = new Array<number>(60).fill(-1);
  for (const [n, [start, size]] of list.entries())
    for (let at = 0; at < size; at++) bytes[start + at] = n * 100 + at;
  return bytes;
}

function build(list: readonly (readonly [number, number])[]): ExtentMap {
  const map = new ExtentMap();
  for (const [n, [start, size]] of list.entries()) map.put(start, size, n * 100);
  return map;
}

function lookUp(extents: readonly Extent[]): number[] {
  const bytes = new Array<number>(60).fill(-1);
  for (const { start, end, position } of extents)
    for (let at = start; at < end; at++) bytes[at] = position + at - start;
  return bytes;
}

describe('ExtentMap', () => {
  it('says where each byte lies as a table does, the later one winning', () => {
    fc.assert(
      fc.property(puts, (list) => {
        const map = build(list);
        expect(lookUp(map.extents)).toEqual(table(list));
        expect(map.bytes).toBe(table(list).filter((at) => at >= 0).length);
        for (const [n, { start, end }] of map.extents.entries()) {
          expect(end).toBeGreaterThan(start);
          expect(start).toBeGreaterThanOrEqual(map.extents[n - 1]?.end ?? 0);
        }
      }),
    );
  });

  it('is walked side by side with another one, each byte once', () => {
    fc.assert(
      fc.property(puts, puts, (left, right) => {
        const a = new Array<number>(60).fill(-1);
        const b = new Array<number>(60).fill(-1);
        let last = 0;
        for (const part of sideBySide(build(left).extents, build(right).extents)) {
          expect(part.start).toBeGreaterThanOrEqual(last);
          expect(part.end).toBeGreaterThan(part.start);
          last = part.end;
          for (let at = 0; at < part.end - part.start; at++) {
            if (part.a !== undefined) a[part.start + at] = part.a + at;
            if (part.b !== undefined) b[part.start + at] = part.b + at;
          }
        }
        expect([a, b]).toEqual([table(left), table(right)]);
      }),
    );
  });
});
