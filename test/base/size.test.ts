import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatSize, parseSize } from '../../src/base/size.ts';

describe('sizes', () => {
  it.each([
    ['4096', 4096],
    ['0x1000', 4096],
    ['64K', 65536],
    ['64k', 65536],
    ['512MiB', 512 * 2 ** 20],
    ['1.5G', 1.5 * 2 ** 30],
    ['2TB', 2 * 2 ** 40],
    ['0', 0],
  ])('reads %s as %i bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  it.each(['', 'G', '-1', '1.0001', '12X', '1e9', '0xg', '99999T', '4 4'])(
    'refuses "%s"',
    (text) => {
      expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    },
  );

  it('reads back any count of bytes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }), (bytes) => {
        expect(parseSize(String(bytes))).toBe(bytes);
      }),
    );
  });

  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [2 ** 30, '1 GiB'],
    [2 ** 50, '1024 TiB'],
  ])('writes %i as %s', (bytes, text) => {
    expect(formatSize(bytes)).toBe(text);
  });
});
