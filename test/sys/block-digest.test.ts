import { afterEach, describe, expect, test } from 'vitest';
import {
  copyMemory,
  type DigestKind,
  hasDigest,
  newDigestKey,
  openDigest,
} from '../../src/sys/block-digest.ts';
import { Mapping } from '../../src/sys/mapping.ts';

const SIZE = 65_536;
const memory = Mapping.anonymous(2 * SIZE);
const bytes = memory.view();

afterEach(() => {
  bytes.fill(0);
});

test('this machine has a digest, XXH3 before Poly1305', () => {
  expect(hasDigest()).toBe(true);
  expect(newDigestKey()?.kind).toBe(newDigestKey(['xxh3'])?.kind ?? 'poly1305');
});

describe.each(['xxh3', 'poly1305'] as const)('%s', (kind: DigestKind) => {
  const key = newDigestKey([kind]);

  test.skipIf(key === undefined)('tells any changed bit, and equal contents alike', () => {
    const digest = openDigest(key as NonNullable<typeof key>);
    const zero = digest(memory.address, SIZE);
    expect(digest(memory.address + SIZE, SIZE)).toBe(zero);
    expect(zero).not.toBe(0n);
    const seen = new Set([zero]);
    for (const at of [0, 1, 63, 64, 4095, 32_768, SIZE - 1]) {
      for (const bit of [0, 7]) {
        bytes[at] = 1 << bit;
        seen.add(digest(memory.address, SIZE));
        bytes[at] = 0;
      }
    }
    expect(seen.size).toBe(15);
    expect(digest(memory.address, SIZE)).toBe(zero);
  });

  test.skipIf(key === undefined)('depends on its key, and on nothing else', () => {
    const first = key as NonNullable<typeof key>;
    const other = newDigestKey([kind]) as NonNullable<typeof key>;
    bytes.fill(7);
    const expected = openDigest(first)(memory.address, SIZE);
    expect(openDigest(structuredClone(first))(memory.address, SIZE)).toBe(expected);
    expect(openDigest(other)(memory.address, SIZE)).not.toBe(expected);
  });
});

test('native memory is copied', () => {
  bytes.fill(3, SIZE);
  copyMemory(memory.address, memory.address + SIZE, SIZE);
  expect(bytes.subarray(0, SIZE).every((byte) => byte === 3)).toBe(true);
});
