/**
 * Where the bytes of tiled surfaces lie.
 *
 * A tile is described by which coordinate each bit of an offset in it comes from, bit 15 (or 11)
 * first: X is the byte in a row, Y the row, Z the slice; a coordinate's bits are used in their
 * order. In all of them the low four bits are X, and each page of 4 KiB is a rectangle of bytes.
 *
 * Source: Intel gmmlib CpuSwizzleBlt.c (INTEL_TILE_X, INTEL_TILE_4, INTEL_TILE_64_*,
 * INTEL_TILE_64_V2_3D_* for Xe2); Mesa isl.c (tile4_swiz, xe2_tile64_2d_*, xe2_tile64_3d_*), which
 * cites Bspec 44635, 58767 and 58786.
 */

const TILE_X = 'YYYXXXXXXXXX';
const TILE_4 = 'YYXYXXYYXXXX';
/** Tile64 of 2D surfaces, by log2 of the bytes of a pixel. */
const TILE_64_2D = [
  'YYYXYYXYXXYYXXXX',
  'YYXXYYXYXXYYXXXX',
  'YYXXYYXYXXYYXXXX',
  'YXXXYYXYXXYYXXXX',
  'YXXXYYXYXXYYXXXX',
] as const;
const TILE_64_3D = [
  'ZZZYYYZZXXYYXXXX',
  'ZZZYYYZZXXYYXXXX',
  'ZZYXYYZZXXYYXXXX',
  'ZZYXXYZZXXYYXXXX',
  'ZZYXXYZZXXYYXXXX',
] as const;

/** Bytes of the spans that lie together in every tiling. */
export const SPAN_SIZE = 16;
const SPAN_BITS = 4;
const PAGE_BITS = 12;

/** The layout of a tile. */
export interface Tiling {
  /** Bytes of a tile: 4 or 64 KiB. */
  readonly size: number;
  /** Bytes of a row, rows and slices of a tile. */
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  /** Bytes of a row, and rows, of the rectangle that one slice has in a page of 4 KiB. */
  readonly pageWidth: number;
  readonly pageHeight: number;
  /** Bytes that lie together in a row: {@link SPAN_SIZE}, or all of a page's row. */
  readonly spanSize: number;
  /** Parts of the offset in the tile: by the span's number in a row, the row, the slice. */
  readonly spanOffsets: Uint16Array;
  readonly rowOffsets: Uint16Array;
  /** The parts of spans and rows of one page in dwords. */
  readonly spanWords: Uint16Array;
  readonly rowWords: Uint16Array;
  readonly sliceOffsets: Uint16Array;
}

function count(swizzle: string, letter: string, bits = swizzle.length): number {
  return [...swizzle.slice(swizzle.length - bits)].filter((one) => one === letter).length;
}

/** Puts the bits of `value` where `letter` stands. */
function deposit(swizzle: string, letter: string, value: number): number {
  let offset = 0;
  let left = value;
  for (let bit = 0; bit < swizzle.length; bit++) {
    if (swizzle[swizzle.length - 1 - bit] !== letter) continue;
    offset |= (left & 1) << bit;
    left >>>= 1;
  }
  return offset;
}

function table(swizzle: string, letter: string, bits: number, scale = 1): Uint16Array {
  return Uint16Array.from({ length: 2 ** bits }, (_, i) => deposit(swizzle, letter, i * scale));
}

function words(bytes: number): number {
  return bytes >>> 2;
}

function tiling(swizzle: string): Tiling {
  const xBits = count(swizzle, 'X');
  const yBits = count(swizzle, 'Y');
  const zBits = count(swizzle, 'Z');
  const pageXBits = count(swizzle, 'X', PAGE_BITS);
  const wholeRows = swizzle.endsWith('X'.repeat(pageXBits));
  const spanOffsets = table(swizzle, 'X', xBits - SPAN_BITS, SPAN_SIZE);
  const rowOffsets = table(swizzle, 'Y', yBits);
  return {
    size: 2 ** swizzle.length,
    width: 2 ** xBits,
    height: 2 ** yBits,
    depth: 2 ** zBits,
    pageWidth: 2 ** pageXBits,
    pageHeight: 2 ** count(swizzle, 'Y', PAGE_BITS),
    spanSize: wholeRows ? 2 ** pageXBits : SPAN_SIZE,
    spanOffsets,
    rowOffsets,
    spanWords: spanOffsets.subarray(0, 2 ** pageXBits / SPAN_SIZE).map(words),
    rowWords: rowOffsets.subarray(0, 2 ** count(swizzle, 'Y', PAGE_BITS)).map(words),
    sliceOffsets: table(swizzle, 'Z', zBits),
  };
}

const known = new Map<string, Tiling>();

function tilingOf(swizzle: string): Tiling {
  let found = known.get(swizzle);
  if (found === undefined) {
    found = tiling(swizzle);
    known.set(swizzle, found);
  }
  return found;
}

/** X-major: 512 bytes by 8 rows, row by row. */
export function tileX(): Tiling {
  return tilingOf(TILE_X);
}

/** Tile4: 128 bytes by 32 rows. */
export function tile4(): Tiling {
  return tilingOf(TILE_4);
}

/**
 * Tile64 of pixels of 1, 2, 4, 8 or 16 bytes; undefined for others, which it does not have.
 *
 * @param threeDimensional true for a 3D surface, whose slices share tiles
 */
export function tile64(pixelSize: number, threeDimensional: boolean): Tiling | undefined {
  const swizzle = (threeDimensional ? TILE_64_3D : TILE_64_2D)[Math.log2(pixelSize)];
  return swizzle === undefined ? undefined : tilingOf(swizzle);
}
