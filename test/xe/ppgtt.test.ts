import { describe, expect, it } from 'vitest';
import { encodePpgttEntry, PPGTT_LO, ppgttAddress, ppgttCompresses } from '../../src/xe/ppgtt.ts';

const { PRESENT, RW, PS, NULL, DM } = PPGTT_LO;

describe('entries of a PPGTT', () => {
  it('have the bits of the kernel', () => {
    // pde_encode_bo and pte_encode_addr of xe_vm.c for the addresses below.
    expect(encodePpgttEntry(0x12_3456_7000, PRESENT | RW)).toEqual([0x3456_7003, 0x12]);
    expect(encodePpgttEntry(0x4000_0000, PRESENT | RW | PS | DM)).toEqual([0x4000_0883, 0]);
    expect(encodePpgttEntry(0, PRESENT | RW | PS | NULL)).toEqual([0x283, 0]);
    expect(encodePpgttEntry(2 ** 52 - 4096, PRESENT)).toEqual([0xffff_f001, 0xf_ffff]);
  });

  it('name an address in bits 51:12', () => {
    expect(ppgttAddress(0xffff_ffff, 0xffff_ffff)).toBe(2 ** 52 - 4096);
    expect(ppgttAddress(0x8000_0fff, 0x1)).toBe(0x1_8000_0000);
  });

  it('have a PAT index in bits 3, 4, 7 or 12, 62 and 61', () => {
    const of = (index: number, large: boolean) => {
      const lo = ((index & 3) << 3) | ((index & 4) !== 0 ? (large ? 1 << 12 : 1 << 7) : 0);
      const hi = ((index & 8) !== 0 ? 1 << 30 : 0) | ((index & 16) !== 0 ? 1 << 29 : 0);
      return ppgttCompresses(lo, hi, large);
    };
    const compressing = Array.from({ length: 32 }, (_, index) => index).filter((index) =>
      of(index, false),
    );
    expect(compressing).toEqual([9, 10, 11, 12, 14, 15, 16, 21, 25, 29]);
    for (let index = 0; index < 32; index++) expect(of(index, true)).toBe(of(index, false));
  });
});
