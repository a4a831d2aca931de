/** Commands of the blitter as a driver would write them. */
import {
  BLT_HEADER,
  BLT_SURFACE_TYPE,
  BLT_TILING,
  type BltSurfaceFields,
  MEM_COPY,
  MEM_SET,
  XY_BLOCK_COPY_BLT,
  XY_CTRL_SURF_COPY_BLT,
  XY_FAST_COLOR_BLT,
  XY_FAST_COPY_BLT,
} from '../../../src/xe/commands/blt.ts';
import { putField } from '../../../src/xe/commands/blt-fields.ts';
import type { OracleSurface } from './oracle.ts';

/** A surface, and where a rectangle begins in it in pixels. */
export interface TestSurface extends OracleSurface {
  readonly x: number;
  readonly y: number;
  /** Of `x` and `y`, what the command has in its offset fields. */
  readonly offsetX: number;
  readonly offsetY: number;
}

const TILINGS = {
  linear: BLT_TILING.LINEAR,
  xmajor: BLT_TILING.XMAJOR,
  tile4: BLT_TILING.TILE4,
  tile64: BLT_TILING.TILE64,
  tile64of3d: BLT_TILING.TILE64,
} as const;

const DEPTHS = [1, 2, 4, 8, 12, 16];
const FAST_DEPTHS = new Map([
  [1, 0],
  [2, 1],
  [4, 3],
  [8, 4],
  [16, 5],
]);

function newCommand(opcode: number, length: number): Uint32Array {
  const dwords = new Uint32Array(length);
  putField(dwords, BLT_HEADER.CLIENT, 2);
  putField(dwords, BLT_HEADER.OPCODE, opcode);
  putField(dwords, BLT_HEADER.LENGTH, length - 2);
  return dwords;
}

function putAddress(dwords: Uint32Array, dword: number, address: number): void {
  dwords[dword] = address % 2 ** 32;
  dwords[dword + 1] = Math.floor(address / 2 ** 32);
}

export function memSet(
  address: number,
  shape: { width: number; height?: number; pitch?: number },
  value: number,
): Uint32Array {
  const dwords = newCommand(MEM_SET.opcode, 7);
  putField(dwords, MEM_SET.WIDTH, shape.width - 1);
  if (shape.height !== undefined) {
    putField(dwords, MEM_SET.FILL_TYPE, 1);
    putField(dwords, MEM_SET.HEIGHT, shape.height - 1);
    putField(dwords, MEM_SET.PITCH, (shape.pitch ?? shape.width) - 1);
  }
  putField(dwords, MEM_SET.DATA, value);
  putAddress(dwords, MEM_SET.DST_ADDRESS, address);
  return dwords;
}

export function memCopy(
  src: number,
  dst: number,
  shape: { width: number; height?: number; srcPitch?: number; dstPitch?: number; pages?: boolean },
): Uint32Array {
  const dwords = newCommand(MEM_COPY.opcode, 10);
  putField(dwords, MEM_COPY.WIDTH, shape.width - 1);
  if (shape.pages === true) putField(dwords, MEM_COPY.MODE, 1);
  if (shape.height !== undefined) {
    putField(dwords, MEM_COPY.COPY_TYPE, 1);
    putField(dwords, MEM_COPY.HEIGHT, shape.height - 1);
    putField(dwords, MEM_COPY.SRC_PITCH, (shape.srcPitch ?? shape.width) - 1);
    putField(dwords, MEM_COPY.DST_PITCH, (shape.dstPitch ?? shape.width) - 1);
  }
  putAddress(dwords, MEM_COPY.SRC_ADDRESS, src);
  putAddress(dwords, MEM_COPY.DST_ADDRESS, dst);
  return dwords;
}

/** @param pages 4 KiB pages of main memory */
export function ctrlSurfCopy(
  src: { address: number; direct: boolean },
  dst: { address: number; direct: boolean },
  pages: number,
): Uint32Array {
  const fields = XY_CTRL_SURF_COPY_BLT;
  const dwords = newCommand(fields.opcode, 5);
  putField(dwords, fields.SIZE, pages - 1);
  putField(dwords, fields.SRC_ACCESS_TYPE, src.direct ? 1 : 0);
  putField(dwords, fields.DST_ACCESS_TYPE, dst.direct ? 1 : 0);
  putAddress(dwords, fields.SRC_ADDRESS, src.address);
  putAddress(dwords, fields.DST_ADDRESS, dst.address);
  return dwords;
}

function putSurface(
  dwords: Uint32Array,
  fields: BltSurfaceFields,
  surface: TestSurface,
  lessOne: number,
): void {
  const unit = surface.kind === 'linear' ? 1 : 4;
  putField(dwords, fields.PITCH, surface.pitch / unit - lessOne);
  putField(dwords, fields.TILING, TILINGS[surface.kind]);
  putField(dwords, fields.X1, surface.x - surface.offsetX);
  putField(dwords, fields.Y1, surface.y - surface.offsetY);
  putAddress(dwords, fields.ADDRESS, surface.base);
  if (fields.X_OFFSET !== undefined) putField(dwords, fields.X_OFFSET, surface.offsetX);
  if (fields.Y_OFFSET !== undefined) putField(dwords, fields.Y_OFFSET, surface.offsetY);
  const type = surface.kind === 'tile64of3d' ? BLT_SURFACE_TYPE['3D'] : BLT_SURFACE_TYPE['2D'];
  for (const [field, value] of [
    [fields.SURFACE_TYPE, type],
    [fields.QPITCH, surface.qpitch / 4],
    [fields.ARRAY_INDEX, surface.slice],
  ] as const)
    if (field !== undefined && field.dword < dwords.length) putField(dwords, field, value);
}

export function blockCopy(
  src: TestSurface,
  dst: TestSurface,
  size: { width: number; height: number },
  length = 22,
): Uint32Array {
  const fields = XY_BLOCK_COPY_BLT;
  const dwords = newCommand(fields.opcode, length);
  putField(dwords, fields.COLOR_DEPTH, DEPTHS.indexOf(src.pixelSize));
  putSurface(dwords, fields.src, src, 1);
  putSurface(dwords, fields.dst, dst, 1);
  putField(dwords, fields.X2, dst.x - dst.offsetX + size.width);
  putField(dwords, fields.Y2, dst.y - dst.offsetY + size.height);
  return dwords;
}

export function fastCopy(
  src: TestSurface,
  dst: TestSurface,
  size: { width: number; height: number },
): Uint32Array {
  const fields = XY_FAST_COPY_BLT;
  const dwords = newCommand(fields.opcode, 10);
  putField(dwords, fields.COLOR_DEPTH, FAST_DEPTHS.get(src.pixelSize) as number);
  putSurface(dwords, fields.src, src, 0);
  putSurface(dwords, fields.dst, dst, 0);
  putField(dwords, fields.X2, dst.x + size.width);
  putField(dwords, fields.Y2, dst.y + size.height);
  return dwords;
}

export function fastColor(
  dst: TestSurface,
  size: { width: number; height: number },
  color: readonly number[],
): Uint32Array {
  const fields = XY_FAST_COLOR_BLT;
  const dwords = newCommand(fields.opcode, 16);
  putField(dwords, fields.COLOR_DEPTH, DEPTHS.indexOf(dst.pixelSize));
  putSurface(dwords, fields.dst, dst, 1);
  putField(dwords, fields.X2, dst.x - dst.offsetX + size.width);
  putField(dwords, fields.Y2, dst.y - dst.offsetY + size.height);
  dwords.set(color, fields.COLOR);
  return dwords;
}
