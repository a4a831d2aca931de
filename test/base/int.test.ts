import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  alignDown,
  alignUp,
  dataView,
  isPowerOfTwo,
  readU64,
  roundDownPowerOfTwo,
  roundUpPowerOfTwo,
  writeU64,
} from '../../src/base/int.ts';

const safe = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const positive = fc.integer({ min: 1, max: 2 ** 52 });

describe('u64 as a number', () => {
  it('writes the bytes that DataView writes for the same bigint, and reads them back', () => {
    fc.assert(
      fc.property(safe, (value) => {
        const ours = new Uint8Array(8);
        const theirs = new Uint8Array(8);
        writeU64(dataView(ours), 0, value);
        dataView(theirs).setBigUint64(0, BigInt(value), true);
        expect(ours).toEqual(theirs);
        expect(readU64(dataView(ours), 0)).toBe(value);
      }),
    );
  });

  it('reads what is above 2^53-1 as Infinity, so that every range check fails', () => {
    const bytes = new Uint8Array(8).fill(0xff);
    expect(readU64(dataView(bytes), 0)).toBe(Number.POSITIVE_INFINITY);
    dataView(bytes).setBigUint64(0, 2n ** 53n, true);
    expect(readU64(dataView(bytes), 0)).toBe(Number.POSITIVE_INFINITY);
  });

  it('looks only at the bytes of a view that begins inside its buffer', () => {
    const buffer = new Uint8Array(24);
    const view = dataView(buffer.subarray(8, 16));
    writeU64(view, 0, 0x1122_3344_5566);
    expect(buffer.subarray(0, 8)).toEqual(new Uint8Array(8));
    expect(Buffer.from(buffer.subarray(8, 16)).toString('hex')).toBe('6655443322110000');
  });
});

describe('powers of two and alignment', () => {
  it('rounds to the neighbours of a value', () => {
    fc.assert(
      fc.property(positive, (value) => {
        const down = roundDownPowerOfTwo(value);
        const up = roundUpPowerOfTwo(value);
        expect(isPowerOfTwo(down) && isPowerOfTwo(up)).toBe(true);
        expect(down <= value && value < down * 2).toBe(true);
        expect(up >= value && (up === 1 || up / 2 < value)).toBe(true);
      }),
    );
  });

  it('knows what is no power of two', () => {
    for (const value of [0, -2, 3, 6, 1.5, 2 ** 52 + 1]) expect(isPowerOfTwo(value)).toBe(false);
  });

  it('aligns beyond 2^32', () => {
    expect(alignUp(2 ** 40 + 1, 4096)).toBe(2 ** 40 + 4096);
    expect(alignDown(2 ** 40 + 4097, 4096)).toBe(2 ** 40 + 4096);
    expect(alignUp(0, 4096)).toBe(0);
  });
});
