import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import { logBitmapSize } from '../../src/vfio/feature.ts';
import { DirtyLog } from '../../src/vfio-pci/dma-logger.ts';

const PAGE = 4096;

function code(run: () => unknown): string {
  try {
    run();
    return 'ok';
  } catch (error) {
    if (error instanceof Fault) return error.code;
    throw error;
  }
}

/** The pages that a report names. */
function report(log: DirtyLog, iova: number, length: number, pageSize = PAGE): number[] {
  const bitmap = new Uint8Array(logBitmapSize(length, pageSize));
  log.report(iova, length, pageSize, bitmap);
  const pages: number[] = [];
  for (let bit = 0; bit < bitmap.length * 8; bit++)
    if ((bitmap[bit >> 3]! & (1 << (bit & 7))) !== 0) pages.push(bit);
  return pages;
}

function started(pageSize = PAGE, ranges: Array<{ iova: number; length: number }> = []) {
  const log = new DirtyLog();
  log.start(pageSize, ranges);
  return log;
}

describe('the log of written pages', () => {
  it('LOG-02: reports nothing before it is started', () => {
    expect(code(() => report(new DirtyLog(), 0, PAGE))).toBe('EINVAL');
  });

  it('D-16: reports exactly the written pages, and then forgets them', () => {
    const log = started(PAGE, [{ iova: 0, length: 4096 * PAGE }]);
    log.wrote(7 * PAGE, 1);
    log.wrote(11 * PAGE - 1, 2); // straddles
    log.wrote(4096 * PAGE - 1, 1); // the last bit
    expect(report(log, 0, 4096 * PAGE)).toEqual([7, 10, 11, 4095]);
    expect(report(log, 0, 4096 * PAGE)).toEqual([]);
  });

  it('D-16: reports in larger and in smaller pages than it logs, above bit 255', () => {
    const log = started(2 * PAGE, [{ iova: 0, length: 2048 * PAGE }]);
    log.wrote(601 * PAGE, 1);
    expect(report(log, 0, 2048 * PAGE, PAGE)).toEqual([600, 601]);
    log.wrote(1001 * PAGE, 1);
    log.wrote(1003 * PAGE, 1);
    expect(report(log, 0, 2048 * PAGE, 4 * PAGE)).toEqual([250]);
  });

  it('LOG-10: reports any part of a range, and keeps the rest', () => {
    const log = started(2 * PAGE, [{ iova: 0, length: 64 * PAGE }]);
    log.wrote(10 * PAGE, 1);
    expect(report(log, 11 * PAGE, PAGE)).toEqual([0]);
    expect(report(log, 11 * PAGE, PAGE)).toEqual([]);
    expect(report(log, 0, 64 * PAGE)).toEqual([10]);
  });

  it('keeps a page of which only a part was asked for', () => {
    const log = started();
    log.wrote(5 * PAGE, 8);
    expect(report(log, 5 * PAGE + 16, 100)).toEqual([0]);
    expect(report(log, 5 * PAGE, PAGE)).toEqual([0]);
    expect(report(log, 5 * PAGE, PAGE)).toEqual([]);
  });

  it('LOG-11: sees nothing in a hole, and reports across it', () => {
    const log = started(PAGE, [
      { iova: 0, length: 4 * PAGE },
      { iova: 8 * PAGE, length: 4 * PAGE },
    ]);
    log.wrote(2 * PAGE, 8 * PAGE);
    expect(report(log, 0, 16 * PAGE)).toEqual([2, 3, 8, 9]);
  });

  it('LOG-13: logs memory that is mapped later when no range was named', () => {
    const log = started();
    log.wrote(2 ** 40, 1);
    expect(report(log, 2 ** 40 - PAGE, 4 * PAGE)).toEqual([1]);
  });

  it('LOG-14: starts again clean, stops twice', () => {
    const log = started();
    log.wrote(0, 1);
    log.start(4 * PAGE, []);
    expect(report(log, 0, PAGE)).toEqual([]);
    log.stop();
    log.stop();
    expect(log.active).toBe(false);
    log.wrote(0, 1);
    log.start(PAGE, []);
    expect(report(log, 0, PAGE)).toEqual([]);
  });

  it('refuses page sizes, ranges and bitmaps that cannot be', () => {
    const log = started();
    expect(code(() => log.start(1000, []))).toBe('EINVAL');
    expect(code(() => log.start(PAGE, [{ iova: 1, length: PAGE }]))).toBe('EINVAL');
    expect(code(() => log.report(0, 65 * PAGE, PAGE, new Uint8Array(8)))).toBe('EINVAL');
    expect(code(() => log.report(0, PAGE, 2048, new Uint8Array(8)))).toBe('EINVAL');
    expect(code(() => log.report(2 ** 53 - 1, PAGE, PAGE, new Uint8Array(8)))).toBe('EOVERFLOW');
  });

  it('agrees with a set of pages', () => {
    const page = fc.integer({ min: 0, max: 40_000 });
    const pageSize = fc.constantFrom(PAGE, 2 * PAGE, 16 * PAGE);
    const operation = fc.oneof(
      fc.record({
        op: fc.constant('write' as const),
        at: page,
        pages: fc.integer({ min: 1, max: 9 }),
      }),
      fc.record({
        op: fc.constant('report' as const),
        at: page,
        pages: fc.integer({ min: 1, max: 9000 }),
        pageSize,
      }),
    );
    fc.assert(
      fc.property(pageSize, fc.array(operation, { maxLength: 25 }), (logPage, operations) => {
        const log = started(logPage);
        const unit = logPage / PAGE;
        const dirty = new Set<number>();
        for (const step of operations) {
          if (step.op === 'write') {
            log.wrote(step.at * PAGE, step.pages * PAGE);
            const end = Math.ceil((step.at + step.pages) / unit) * unit;
            for (let p = Math.floor(step.at / unit) * unit; p < end; p++) dirty.add(p);
          } else {
            const expected = new Set<number>();
            for (const p of [...dirty])
              if (p >= step.at && p < step.at + step.pages) {
                expected.add(Math.floor(((p - step.at) * PAGE) / step.pageSize));
                dirty.delete(p);
              }
            const pages = report(log, step.at * PAGE, step.pages * PAGE, step.pageSize);
            expect(pages).toEqual([...expected].sort((a, b) => a - b));
          }
        }
      }),
      { numRuns: 60 },
    );
  });
});
