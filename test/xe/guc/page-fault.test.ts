import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodePageFaultResponse,
  encodePageFault,
  PAGE_FAULT_DWORDS,
  PAGE_FAULT_LAYOUT,
} from '../../../src/xe/guc/page-fault.ts';
import { GUC_CLASS } from '../../../src/xe/guc/vf-actions.ts';

function field(dwords: readonly number[], name: keyof typeof PAGE_FAULT_LAYOUT): number {
  const [dword, high, low] = PAGE_FAULT_LAYOUT[name];
  return Number(
    (BigInt(dwords[dword] as number) >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n),
  );
}

describe('page faults', () => {
  test('are written as the layout says', () => {
    fc.assert(
      fc.property(
        fc.record({
          level: fc.nat(7),
          engineClass: fc.constantFrom(...Object.values(GUC_CLASS)),
          engineInstance: fc.nat(63),
          id: fc.nat(0xffff),
          asid: fc.nat(0xf_ffff),
          access: fc.nat(2),
          type: fc.nat(2),
          address: fc.nat(2 ** 20).map((page) => page * 2 ** 27 + 4096),
        }),
        (fault) => {
          const dwords = encodePageFault(fault);
          expect(dwords).toHaveLength(PAGE_FAULT_DWORDS);
          expect(field(dwords, 'PFD_FAULT_LEVEL')).toBe(fault.level);
          expect(field(dwords, 'PFD_ENG_INSTANCE')).toBe(fault.engineInstance);
          // Hardware numbers compute engines otherwise than firmware does.
          const compute = fault.engineClass === GUC_CLASS.COMPUTE;
          expect(field(dwords, 'PFD_ENG_CLASS')).toBe(compute ? 5 : fault.engineClass);
          const id = field(dwords, 'PFD_PDATA_LO') | (field(dwords, 'PFD_PDATA_HI') << 4);
          expect(id).toBe(fault.id);
          expect(field(dwords, 'PFD_ASID')).toBe(fault.asid);
          expect(field(dwords, 'PFD_ACCESS_TYPE')).toBe(fault.access);
          expect(field(dwords, 'PFD_FAULT_TYPE')).toBe(fault.type);
          const page = field(dwords, 'PFD_VIRTUAL_ADDR_LO') * 4096;
          expect(field(dwords, 'PFD_VIRTUAL_ADDR_HI') * 2 ** 32 + page).toBe(fault.address);
        },
      ),
    );
  });

  test('are answered with their id', () => {
    expect(decodePageFaultResponse(0x0004_2001, 0x1234_e000)).toEqual({
      id: 0x1234,
      asid: 0x42,
      repaired: true,
    });
    expect(decodePageFaultResponse(0x0004_2003, 0)?.repaired).toBe(false);
    expect(decodePageFaultResponse(0x0004_2002, 0)).toBeUndefined();
  });
});
