import { describe, expect, it } from 'vitest';
import { fairContexts, fairDoorbells, fairGgtt, fairVram } from '../../src/pf/fair-share.ts';
import { goldenJson } from './golden-files.ts';

interface Fair {
  readonly per_num_vfs: Readonly<
    Record<string, { ctxs: number; dbs: number; ggtt: number; vram_0x7a800000: number }>
  >;
  readonly admin_only_1vf: { ctxs: number; dbs: number; ggtt: number };
  readonly vram_1vf: Readonly<Record<string, { normal: number; admin_only: number }>>;
}

const { fair } = goldenJson<{ fair: Fair }>('provisioning_and_abi_cases.json');

describe('fair shares, against what Linux 7.3 gives', () => {
  it('for 1 to 63 VFs', () => {
    const counts = Object.keys(fair.per_num_vfs).map(Number);
    expect(counts).toHaveLength(63);
    for (const vfs of counts)
      expect(
        {
          ctxs: fairContexts(vfs, false),
          dbs: fairDoorbells(vfs, false),
          ggtt: fairGgtt(vfs, false),
          vram_0x7a800000: fairVram(vfs, 0x7a80_0000, false),
        },
        `${vfs} VFs`,
      ).toEqual(fair.per_num_vfs[vfs]);
  });

  it('for the only VF of a PF that renders nothing', () => {
    const { ctxs, dbs, ggtt } = fair.admin_only_1vf;
    expect([fairContexts(1, true), fairDoorbells(1, true), fairGgtt(1, true)]).toEqual([
      ctxs,
      dbs,
      ggtt,
    ]);
  });

  for (const [usable, { normal, admin_only }] of Object.entries(fair.vram_1vf)) {
    it(`for one VF and ${usable} bytes of VRAM`, () => {
      expect(fairVram(1, Number(usable), false)).toBe(normal);
      expect(fairVram(1, Number(usable), true)).toBe(admin_only);
    });
  }

  it('is nothing of a device with hardly any VRAM', () => {
    expect(fairVram(1, 2 ** 27, false)).toBe(0);
    expect(fairVram(1, 2 ** 20, true)).toBe(0);
  });
});
