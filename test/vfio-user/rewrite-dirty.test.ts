import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import { Memfd } from '../../src/sys/memfd.ts';
import type { VfioDevice } from '../../src/vfio/vfio-device.ts';
import { type DmaPort, DmaTable } from '../../src/vfio-user/dma-table.ts';
import { rewriteDirty } from '../../src/vfio-user/rewrite-dirty.ts';

const PAGE = 4096;
const PAGES = 700;
const ADDRESS = 0x10_0000;
/** Pages that one message tells of at most. */
const MOST = 256;

/** A VMM that writes what it is told to write, and a device whose log is told by the test. */
function setUp(dirty: ReadonlySet<number>) {
  const writes: { page: number; pages: number; bytes: Uint8Array }[] = [];
  const port: DmaPort = {
    read: () => {},
    write: (address, source) =>
      writes.push({
        page: (address - ADDRESS) / PAGE,
        pages: source.length / PAGE,
        bytes: source.slice(),
      }),
  };
  const table = new DmaTable(port, 10, true);
  const memfd = Memfd.create('guest', PAGES * PAGE);
  const request = { address: ADDRESS, size: PAGES * PAGE, offset: 0, flags: 3 };
  table.map(request, memfd.fd, () => {});
  const mapping = memfd.map();
  const bytes = mapping.view();
  for (let page = 0; page < PAGES; page++) bytes.fill(page & 0xff, page * PAGE, (page + 1) * PAGE);
  const device = {
    dmaLoggingReport: (_iova: number, length: number, size: number, bitmap: Uint8Array) => {
      expect(bitmap.length * 8).toBeGreaterThanOrEqual(length / size);
      for (const page of dirty)
        bitmap[page >> 3] = (bitmap[page >> 3] as number) | (1 << (page & 7));
    },
  } as unknown as VfioDevice;
  const close = () => {
    table.clear();
    mapping.close();
    memfd.close();
  };
  return { table, device, writes, close };
}

describe('what a device wrote', () => {
  test('is told to the VMM: every page of the log, no other, with the bytes that are there', () => {
    const pages = fc.uniqueArray(fc.oneof(fc.nat(PAGES - 1), fc.integer({ min: 300, max: 320 })), {
      maxLength: 60,
    });
    const block = fc.record({ from: fc.nat(PAGES - 1), count: fc.nat(600) });
    fc.assert(
      fc.property(pages, block, (some, { from, count }) => {
        const dirty = new Set(some);
        for (let page = from; page < Math.min(PAGES, from + count); page++) dirty.add(page);
        const { table, device, writes, close } = setUp(dirty);
        try {
          expect(rewriteDirty(device, table)).toEqual({
            pages: dirty.size,
            messages: writes.length,
          });
          const told = writes.flatMap((write) =>
            Array.from({ length: write.pages }, (_, n) => write.page + n),
          );
          expect(told).toEqual([...dirty].sort((a, b) => a - b));
          for (const write of writes) {
            expect(write.pages).toBeLessThanOrEqual(MOST);
            for (let n = 0; n < write.pages; n++) {
              const page = write.bytes.subarray(n * PAGE, (n + 1) * PAGE);
              expect(page.every((byte) => byte === ((write.page + n) & 0xff))).toBe(true);
            }
          }
        } finally {
          close();
        }
      }),
      { numRuns: 25 },
    );
  });

  test('is not known without a log', () => {
    const { table, close } = setUp(new Set());
    const device = {
      dmaLoggingReport: () => {
        throw new Fault('EINVAL', 'nothing is logged');
      },
    } as unknown as VfioDevice;
    expect(() => rewriteDirty(device, table)).toThrow('nothing is logged');
    close();
  });
});
