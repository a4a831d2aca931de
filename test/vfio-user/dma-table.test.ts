import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import { SEAL } from '../../src/sys/descriptor.ts';
import { nativeBuffer } from '../../src/sys/libc.ts';
import { Memfd } from '../../src/sys/memfd.ts';
import type { DmaMapping } from '../../src/vfio/vfio-device.ts';
import { type DmaPort, type DmaRequest, DmaTable } from '../../src/vfio-user/dma-table.ts';

const PAGE = 4096;

/** Guest memory behind messages: one byte array, and what was asked for. */
class FakePort implements DmaPort {
  readonly log: string[] = [];
  read(address: number, target: Uint8Array): void {
    this.log.push(`read ${address} ${target.length}`);
    target.fill(7);
  }
  write(address: number, source: Uint8Array): void {
    this.log.push(`write ${address} ${source.length}`);
  }
}

function request(change: Partial<DmaRequest> = {}): DmaRequest {
  return { address: 0x10_0000, size: 4 * PAGE, offset: 0, flags: 3, ...change };
}

function setUp(trusted = true, maxMaps = 100) {
  const port = new FakePort();
  const table = new DmaTable(port, maxMaps, trusted);
  const seen: DmaMapping[] = [];
  const map = (change: Partial<DmaRequest> = {}, fd = -1) =>
    table.map(request(change), fd, (mapping) => seen.push(mapping));
  return { port, table, seen, map };
}

function errno(code: string) {
  return expect.objectContaining({ code });
}

describe('DmaTable', () => {
  test('memory with a descriptor is mapped', () => {
    const { seen, map, table } = setUp();
    using memfd = Memfd.create('guest', 8 * PAGE);
    using view = memfd.map();
    expect(map({ offset: PAGE }, memfd.fd)).toBe(true);
    const memory = seen[0]?.memory;
    view.view(PAGE + 5, 1)[0] = 9;
    const bytes = new Uint8Array(2);
    memory?.read(5, bytes);
    expect(bytes[0]).toBe(9);
    memory?.write(6, new Uint8Array([4]));
    expect(view.view(PAGE + 6, 1)[0]).toBe(4);
    expect(memory?.windows?.map((window) => window.length)).toEqual([4 * PAGE]);
    expect(() => memory?.read(4 * PAGE - 1, bytes)).toThrow(errno('EINVAL'));
    table.unmap(0x10_0000, 4 * PAGE, () => {});
    view.close();
    memfd.seal(SEAL.WRITE | SEAL.SHRINK);
  });

  test.each([3, 1])('with flags %i, an IOMMU gets the pages themselves', (flags) => {
    const { table } = setUp();
    using memfd = Memfd.create('guest', 4 * PAGE);
    using view = memfd.map();
    let address: number | undefined;
    let late: DmaMapping | undefined;
    table.map(request({ flags }), memfd.fd, (mapping) => {
      address = mapping.memory.nativeAddress?.();
      late = mapping;
    });
    view.view(7, 1)[0] = 42;
    const seen = new Uint8Array(nativeBuffer(address ?? 0, PAGE));
    expect(seen[7]).toBe(42);
    expect(late?.memory.nativeAddress?.()).toBe(address);
    table.clear();
  });

  test('the pages of memory that may only be read are to be asked for in time', () => {
    const { seen, map, table } = setUp();
    using memfd = Memfd.create('guest', 4 * PAGE);
    map({ flags: 1 }, memfd.fd);
    expect(seen[0]?.memory.nativeAddress?.()).toBeUndefined();
    table.clear();
  });

  test('memory without one is reached by messages', () => {
    const { seen, map, port, table } = setUp();
    expect(map()).toBe(false);
    const memory = seen[0]?.memory;
    expect(memory?.windows).toBeUndefined();
    memory?.read(16, new Uint8Array(4));
    memory?.write(32, new Uint8Array(8));
    expect(port.log).toEqual([`read ${0x10_0010} 4`, `write ${0x10_0020} 8`]);
    table.clear();
    expect(() => memory?.read(0, new Uint8Array(1))).toThrow(errno('EIO'));
  });

  test('from a client that is not trusted only sealed memory is mapped', () => {
    const { map } = setUp(false);
    using open = Memfd.create('open', 4 * PAGE);
    using sealed = Memfd.create('sealed', 4 * PAGE);
    sealed.seal(SEAL.SHRINK);
    expect(map({}, open.fd)).toBe(false);
    expect(map({ address: 0x80_0000 }, sealed.fd)).toBe(true);
  });

  test('what may not be written is not', () => {
    const { seen, map } = setUp();
    using memfd = Memfd.create('rom', 4 * PAGE);
    using view = memfd.map();
    map({ flags: 1 }, memfd.fd);
    map({ flags: 1, address: 0x80_0000 });
    map({ flags: 2, address: 0x90_0000 });
    for (const index of [0, 1])
      expect(() => seen[index]?.memory.write(0, new Uint8Array(1))).toThrow(errno('EACCES'));
    expect(() => seen[2]?.memory.read(0, new Uint8Array(1))).toThrow(errno('EACCES'));
    (seen[0]?.memory.windows?.[0] as Uint8Array)[0] = 1;
    expect(view.view()[0]).toBe(0);
  });

  test.each<[string, Partial<DmaRequest>, string]>([
    ['size 0', { size: 0 }, 'EINVAL'],
    ['an unaligned address', { address: 0x10_0001 }, 'EINVAL'],
    ['an unaligned size', { size: PAGE + 1 }, 'EINVAL'],
    ['no access', { flags: 0 }, 'EINVAL'],
    ['unknown flags', { flags: 4 }, 'EINVAL'],
    ['a range that wraps', { address: Number.POSITIVE_INFINITY }, 'EINVAL'],
  ])('%s is refused', (_name, change, code) => {
    const { map, seen } = setUp();
    expect(() => map(change)).toThrow(errno(code));
    expect(seen).toEqual([]);
  });

  test('a file that is too small is refused, and so is a bad place in it', () => {
    const { map } = setUp();
    using memfd = Memfd.create('small', 2 * PAGE);
    expect(() => map({}, memfd.fd)).toThrow(errno('EINVAL'));
    expect(() => map({ size: PAGE, offset: 100 }, memfd.fd)).toThrow(errno('EINVAL'));
    expect(map({ size: PAGE, offset: PAGE }, memfd.fd)).toBe(true);
  });

  test('a mapping that the device refuses leaves nothing behind', () => {
    const { table } = setUp();
    using memfd = Memfd.create('refused', 4 * PAGE);
    expect(() =>
      table.map(request(), memfd.fd, () => {
        throw new Fault('ENOSPC', 'the device is full');
      }),
    ).toThrow(errno('ENOSPC'));
    memfd.seal(SEAL.WRITE);
    expect(() => table.unmap(0x10_0000, 4 * PAGE, () => {})).toThrow(errno('ENOENT'));
  });

  test('there is a limit', () => {
    const { map } = setUp(true, 2);
    map();
    map({ address: 0 });
    expect(() => map({ address: 0x80_0000 })).toThrow(errno('ENOSPC'));
  });

  test('it agrees with a list of pages', () => {
    const range = fc.tuple(fc.nat({ max: 20 }), fc.integer({ min: 1, max: 6 }), fc.boolean());
    fc.assert(
      fc.property(fc.array(range, { maxLength: 40 }), (steps) => {
        const { table } = setUp();
        const model = new Map<number, number>();
        for (const [page, pages, wantsMap] of steps) {
          const address = page * PAGE;
          const size = pages * PAGE;
          let verdict = 'ok';
          try {
            if (wantsMap) table.map(request({ address, size }), -1, () => {});
            else table.unmap(address, size, () => {});
          } catch (error) {
            verdict = (error as Fault).code;
          }
          const overlaps = [...model].some(([at, n]) => at < page + pages && page < at + n);
          if (wantsMap) {
            expect(verdict).toBe(overlaps ? 'EEXIST' : 'ok');
            if (!overlaps) model.set(page, pages);
          } else {
            expect(verdict).toBe(model.get(page) === pages ? 'ok' : 'ENOENT');
            if (verdict === 'ok') model.delete(page);
          }
        }
      }),
    );
  });
});
