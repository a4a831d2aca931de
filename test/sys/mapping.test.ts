import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { closeFd, SEAL } from '../../src/sys/descriptor.ts';
import { addressOf, MAX_VIEW_SIZE, Mapping, PAGE_SIZE } from '../../src/sys/mapping.ts';
import { Memfd } from '../../src/sys/memfd.ts';

const GIB = 2 ** 30;

function mapped(name: string): number {
  const lines = readFileSync('/proc/self/maps', 'utf8').split('\n');
  return lines.filter((line) => line.includes(`/memfd:${name}`)).length;
}

describe('Mapping', () => {
  test('an anonymous mapping is zero and can be written', () => {
    using mapping = Mapping.anonymous(10_000);
    const view = mapping.view();
    expect(view.length).toBe(10_000);
    expect(view.every((byte) => byte === 0)).toBe(true);
    view[9_999] = 7;
    expect(mapping.view(9_999, 1)[0]).toBe(7);
  });

  test('a low mapping has an address that is a small integer', () => {
    using mapping = Mapping.low(10_000);
    expect(mapping.address).toBeLessThan(2 ** 31);
    mapping.view()[9_999] = 7;
    expect(mapping.view(9_999, 1)[0]).toBe(7);
    expect(() => Mapping.low(0)).toThrow(RangeError);
  });

  test('two mappings of a file see each other’s writes', () => {
    using memfd = Memfd.create('shared', 3 * PAGE_SIZE);
    using all = memfd.map();
    using part = memfd.map(PAGE_SIZE, PAGE_SIZE);
    part.view()[1] = 42;
    expect(all.view(PAGE_SIZE + 1, 1)[0]).toBe(42);
  });

  test('a read-only mapping keeps what is written to it by mistake to itself', () => {
    using memfd = Memfd.create('read-only', PAGE_SIZE);
    using shared = memfd.map();
    shared.view()[0] = 1;
    using copy = Mapping.ofFd(memfd.fd, PAGE_SIZE, { readOnly: true });
    expect(copy.view()[0]).toBe(1);
    copy.view()[0] = 2;
    expect(shared.view()[0]).toBe(1);
  });

  test('addressOf knows views over mappings only', () => {
    using mapping = Mapping.anonymous(2 * PAGE_SIZE);
    expect(addressOf(mapping.view(100, 10))).toBe(mapping.address + 100);
    expect(addressOf(mapping.view(100, 10).subarray(3))).toBe(mapping.address + 103);
    expect(addressOf(new Uint8Array(8))).toBeUndefined();
  });

  test('more than 4 GiB: windows of at most 2 GiB, views across them', () => {
    using memfd = Memfd.create('large', 5 * GIB);
    using mapping = memfd.map();
    const windows = mapping.windows();
    expect(windows.map((window) => window.length)).toEqual([2 * GIB, 2 * GIB, GIB]);
    const across = mapping.view(2 * GIB - 8, 16);
    across.fill(9);
    expect(windows[0]?.[2 * GIB - 1]).toBe(9);
    expect(windows[1]?.[7]).toBe(9);
    expect(addressOf(across)).toBe(mapping.address + 2 * GIB - 8);
    expect(() => mapping.view(0, MAX_VIEW_SIZE + 1)).toThrow(RangeError);
    expect(() => mapping.view(5 * GIB, 1)).toThrow(RangeError);
  });

  test('a view that outlives its mapping reads zeros', () => {
    const memfd = Memfd.create('stale', PAGE_SIZE);
    const mapping = memfd.map();
    const view = mapping.view();
    view[5] = 5;
    mapping.close();
    mapping.close();
    expect(view[5]).toBe(0);
    view[5] = 6;
    expect(mapped('stale')).toBe(0);
    memfd.seal(SEAL.WRITE);
    memfd.close();
    expect(() => mapping.view()).toThrow(RangeError);
  });

  test('what cannot be mapped is a Fault with the errno of mmap', () => {
    expect(() => Mapping.ofFd(-1, PAGE_SIZE)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(() => Mapping.anonymous(0)).toThrow(RangeError);
  });
});

describe('Memfd', () => {
  test('holes give memory back and read as zeros', () => {
    using memfd = Memfd.create('holes', 64 * PAGE_SIZE);
    using mapping = memfd.map();
    mapping.view().fill(1);
    expect(memfd.allocated).toBe(64 * PAGE_SIZE);
    memfd.punchHole(0, 32 * PAGE_SIZE);
    expect(memfd.allocated).toBe(32 * PAGE_SIZE);
    expect(mapping.view(0, 1)[0]).toBe(0);
    expect(memfd.size).toBe(64 * PAGE_SIZE);
  });

  test('a seal against shrinking holds', () => {
    using memfd = Memfd.create('sealed', PAGE_SIZE);
    memfd.seal(SEAL.SHRINK | SEAL.GROW);
    expect(memfd.seals).toBe(SEAL.SHRINK | SEAL.GROW);
    expect(() => memfd.truncate(0)).toThrow(expect.objectContaining({ code: 'EPERM' }));
    memfd.close();
    expect(memfd.fd).toBe(-1);
    closeFd(memfd.fd);
  });
});
