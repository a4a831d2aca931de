/**
 * Page tables of a PPGTT: five levels of 512 entries of 8 bytes, here as two dwords.
 *
 * Level 4 is the root and level 0 holds PTEs. 48 bits of a 57-bit address are in use (va_bits), so
 * the root has one entry. A leaf is a PTE, or an entry of level 1 (2 MiB) or 2 (1 GiB) with its page
 * size bit. An entry of level 1 may say that its table is compact: 32 PTEs of 64 KiB.
 *
 * Source: drivers/gpu/drm/xe/regs/xe_gtt_defs.h, xe_pt.c, xe_vm.c (pte_encode_*, pde_encode_bo).
 */
import { TWO_32 } from '../base/int.ts';

/** Level of the root. */
export const PPGTT_ROOT_LEVEL = 4;
/** Entries of a table, and of a compact one. */
export const PPGTT_TABLE_ENTRIES = 512;
/** Bytes of an entry. */
export const PPGTT_ENTRY_SIZE = 8;
/** First address that is none: va_bits is 48, what is above is sign extension. */
export const PPGTT_ADDRESS_END = 2 ** 48;

/** Bytes that an entry of each level maps: a PTE, a PDE and so on to the root. */
export const PPGTT_LEVEL_SPAN = [2 ** 12, 2 ** 21, 2 ** 30, 2 ** 39, 2 ** 48] as const;
/** Bytes of the pages of a compact table. */
export const PPGTT_COMPACT_SPAN = 2 ** 16;

/** Fields of the low dword of an entry. */
export const PPGTT_LO = {
  /** XE_PAGE_PRESENT. */
  PRESENT: 1 << 0,
  /** XE_PAGE_RW: it may be written. */
  RW: 1 << 1,
  /** XE_PDE_64K, entries of level 1: the table is compact. */
  PDE_64K: 1 << 6,
  /** XE_PDE_PS_2M and XE_PDPE_PS_1G, entries of level 1 and 2: a page, not a table. */
  PS: 1 << 7,
  /** XE_PTE_PS64, PTEs: one of 16 that map 64 KiB together. */
  PTE_PS64: 1 << 8,
  /** XE_PTE_NULL, leaves: reads as zeros, writes go nowhere. */
  NULL: 1 << 9,
  /** XE_USM_PPGTT_PTE_AE, leaves: atomics are allowed. */
  AE: 1 << 10,
  /** XE_PPGTT_PTE_DM, leaves: the page is in VRAM. Tables of a discrete device always are. */
  DM: 1 << 11,
} as const;

/** Bits 51:32 of the address in the high dword. */
const ADDRESS_HI = 0x000f_ffff;
const PAGE_OFFSET = 0xfff;

/** Where an entry points to: bits 51:12. Of larger pages some of the low ones mean other things. */
export function ppgttAddress(lo: number, hi: number): number {
  return (hi & ADDRESS_HI) * TWO_32 + ((lo & ~PAGE_OFFSET) >>> 0);
}

/** Puts an entry together. @returns its low and its high dword */
export function encodePpgttEntry(address: number, flags: number): readonly [number, number] {
  return [((address % TWO_32) | flags) >>> 0, Math.floor(address / TWO_32) & ADDRESS_HI];
}

/** PAT indices that enable compression: XE2_COMP_EN; index 16 is one of Xe3, reserved on Xe2. */
const COMPRESSING_PAT_INDICES = [9, 10, 11, 12, 14, 15, 16, 21, 25, 29];
const compressingPats = COMPRESSING_PAT_INDICES.reduce((mask, index) => mask | (1 << index), 0);

/**
 * True when the PAT index of a leaf enables compression.
 *
 * @param large true for a 2 MiB or 1 GiB page, whose bit 2 of the index is at another place
 *
 * Source: xe_vm.c:pte_encode_pat_index (bits 3, 4, 7 or 12, 62, 61), xe_pat.c (xe2_pat_table,
 * xe3_lpg_pat_table)
 */
export function ppgttCompresses(lo: number, hi: number, large: boolean): boolean {
  const low = (lo >>> 3) & 3;
  const bit2 = (lo >>> (large ? 12 : 7)) & 1;
  const index = low | (bit2 << 2) | (((hi >>> 30) & 1) << 3) | (((hi >>> 29) & 1) << 4);
  return ((compressingPats >>> index) & 1) !== 0;
}
