import { describe, expect, test } from 'vitest';
import { HWCONFIG, hwconfigTable } from '../../src/xe/hwconfig.ts';
import { PLATFORMS } from '../../src/xe/platforms.ts';

/** Key, length and value of each entry, as Linux walks the table. */
function entries(table: Uint8Array): Map<number, number> {
  const words = new Uint32Array(table.slice().buffer);
  const found = new Map<number, number>();
  for (let at = 0; at + 3 <= words.length; ) {
    const [key, length, value] = words.subarray(at, at + 3) as unknown as [number, number, number];
    expect(found.has(key)).toBe(false);
    found.set(key, value);
    at += 2 + length;
    expect(at).toBeLessThanOrEqual(words.length);
  }
  return found;
}

describe.each(Object.values(PLATFORMS))('the configuration table of $name', (platform) => {
  test('has what Linux looks up, and counts the engines', () => {
    const table = entries(hwconfigTable(platform));
    const slices = table.get(HWCONFIG.MAX_SLICES_SUPPORTED) ?? 0;
    const subslices = table.get(HWCONFIG.MAX_SUBSLICE) ?? 0;
    // Shader cores are steered to in groups of four on these platforms.
    expect(Math.ceil(subslices / slices)).toBe(4);
    expect(table.get(HWCONFIG.MAX_COPY_CS)).toBe(2);
    expect(table.get(HWCONFIG.MAX_VCS)).toBe(platform.name === 'bmg' ? 2 : 1);
    expect(table.size).toBe(Object.keys(HWCONFIG).length);
  });
});
