import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import type { DmaMapping } from '../../src/vfio/vfio-device.ts';
import { DMA_MAPPINGS_MAX, DmaMap } from '../../src/vfio-pci/dma-map.ts';

const PAGE = 4096;

function mapping(iova: number, size: number): DmaMapping {
  const refuse = () => {
    throw new RangeError('no memory behind it');
  };
  return { iova, size, flags: 3, memory: { windows: undefined, read: refuse, write: refuse } };
}

function code(run: () => unknown): string {
  try {
    run();
    return 'ok';
  } catch (error) {
    if (error instanceof Fault) return error.code;
    throw error;
  }
}

describe('DMA mappings', () => {
  it('DMA-05, DMA-06: refuses every overlap', () => {
    const map = new DmaMap();
    map.add(mapping(4 * PAGE, 4 * PAGE));
    for (const [iova, size] of [
      [4, 4], // the same
      [5, 2], // inside
      [3, 2], // head
      [7, 2], // tail
      [3, 6], // around
      [4, 1], // same start
      [7, 1], // same end
    ] as const)
      expect(
        code(() => map.add(mapping(iova * PAGE, size * PAGE))),
        `${iova} ${size}`,
      ).toBe('EEXIST');
    expect(code(() => map.add(mapping(3 * PAGE, PAGE)))).toBe('ok');
    expect(code(() => map.add(mapping(8 * PAGE, PAGE)))).toBe('ok');
    expect(map.size).toBe(3);
  });

  it('DMA-08: a refused overlap leaves nothing behind', () => {
    const map = new DmaMap();
    map.add(mapping(0, PAGE));
    expect(code(() => map.add(mapping(0, 4 * PAGE)))).toBe('EEXIST');
    map.remove(0, PAGE);
    expect(code(() => map.add(mapping(0, 4 * PAGE)))).toBe('ok');
  });

  it('DMA-09, DMA-11: refuses what is empty or not whole pages', () => {
    const map = new DmaMap();
    for (const [iova, size] of [
      [0, 0],
      [PAGE, -PAGE],
      [1, PAGE],
      [0, PAGE + 1],
      [-PAGE, PAGE],
      [Number.POSITIVE_INFINITY, PAGE],
      [0, Number.POSITIVE_INFINITY],
      [2 ** 53 - PAGE, 2 * PAGE],
    ] as const)
      expect(
        code(() => map.add(mapping(iova, size))),
        `${iova} ${size}`,
      ).toBe('EINVAL');
    expect(map.size).toBe(0);
  });

  it('DMA-14: has room for as many as Linux, and then ENOSPC', () => {
    const map = new DmaMap();
    for (let i = 0; i < DMA_MAPPINGS_MAX; i++) map.add(mapping(i * PAGE, PAGE));
    expect(code(() => map.add(mapping(DMA_MAPPINGS_MAX * PAGE, PAGE)))).toBe('ENOSPC');
    expect(code(() => map.add(mapping(0, PAGE)))).toBe('EEXIST');
    expect(map.removeAll()).toHaveLength(DMA_MAPPINGS_MAX);
    expect(map.size).toBe(0);
  });

  it('DMA-15, DMA-17: only a whole mapping can be taken out, once', () => {
    const map = new DmaMap();
    map.add(mapping(PAGE, 2 * PAGE));
    expect(code(() => map.remove(PAGE, PAGE))).toBe('ENOENT');
    expect(code(() => map.remove(2 * PAGE, PAGE))).toBe('ENOENT');
    expect(code(() => map.remove(0, 4 * PAGE))).toBe('ENOENT');
    expect(code(() => map.remove(PAGE, 2 * PAGE))).toBe('ok');
    expect(code(() => map.remove(PAGE, 2 * PAGE))).toBe('ENOENT');
  });

  it('agrees with a list that is searched from end to end', () => {
    const operation = fc.record({
      add: fc.boolean(),
      page: fc.integer({ min: 0, max: 40 }),
      pages: fc.integer({ min: 0, max: 6 }),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const map = new DmaMap();
        let list: Array<{ iova: number; size: number }> = [];
        for (const { add, page, pages } of operations) {
          const [iova, size] = [page * PAGE, pages * PAGE];
          if (add) {
            const hit = list.some((m) => m.iova < iova + size && iova < m.iova + m.size);
            const expected = size === 0 ? 'EINVAL' : hit ? 'EEXIST' : 'ok';
            expect(code(() => map.add(mapping(iova, size)))).toBe(expected);
            if (expected === 'ok') list.push({ iova, size });
          } else {
            const found = list.some((m) => m.iova === iova && m.size === size);
            expect(code(() => map.remove(iova, size))).toBe(found ? 'ok' : 'ENOENT');
            list = list.filter((m) => m.iova !== iova || m.size !== size);
          }
        }
        const sorted = list.sort((a, b) => a.iova - b.iova);
        expect(map.removeAll().map(({ iova, size }) => ({ iova, size }))).toEqual(sorted);
      }),
    );
  });
});
