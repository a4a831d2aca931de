import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../support/random.ts';
import { TestSpace } from '../memory/test-space.ts';
import { blit, blitInSteps, startBlit } from './blit-run.ts';
import { blockCopy, fastColor, fastCopy, type TestSurface } from './command-words.ts';
import { oracleAddress } from './oracle.ts';

const MIB = 2 ** 20;
/** Two surfaces, the second at 2 MiB; tables of the space behind them. */
const SURFACE_SPAN = 2 * MIB;

const KINDS = ['linear', 'xmajor', 'tile4', 'tile64', 'tile64of3d'] as const;
const TILE_WIDTHS = { linear: 1, xmajor: 512, tile4: 128, tile64: 1024, tile64of3d: 256 };

interface Shape {
  kind: (typeof KINDS)[number];
  pitchTiles: number;
  x: number;
  y: number;
  split: number;
  slice: number;
}

const shape = fc.record<Shape>({
  kind: fc.constantFrom(...KINDS),
  pitchTiles: fc.integer({ min: 1, max: 3 }),
  x: fc.nat(40),
  y: fc.nat(70),
  split: fc.nat(40),
  slice: fc.nat(2),
});

/** A surface that `width` pixels of the shape fit in. */
function surfaceOf(from: Shape, base: number, pixelSize: number, width: number): TestSurface {
  const kind = pixelSize === 12 ? 'linear' : from.kind;
  const unit = TILE_WIDTHS[kind];
  const least = Math.ceil(((from.x + width) * pixelSize) / unit);
  const pitch = (least + from.pitchTiles - 1) * unit;
  const offset = Math.min(from.split, from.x);
  return {
    kind,
    base,
    pitch,
    pixelSize,
    qpitch: 256,
    slice: from.slice,
    x: from.x,
    y: from.y,
    offsetX: offset,
    offsetY: Math.min(from.split, from.y),
  };
}

/** Skips what does not fit into the room that each surface has. */
function assumeFits(
  surface: TestSurface,
  { width, height }: { width: number; height: number },
): void {
  const last = oracleAddress(surface, (surface.x + width) * surface.pixelSize, surface.y + height);
  fc.pre(last + 2 ** 16 <= surface.base + SURFACE_SPAN);
}

function fillRandom(bytes: Uint8Array, seed: number): void {
  const random = new SeededRandom(seed + 1);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  for (let i = 0; i < words.length; i++) words[i] = random.below(2 ** 32 - 1);
}

/** What a command has to leave behind, a pixel at a time. */
function expected(
  memory: Uint8Array,
  dst: TestSurface,
  size: { width: number; height: number },
  pixelAt: (x: number, y: number) => Uint8Array,
): Uint8Array {
  const result = memory.slice(0, 2 * SURFACE_SPAN);
  for (let y = 0; y < size.height; y++)
    for (let x = 0; x < size.width; x++) {
      const at = oracleAddress(dst, (dst.x + x) * dst.pixelSize, dst.y + y);
      result.set(pixelAt(x, y), at);
    }
  return result;
}

/** The same of a copy. */
function copied(
  memory: Uint8Array,
  src: TestSurface,
  dst: TestSurface,
  size: { width: number; height: number },
): Uint8Array {
  return expected(memory, dst, size, (x, y) => {
    const at = oracleAddress(src, (src.x + x) * src.pixelSize, src.y + y);
    return memory.subarray(at, at + src.pixelSize);
  });
}

function same(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

const memory = new TestSpace({ system: 2 * SURFACE_SPAN + MIB });
for (let at = 0; at < 2 * SURFACE_SPAN; at += 2 * MIB) memory.map(at, at, 3, 1);
const bytes = memory.system.subarray(0, 2 * SURFACE_SPAN);
fillRandom(bytes, 1);

const size = fc.record({
  width: fc.integer({ min: 1, max: 90 }),
  height: fc.integer({ min: 1, max: 80 }),
});
const budgets = fc.array(fc.integer({ min: 500, max: 20_000 }), { minLength: 1, maxLength: 4 });

describe('copies of rectangles', () => {
  it('move every byte of any rectangle between any layouts, in any steps', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 2, 4, 8, 12, 16),
        shape,
        shape,
        size,
        budgets,
        (pixelSize, from, to, extent, steps) => {
          const src = surfaceOf(from, 0, pixelSize, extent.width);
          assumeFits(src, extent);
          const dst = surfaceOf(to, SURFACE_SPAN, pixelSize, extent.width);
          assumeFits(dst, extent);
          const result = copied(bytes, src, dst, extent);
          blitInSteps(blockCopy(src, dst, extent), memory.ppgtt, steps);
          expect(same(bytes, result)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('are the same by XY_FAST_COPY_BLT, which has no slices', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 2, 4, 8, 16),
        shape,
        shape,
        size,
        (pixelSize, from, to, extent) => {
          const plain = (one: Shape, base: number): TestSurface => {
            const kind = one.kind === 'tile64of3d' ? 'tile64' : one.kind;
            const surface = surfaceOf(
              { ...one, kind, slice: 0, split: 0 },
              base,
              pixelSize,
              extent.width,
            );
            // 16 bits of pitch, in dwords for tiles.
            return surface;
          };
          const src = plain(from, 0);
          const dst = plain(to, SURFACE_SPAN);
          const result = copied(bytes, src, dst, extent);
          blit(fastCopy(src, dst, extent), memory.ppgtt);
          expect(same(bytes, result)).toBe(true);
        },
      ),
      { numRuns: 25 },
    );
  });

  it('go on after a fault at any page', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 4, 16),
        shape,
        shape,
        size,
        fc.array(fc.nat((2 * SURFACE_SPAN) / 4096 - 1), { minLength: 1, maxLength: 40 }),
        (pixelSize, from, to, extent, missing) => {
          const space = new TestSpace({ system: 2 * SURFACE_SPAN + MIB });
          space.mapRange(0, 0, 2 * SURFACE_SPAN);
          const own = space.system.subarray(0, 2 * SURFACE_SPAN);
          own.set(bytes);
          const src = surfaceOf(from, 0, pixelSize, extent.width);
          assumeFits(src, extent);
          const dst = surfaceOf(to, SURFACE_SPAN, pixelSize, extent.width);
          assumeFits(dst, extent);
          const result = copied(own, src, dst, extent);
          // Some pages that it needs, and some that it may not.
          const wanted = missing.map((page, i) => {
            const [surface, y] =
              i % 2 === 0 ? [src, page % extent.height] : [dst, page % extent.height];
            return i % 4 === 3
              ? page
              : Math.floor(oracleAddress(surface, surface.x * pixelSize, surface.y + y) / 4096);
          });
          for (const page of wanted) space.map(page * 4096, 0, 0);
          blitInSteps(blockCopy(src, dst, extent), space.ppgtt, [30_000], (address) => {
            const page = Math.floor(address / 4096);
            expect(wanted).toContain(page);
            space.map(page * 4096, page * 4096);
          });
          expect(same(own, result)).toBe(true);
        },
      ),
      { numRuns: 8 },
    );
  });

  it('end as if by way of another place when both sides overlap', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 4, 16),
        shape,
        fc.nat(40),
        fc.nat(70),
        size,
        budgets,
        (pixelSize, one, x, y, extent, steps) => {
          const src = { ...surfaceOf({ ...one, x: 41, y: 71 }, 0, pixelSize, extent.width) };
          for (const [dx, dy] of [
            [x, y],
            [-x, y],
            [x, -y],
            [-x, -y],
            [x, 0],
            [-x, 0],
          ] as const) {
            const wide = surfaceOf({ ...one, x: 41 + 40, y: 0 }, 0, pixelSize, extent.width);
            const from = { ...src, pitch: wide.pitch };
            assumeFits({ ...from, x: 41 + 40, y: 71 + 70 }, extent);
            const to = { ...from, x: from.x + dx, y: from.y + dy, offsetX: 0, offsetY: 0 };
            const result = copied(bytes, from, to, extent);
            blitInSteps(blockCopy(from, to, extent), memory.ppgtt, steps);
            expect(same(bytes, result)).toBe(true);
          }
        },
      ),
      { numRuns: 8 },
    );
  });

  it('of nothing are done at once', () => {
    const surface = surfaceOf(
      { kind: 'tile4', pitchTiles: 1, x: 4, y: 4, split: 0, slice: 0 },
      0,
      4,
      8,
    );
    for (const extent of [
      { width: 0, height: 5 },
      { width: 5, height: 0 },
      { width: -3, height: 3 },
    ])
      for (const kind of ['linear', 'tile4'] as const) {
        const before = bytes.slice();
        blit(
          blockCopy({ ...surface, kind }, { ...surface, kind, base: SURFACE_SPAN }, extent),
          memory.ppgtt,
        );
        blit(fastColor({ ...surface, kind }, extent, [1, 2, 3, 4]), memory.ppgtt);
        expect(same(bytes, before)).toBe(true);
      }
  });

  it('have a short form without slices', () => {
    const src = surfaceOf(
      { kind: 'linear', pitchTiles: 1, x: 0, y: 0, split: 0, slice: 0 },
      0,
      4,
      16,
    );
    const dst = { ...src, kind: 'tile4', base: SURFACE_SPAN, pitch: 128 } as const;
    blit(blockCopy(src, dst, { width: 16, height: 16 }, 12), memory.ppgtt);
    expect(bytes[oracleAddress(dst, 63, 15)]).toBe(bytes[oracleAddress(src, 63, 15)]);
  });
});

describe('fills of rectangles', () => {
  it('write every byte of the colour, in any steps', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(1, 2, 4, 8, 12, 16),
        shape,
        size,
        budgets,
        fc.array(fc.nat(0xffff_ffff), { minLength: 4, maxLength: 4 }),
        (pixelSize, to, extent, steps, color) => {
          const dst = surfaceOf(to, SURFACE_SPAN, pixelSize, extent.width);
          assumeFits(dst, extent);
          const pixel = new Uint8Array(Uint32Array.from(color).buffer, 0, pixelSize);
          const result = expected(bytes, dst, extent, () => pixel);
          blitInSteps(fastColor(dst, extent, color), memory.ppgtt, steps);
          expect(same(bytes, result)).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('of whole pages are the same', () => {
    for (const kind of ['xmajor', 'tile4', 'tile64', 'tile64of3d'] as const) {
      const from = { kind, pitchTiles: 1, x: 3, y: 5, split: 0, slice: 1 };
      const dst = surfaceOf(from, SURFACE_SPAN, 4, 170);
      const extent = { width: 170, height: 150 };
      const pixel = new Uint8Array(Uint32Array.of(0x1234_5678).buffer);
      const result = expected(bytes, dst, extent, () => pixel);
      blit(fastColor(dst, extent, [0x1234_5678]), memory.ppgtt);
      expect(same(bytes, result)).toBe(true);
    }
  });
});

describe('what no rectangle can be', () => {
  const surface = surfaceOf(
    { kind: 'tile4', pitchTiles: 1, x: 4, y: 4, split: 0, slice: 0 },
    0,
    4,
    8,
  );
  const extent = { width: 8, height: 8 };
  function malformed(dwords: Uint32Array, change: (dwords: Uint32Array) => void): void {
    expect(startBlit(dwords, memory.ppgtt)).toBeDefined();
    change(dwords);
    expect(startBlit(dwords, memory.ppgtt)).toBeUndefined();
  }

  it('hangs the engine', () => {
    const dst = { ...surface, base: SURFACE_SPAN };
    const or = (dword: number, value: number) => (dwords: Uint32Array) => {
      dwords[dword] = ((dwords[dword] as number) | value) >>> 0;
    };
    // Colour depths 6 and 7, special mode 3, samples, a level of detail, a place before the surface.
    malformed(blockCopy(surface, dst, extent), or(0, 6 << 19));
    malformed(blockCopy(surface, dst, extent), or(0, 3 << 12));
    malformed(blockCopy(surface, dst, extent), or(0, 1 << 9));
    malformed(blockCopy(surface, dst, extent), or(17, 1));
    malformed(blockCopy(surface, dst, extent), or(2, 0x8000));
    malformed(blockCopy(surface, dst, extent), or(7, 0x8000_0000));
    malformed(fastColor(surface, extent, [0]), or(0, 1 << 12));
    malformed(fastColor(surface, extent, [0]), or(0, 6 << 19));
    malformed(fastCopy(surface, dst, extent), (dwords) => {
      dwords[1] = ((dwords[1] as number) & ~(7 << 24)) | (2 << 24);
    });
    // Pixels of 12 bytes are linear; X-major surfaces have no depth.
    malformed(blockCopy(surface, dst, extent), (dwords) => {
      dwords[0] = ((dwords[0] as number) & ~(7 << 19)) | (4 << 19);
    });
    malformed(blockCopy({ ...surface, kind: 'xmajor', pitch: 512 }, dst, extent), (dwords) => {
      dwords[19] = 2 * 2 ** 29;
    });
  });
});
