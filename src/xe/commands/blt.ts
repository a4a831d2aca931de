/**
 * Commands of the blitter (command type 2) of Xe2 and Xe3, as tables of fields.
 *
 * All of them have the length in dwords, less 2, in bits 7:0 of dword 0, the opcode in 28:22 and the
 * client (2) in 31:29.
 *
 * Source: drivers/gpu/drm/xe/instructions/xe_gpu_commands.h, xe_migrate.c; Intel compute-runtime
 * hw_cmds_generated_xe2_hpg_core.inl (xe3_core has the same); igt-gpu-tools lib/intel_blt.c.
 */
import { bits, type CommandField } from './blt-fields.ts';

/** Value of the client field. */
export const BLT_CLIENT = 2;
/** Dword 0: length less 2, opcode, client. */
export const BLT_HEADER = {
  LENGTH: bits(0, 0, 7),
  OPCODE: bits(0, 22, 28),
  CLIENT: bits(0, 29, 31),
} as const;

/** MEM_SET: fills memory with one byte. */
export const MEM_SET = {
  name: 'MEM_SET',
  opcode: 0x5b,
  dwords: [7],
  /** 0 linear, 1 matrix; 2 and 3 are those as fast clears. */
  FILL_TYPE: bits(0, 17, 18),
  /** 0 fill, 1 evict. */
  MODE: bits(0, 19, 20),
  /** Bytes less 1; a matrix uses 18 bits. */
  WIDTH: bits(1, 0, 23),
  /** Rows less 1; matrix only. */
  HEIGHT: bits(2, 0, 17),
  /** Bytes less 1; matrix only. */
  PITCH: bits(3, 0, 17),
  /** Dword of the address. */
  DST_ADDRESS: 4,
  MOCS: bits(6, 3, 6),
  DATA: bits(6, 24, 31),
} as const;

/** MEM_COPY: copies bytes. */
export const MEM_COPY = {
  name: 'MEM_COPY',
  opcode: 0x5a,
  dwords: [10],
  /** 0 linear, 1 matrix. */
  COPY_TYPE: bits(0, 17, 18),
  /** 0 bytes, 1 pages of {@link MEM_COPY_PAGE_SIZE}. */
  MODE: bits(0, 19, 19),
  /** Bytes or pages less 1; a matrix uses 18 bits. */
  WIDTH: bits(1, 0, 23),
  /** Rows less 1; matrix only, as are the pitches (bytes less 1). */
  HEIGHT: bits(2, 0, 17),
  SRC_PITCH: bits(3, 0, 17),
  DST_PITCH: bits(4, 0, 17),
  SRC_ADDRESS: 5,
  DST_ADDRESS: 7,
  DST_MOCS: bits(9, 3, 6),
  SRC_MOCS: bits(9, 28, 31),
} as const;

/** Bytes of the pages of a MEM_COPY in page mode. Source: xe_migrate.c (PAGE_COPY_MODE_PS). */
export const MEM_COPY_PAGE_SIZE = 256;

/** XY_CTRL_SURF_COPY_BLT: copies compression metadata. */
export const XY_CTRL_SURF_COPY_BLT = {
  name: 'XY_CTRL_SURF_COPY_BLT',
  opcode: 0x48,
  dwords: [5],
  /** Pages of 4 KiB of main memory, less 1: XE2_CCS_SIZE_MASK. */
  SIZE: bits(0, 9, 18),
  /** 0 indirect: the address of the main memory; 1 direct: metadata lies there as bytes. */
  DST_ACCESS_TYPE: bits(0, 20, 20),
  SRC_ACCESS_TYPE: bits(0, 21, 21),
  SRC_ADDRESS: 1,
  DST_ADDRESS: 3,
} as const;

/** What describes one surface of a 2D command. */
export interface BltSurfaceFields {
  /** Bytes of a linear surface, else dwords; less 1 unless the command says otherwise. */
  readonly PITCH: CommandField;
  /** One of {@link BLT_TILING}. */
  readonly TILING: CommandField;
  readonly X1: CommandField;
  readonly Y1: CommandField;
  /** Dword of the address. */
  readonly ADDRESS: number;
  /** Added to the coordinates. */
  readonly X_OFFSET?: CommandField;
  readonly Y_OFFSET?: CommandField;
  /** One of {@link BLT_SURFACE_TYPE}. */
  readonly SURFACE_TYPE?: CommandField;
  readonly LOD?: CommandField;
  /** Rows between slices, in units of 4. */
  readonly QPITCH?: CommandField;
  /** The slice to use, counted from 0. */
  readonly ARRAY_INDEX?: CommandField;
}

/** Layouts of a surface. */
export const BLT_TILING = { LINEAR: 0, XMAJOR: 1, TILE4: 2, TILE64: 3 } as const;
/** Dimensions of a surface. */
export const BLT_SURFACE_TYPE = { '1D': 0, '2D': 1, '3D': 2, CUBE: 3 } as const;

/** Bytes of a pixel by COLOR_DEPTH of XY_BLOCK_COPY_BLT and XY_FAST_COLOR_BLT. */
export const BLT_COLOR_DEPTH_SIZES = [1, 2, 4, 8, 12, 16] as const;
/** The same of XY_FAST_COPY_BLT, whose value 2 is reserved. */
export const FAST_COPY_COLOR_DEPTH_SIZES = [1, 2, undefined, 4, 8, 16] as const;

/** XY_BLOCK_COPY_BLT: copies a rectangle; 12 dwords, or 22 with the description of surfaces. */
export const XY_BLOCK_COPY_BLT = {
  name: 'XY_BLOCK_COPY_BLT',
  opcode: 0x41,
  dwords: [12, 22],
  MULTISAMPLES: bits(0, 9, 11),
  /** 0 none, 1 full resolve, 2 partial resolve. */
  SPECIAL_MODE: bits(0, 12, 13),
  COLOR_DEPTH: bits(0, 19, 21),
  X2: bits(3, 0, 15),
  Y2: bits(3, 16, 31),
  dst: {
    PITCH: bits(1, 0, 17),
    TILING: bits(1, 30, 31),
    X1: bits(2, 0, 15),
    Y1: bits(2, 16, 31),
    ADDRESS: 4,
    X_OFFSET: bits(6, 0, 13),
    Y_OFFSET: bits(6, 16, 29),
    SURFACE_TYPE: bits(16, 29, 31),
    LOD: bits(17, 0, 3),
    QPITCH: bits(17, 4, 18),
    ARRAY_INDEX: bits(18, 21, 31),
  },
  src: {
    PITCH: bits(8, 0, 17),
    TILING: bits(8, 30, 31),
    X1: bits(7, 0, 15),
    Y1: bits(7, 16, 31),
    ADDRESS: 9,
    X_OFFSET: bits(11, 0, 13),
    Y_OFFSET: bits(11, 16, 29),
    SURFACE_TYPE: bits(19, 29, 31),
    LOD: bits(20, 0, 3),
    QPITCH: bits(20, 4, 18),
    ARRAY_INDEX: bits(21, 21, 31),
  },
  /** 0 local, 1 system memory: the PTE decides, these are ignored. */
  DST_TARGET_MEMORY: bits(6, 31, 31),
  SRC_TARGET_MEMORY: bits(11, 31, 31),
  DST_COMPRESSION_FORMAT: bits(14, 0, 3),
  SRC_COMPRESSION_FORMAT: bits(12, 0, 3),
} as const;

/** XY_FAST_COPY_BLT: copies a rectangle; pitches are not less 1. */
export const XY_FAST_COPY_BLT = {
  name: 'XY_FAST_COPY_BLT',
  opcode: 0x42,
  dwords: [10],
  COLOR_DEPTH: bits(1, 24, 26),
  X2: bits(3, 0, 15),
  Y2: bits(3, 16, 31),
  dst: {
    PITCH: bits(1, 0, 15),
    TILING: bits(0, 13, 14),
    X1: bits(2, 0, 15),
    Y1: bits(2, 16, 31),
    ADDRESS: 4,
  },
  src: {
    PITCH: bits(7, 0, 15),
    TILING: bits(0, 20, 21),
    X1: bits(6, 0, 15),
    Y1: bits(6, 16, 31),
    ADDRESS: 8,
  },
  /** Tile4 in place of an older layout; software has to set both. */
  DST_TYPE_Y: bits(1, 30, 30),
  SRC_TYPE_Y: bits(1, 31, 31),
} as const;

/** XY_FAST_COLOR_BLT: fills a rectangle with a colour of up to four dwords. */
export const XY_FAST_COLOR_BLT = {
  name: 'XY_FAST_COLOR_BLT',
  opcode: 0x44,
  dwords: [11, 16],
  MULTISAMPLES: bits(0, 9, 11),
  SPECIAL_MODE: bits(0, 12, 13),
  COLOR_DEPTH: bits(0, 19, 21),
  X2: bits(3, 0, 15),
  Y2: bits(3, 16, 31),
  dst: {
    PITCH: bits(1, 0, 17),
    TILING: bits(1, 30, 31),
    X1: bits(2, 0, 15),
    Y1: bits(2, 16, 31),
    ADDRESS: 4,
    X_OFFSET: bits(6, 0, 13),
    Y_OFFSET: bits(6, 16, 29),
    SURFACE_TYPE: bits(13, 29, 31),
    LOD: bits(14, 0, 3),
    QPITCH: bits(14, 4, 18),
    ARRAY_INDEX: bits(15, 21, 31),
  },
  /** First of four dwords of colour. */
  COLOR: 7,
} as const;
