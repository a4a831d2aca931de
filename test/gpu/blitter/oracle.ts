/**
 * Where a pixel's bytes lie, the slow way: one bit of an address after the other, as Mesa's isl.c
 * writes the orders down (tilex_swiz, tile4_swiz, xe2_tile64_2d_*, xe2_tile64_3d_*), with u the
 * byte in a row, v the row and r the slice.
 */
const TILE4 = 'v4 v3 u6 v2 u5 u4 v1 v0 u3 u2 u1 u0';
const LOW_2D = 'v4 v3 u6 v2 u5 u4 v1 v0 u3 u2 u1 u0';
const LOW_3D = 'r1 r0 u5 u4 v1 v0 u3 u2 u1 u0';

/** Orders by name and bytes of a pixel. */
const ORDERS: Readonly<Record<string, (pixelSize: number) => string>> = {
  xmajor: () => 'v2 v1 v0 u8 u7 u6 u5 u4 u3 u2 u1 u0',
  tile4: () => TILE4,
  tile64: (pixelSize) => {
    if (pixelSize >= 8) return `v5 u9 u8 u7 ${LOW_2D}`;
    return pixelSize >= 2 ? `v6 v5 u8 u7 ${LOW_2D}` : `v7 v6 v5 u7 ${LOW_2D}`;
  },
  tile64of3d: (pixelSize) => {
    if (pixelSize >= 8) return `r3 r2 v3 u7 u6 v2 ${LOW_3D}`;
    return pixelSize === 4 ? `r3 r2 v4 u6 v3 v2 ${LOW_3D}` : `r4 r3 r2 v4 v3 v2 ${LOW_3D}`;
  },
};

/** One surface for the oracle. */
export interface OracleSurface {
  readonly kind: 'linear' | 'xmajor' | 'tile4' | 'tile64' | 'tile64of3d';
  readonly base: number;
  /** Bytes. */
  readonly pitch: number;
  readonly pixelSize: number;
  /** Rows from slice to slice, and the slice. */
  readonly qpitch: number;
  readonly slice: number;
}

/** One bit of an offset: which coordinate's, and which of its bits. */
interface OrderBit {
  readonly letter: 'u' | 'v' | 'r';
  readonly bit: number;
}

const parsed = new Map<string, readonly OrderBit[]>();

/** The bits of an offset, lowest first. */
function orderOf(kind: string, pixelSize: number): readonly OrderBit[] {
  const text = (ORDERS[kind] as (size: number) => string)(pixelSize);
  let order = parsed.get(text);
  if (order === undefined) {
    order = text
      .split(' ')
      .reverse()
      .map((one) => ({ letter: one[0] as 'u', bit: Number(one.slice(1)) }));
    parsed.set(text, order);
  }
  return order;
}

/** Address of byte `u` of row `v` of a surface's slice. */
export function oracleAddress(surface: OracleSurface, u: number, v: number): number {
  const { kind, base, pitch, pixelSize, qpitch, slice } = surface;
  if (kind === 'linear') return base + (v + slice * qpitch) * pitch + u;
  const order = orderOf(kind, pixelSize);
  const size = (letter: string): number => 2 ** order.filter((one) => one.letter === letter).length;
  const [width, height, depth] = [size('u'), size('v'), size('r')];
  const row = v + Math.floor(slice / depth) * qpitch;
  const coordinates = { u: u % width, v: row % height, r: slice % depth };
  let inTile = 0;
  for (let place = 0; place < order.length; place++) {
    const { letter, bit } = order[place] as OrderBit;
    inTile += ((coordinates[letter] >>> bit) & 1) * 2 ** place;
  }
  const tileRow = Math.floor(row / height) * pitch * height * depth;
  return base + tileRow + Math.floor(u / width) * 2 ** order.length + inTile;
}
