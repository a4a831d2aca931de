import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import { IdAllocator } from '../../src/pf/id-allocator.ts';
import { RangeAllocator } from '../../src/pf/range-allocator.ts';
import { GUC_ID_MAX } from '../../src/xe/guc/pf-actions.ts';
import { goldenJson } from './golden-files.ts';

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return error instanceof Fault ? `-${error.code}` : 'not a fault';
  }
}

describe('ids', () => {
  const { id_manager } = goldenJson<{ id_manager: Record<string, string> }>(
    'provisioning_and_abi_cases.json',
  );
  const ready = (total: number) => {
    const ids = new IdAllocator();
    ids.init(total);
    return ids;
  };

  it('are refused as Linux refuses them', () => {
    expect({
      'init 0': codeOf(() => ready(0)),
      'init > GUC_ID_MAX': codeOf(() => ready(GUC_ID_MAX + 1)),
      'reserve before init': codeOf(() => new IdAllocator().reserve(1, 1, 'top')),
      'quota exceeded': codeOf(() => ready(256).reserve(200, 100, 'top')),
    }).toEqual(id_manager);
  });

  it('come from the end for VFs, and leave the spare to the PF', () => {
    const ids = ready(100);
    expect(ids.reserve(10, 20, 'top')).toBe(90);
    expect(ids.reserve(10, 20, 'top')).toBe(80);
    expect(ids.reserve(5, 0, 'bottom')).toBe(0);
    expect(ids.used).toBe(25);
    expect(codeOf(() => ids.reserve(56, 20, 'top'))).toBe('-EDQUOT');
    expect(ids.reserve(55, 20, 'top')).toBe(25);
    ids.release(80);
    expect(ids.reserve(10, 20, 'top')).toBe(80);
    expect(codeOf(() => ids.reserve(30, 0, 'bottom'))).toBe('-ENOSPC');
  });

  it('are shared out so that every share can be reserved', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2000 }),
        fc.integer({ min: 1, max: 63 }),
        fc.nat(300),
        fc.nat(500),
        (total, owners, spare, taken) => {
          const ids = ready(total);
          if (taken > 0 && taken < total) ids.reserve(taken, 0, 'bottom');
          const free = total - ids.used - spare;
          const share = ids.fairShare(owners, spare);
          expect(share).toBe(Math.max(0, Math.floor(free / owners)));
          if (share > 0) for (let n = 0; n < owners; n++) ids.reserve(share, spare, 'top');
        },
      ),
    );
  });
});

describe('ranges', () => {
  it('never overlap, are aligned and are all given back', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            size: fc.integer({ min: 1, max: 40 }),
            alignment: fc.constantFrom(1, 4, 16),
            from: fc.constantFrom('top' as const, 'bottom' as const),
            release: fc.boolean(),
          }),
          { maxLength: 40 },
        ),
        (requests) => {
          const ranges = new RangeAllocator(8, 328);
          const held = new Map<number, number>();
          for (const { size, alignment, from, release } of requests) {
            const [first] = held.keys();
            if (release && first !== undefined) {
              ranges.release(first);
              held.delete(first);
            }
            let start: number;
            try {
              start = ranges.allocate(size, alignment, from);
            } catch {
              expect(Math.max(0, ...ranges.holes(alignment))).toBeLessThan(size);
              continue;
            }
            expect(start % alignment).toBe(0);
            expect(start >= 8 && start + size <= 328).toBe(true);
            for (const [other, length] of held)
              expect(start + size <= other || other + length <= start).toBe(true);
            held.set(start, size);
          }
          expect(ranges.used).toBe([...held.values()].reduce((sum, size) => sum + size, 0));
          for (const start of held.keys()) ranges.release(start);
          expect(ranges.holes(1)).toEqual([320]);
        },
      ),
    );
  });
});
