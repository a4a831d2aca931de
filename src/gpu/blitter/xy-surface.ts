/** Surfaces as 2D commands describe them. */
import { BLT_SURFACE_TYPE, BLT_TILING, type BltSurfaceFields } from '../../xe/commands/blt.ts';
import {
  addressOf48,
  type CommandField,
  fieldOf,
  signedFieldOf,
} from '../../xe/commands/blt-fields.ts';
import type { SurfaceLayout } from './surface.ts';
import { type Tiling, tile4, tile64, tileX } from './tiling.ts';

/** A surface, and where a command's rectangle begins in it. */
export interface XySurface {
  readonly layout: SurfaceLayout;
  /** Bytes in a row, and row. */
  readonly x: number;
  readonly y: number;
}

/** Rows that one step of QPITCH stands for. */
const QPITCH_ROWS = 4;
/** Bytes that one step of the pitch of a tiled surface stands for. */
const TILED_PITCH_UNIT = 4;

/**
 * Decodes a surface.
 *
 * @param pixelSize bytes
 * @param lessOne 1 when the command has its pitches less 1, else 0
 * @returns undefined for what no surface can be: a place before its beginning, a pixel size or
 * dimension that the tiling does not have; and for levels of detail other than 0, whose place this
 * blitter does not know
 */
export function xySurface(
  dwords: Uint32Array,
  fields: BltSurfaceFields,
  pixelSize: number,
  lessOne: number,
): XySurface | undefined {
  const optional = (field: CommandField | undefined): number =>
    field === undefined || field.dword >= dwords.length ? 0 : fieldOf(dwords, field);
  const tilingField = fieldOf(dwords, fields.TILING);
  const threeDimensional = optional(fields.SURFACE_TYPE) === BLT_SURFACE_TYPE['3D'];
  const tiling = tilingOf(tilingField, pixelSize, threeDimensional);
  const isLinear = tilingField === BLT_TILING.LINEAR;
  if (tiling === undefined && !isLinear) return undefined;
  const column = signedFieldOf(dwords, fields.X1) + optional(fields.X_OFFSET);
  const row = signedFieldOf(dwords, fields.Y1) + optional(fields.Y_OFFSET);
  if (column < 0 || row < 0 || optional(fields.LOD) !== 0) return undefined;
  const index = optional(fields.ARRAY_INDEX);
  const depth = tiling?.depth ?? 1;
  const slab = Math.floor(index / depth);
  const pitch = (fieldOf(dwords, fields.PITCH) + lessOne) * (isLinear ? 1 : TILED_PITCH_UNIT);
  return {
    layout: {
      address: addressOf48(dwords, fields.ADDRESS),
      pitch,
      tiling,
      slice: index - slab * depth,
    },
    x: column * pixelSize,
    y: row + slab * optional(fields.QPITCH) * QPITCH_ROWS,
  };
}

/** Undefined for linear, and for pixels or dimensions that a tiling does not have. */
function tilingOf(field: number, pixelSize: number, threeDimensional: boolean): Tiling | undefined {
  if (pixelSize === 12) return undefined;
  if (field === BLT_TILING.XMAJOR) return threeDimensional ? undefined : tileX();
  if (field === BLT_TILING.TILE4) return tile4();
  if (field === BLT_TILING.TILE64) return tile64(pixelSize, threeDimensional);
  return undefined;
}
