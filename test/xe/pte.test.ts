import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeGgttPte,
  encodeGgttPte,
  GGTT_PTE_LO,
  GGTT_PTE_VFID_MAX,
  pteAddress,
  pteVfid,
  withVfid,
} from '../../src/xe/pte.ts';

describe('GGTT PTEs', () => {
  it('have their fields where the kernel has them', () => {
    const golden = encodeGgttPte({
      present: true,
      deviceMemory: true,
      vfid: 63,
      address: 0x000f_edcb_a987_6000,
      pat: 3,
    });
    expect(golden.map((dword) => dword.toString(16))).toEqual(['a98760ff', '3fedcb']);
    expect(GGTT_PTE_VFID_MAX).toBe(1023);
  });

  it('come back from their bits', () => {
    fc.assert(
      fc.property(
        fc.record({
          present: fc.boolean(),
          deviceMemory: fc.boolean(),
          vfid: fc.nat(GGTT_PTE_VFID_MAX),
          address: fc.nat(2 ** 20 - 1).map((page) => page * 2 ** 32 + 0x1000 * (page & 0xfff)),
          pat: fc.nat(3),
        }),
        (pte) => {
          expect(decodeGgttPte(...encodeGgttPte(pte))).toEqual(pte);
        },
      ),
    );
  });

  it('keep all other bits when the VFID is replaced', () => {
    fc.assert(
      fc.property(fc.nat(0xffff_ffff), fc.nat(1023), (lo, vfid) => {
        const changed = withVfid(lo, vfid);
        expect(pteVfid(changed)).toBe(vfid);
        expect((changed ^ lo) & ~GGTT_PTE_LO.VFID).toBe(0);
        expect(pteAddress(changed, 0)).toBe(pteAddress(lo, 0));
      }),
    );
  });
});
