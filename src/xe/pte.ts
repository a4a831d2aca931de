/**
 * Page-table entries of the GGTT, as two dwords.
 *
 * Source: drivers/gpu/drm/xe/regs/xe_gtt_defs.h.
 */

/** Bytes of a PTE and of the page that it maps. */
export const GGTT_PTE_SIZE = 8;
export const GGTT_PAGE_SIZE = 4096;

/** PTEs of a whole GGTT: 4 GiB in 8 MiB of PTE memory. */
export const GGTT_PTE_COUNT = 2 ** 20;
/** First address that the GuC cannot use; nothing at or above it is given to a VF. */
export const GUC_GGTT_TOP = 0xfee0_0000;

/** Fields of the low dword. */
export const GGTT_PTE_LO = {
  /** XE_PAGE_PRESENT. */
  PRESENT: 0x0000_0001,
  /** XE_GGTT_PTE_DM: the page is in VRAM. */
  DM: 0x0000_0002,
  /** GGTT_PTE_VFID, bits 11:2: the function that owns the entry. */
  VFID: 0x0000_0ffc,
  /** Bits 31:12 of the address. */
  ADDRESS: 0xffff_f000,
} as const;

/** Fields of the high dword. */
const GGTT_PTE_HI = {
  /** Bits 51:32 of the address. */
  ADDRESS: 0x000f_ffff,
  /** XELPG_GGTT_PTE_PAT0 and PAT1, bits 53:52. */
  PAT: 0x0030_0000,
} as const;

const VFID_SHIFT = 2;
/** The greatest VFID that a PTE can name. */
export const GGTT_PTE_VFID_MAX = GGTT_PTE_LO.VFID >> VFID_SHIFT;

/** What a PTE says. */
export interface GgttPte {
  readonly present: boolean;
  /** True when `address` is in VRAM, false for system memory. */
  readonly deviceMemory: boolean;
  readonly vfid: number;
  /** Bytes, 4 KiB aligned, below 2^52. */
  readonly address: number;
  /** Cache policy index, 0 to 3. */
  readonly pat: number;
}

/** The VFID field of a PTE's low dword. */
export function pteVfid(lo: number): number {
  return (lo & GGTT_PTE_LO.VFID) >>> VFID_SHIFT;
}

/** The low dword `lo` with `vfid` in its VFID field. */
export function withVfid(lo: number, vfid: number): number {
  return ((lo & ~GGTT_PTE_LO.VFID) | (vfid << VFID_SHIFT)) >>> 0;
}

/** The address of a PTE in bytes. */
export function pteAddress(lo: number, hi: number): number {
  return (hi & GGTT_PTE_HI.ADDRESS) * 2 ** 32 + ((lo & GGTT_PTE_LO.ADDRESS) >>> 0);
}

/** Takes a PTE apart. */
export function decodeGgttPte(lo: number, hi: number): GgttPte {
  return {
    present: (lo & GGTT_PTE_LO.PRESENT) !== 0,
    deviceMemory: (lo & GGTT_PTE_LO.DM) !== 0,
    vfid: pteVfid(lo),
    address: pteAddress(lo, hi),
    pat: (hi & GGTT_PTE_HI.PAT) >>> 20,
  };
}

/** Puts a PTE together. @returns its low and its high dword */
export function encodeGgttPte(pte: GgttPte): readonly [lo: number, hi: number] {
  const present = pte.present ? GGTT_PTE_LO.PRESENT : 0;
  const dm = pte.deviceMemory ? GGTT_PTE_LO.DM : 0;
  const lo = withVfid(((pte.address % 2 ** 32) & GGTT_PTE_LO.ADDRESS) | present | dm, pte.vfid);
  const hi = (Math.floor(pte.address / 2 ** 32) & GGTT_PTE_HI.ADDRESS) | (pte.pat << 20);
  return [lo, hi >>> 0];
}
