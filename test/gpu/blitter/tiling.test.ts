import { describe, expect, it } from 'vitest';
import { type Tiling, tile4, tile64, tileX } from '../../../src/gpu/blitter/tiling.ts';
import { type OracleSurface, oracleAddress } from './oracle.ts';

function check(tiling: Tiling, kind: OracleSurface['kind'], pixelSize: number): void {
  const { width, height, depth, size } = tiling;
  expect(width * height * depth).toBe(size);
  const seen = new Uint8Array(size / 16);
  for (let slice = 0; slice < depth; slice++) {
    const surface = { kind, base: 0, pitch: width, pixelSize, qpitch: height, slice };
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x += 16) {
        const offset =
          (tiling.spanOffsets[x / 16] as number) +
          (tiling.rowOffsets[y] as number) +
          (tiling.sliceOffsets[slice] as number);
        if (offset !== oracleAddress(surface, x, y) || offset % 16 !== 0)
          expect.fail(`${kind} ${pixelSize}: (${x}, ${y}, ${slice}) is at ${offset}`);
        seen[offset / 16] = 1;
      }
  }
  expect(seen.every((one) => one === 1)).toBe(true);
  expect(
    oracleAddress({ kind, base: 0, pitch: width, pixelSize, qpitch: 0, slice: 0 }, 15, 0),
  ).toBe(15);
}

describe('tiles', () => {
  it('are laid out as their bits say', () => {
    check(tileX(), 'xmajor', 4);
    check(tile4(), 'tile4', 4);
    for (const pixelSize of [1, 2, 4, 8, 16]) {
      check(tile64(pixelSize, false) as Tiling, 'tile64', pixelSize);
      check(tile64(pixelSize, true) as Tiling, 'tile64of3d', pixelSize);
    }
  });

  it('have the sizes of their kinds', () => {
    expect(tileX()).toMatchObject({ size: 4096, width: 512, height: 8, depth: 1, spanSize: 512 });
    expect(tile4()).toMatchObject({ size: 4096, width: 128, height: 32, depth: 1, spanSize: 16 });
    const sizes = [1, 2, 4, 8, 16].map((size) => [
      tile64(size, false)?.width,
      tile64(size, false)?.height,
    ]);
    expect(sizes).toEqual([
      [256, 256],
      [512, 128],
      [512, 128],
      [1024, 64],
      [1024, 64],
    ]);
    const cubes = [1, 2, 4, 8, 16].map((size) => tile64(size, true)?.depth);
    expect(cubes).toEqual([32, 32, 16, 16, 16]);
    expect(tile64(12, false)).toBeUndefined();
  });
});
