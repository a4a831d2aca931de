import { describe, expect, it } from 'vitest';
import { GTTMMADR } from '../../src/xe/platforms.ts';
import { GGTT_PTE_COUNT, GGTT_PTE_SIZE } from '../../src/xe/pte.ts';
import { VF_REGISTERS } from '../../src/xe/registers.ts';

describe('BAR 0', () => {
  it('has registers below and a whole GGTT above', () => {
    expect(GTTMMADR.size).toBe(GTTMMADR.ggttEnd);
    expect(GTTMMADR.ggttEnd - GTTMMADR.ggttStart).toBe(GGTT_PTE_COUNT * GGTT_PTE_SIZE);
    expect(GTTMMADR.mmioEnd).toBeLessThan(GTTMMADR.barrierPage);
    expect(GTTMMADR.barrierPage).toBe(GTTMMADR.ggttStart - 4096);
  });
});

describe('the registers of a VF', () => {
  it('are where the kernel has them', () => {
    const at = Object.entries(VF_REGISTERS).map(([name, spec]) => [
      name,
      spec.offset.toString(16),
      spec.count,
    ]);
    expect(at).toEqual([
      ['VF_CAP_REG', '1901f8', 1],
      ['VF_SW_FLAG', '190240', 4],
      ['GUC_HOST_INTERRUPT', '1901f0', 1],
      ['MED_VF_SW_FLAG', '190310', 4],
      ['MED_GUC_HOST_INTERRUPT', '190304', 1],
      ['DUMMY_WRITE', '130030', 1],
      ['GUNIT_GSC_INTR_ENABLE', '190044', 1],
      ['GUNIT_GSC_INTR_MASK', '1900f4', 1],
    ]);
  });

  it('do not overlap and lie in the register part of BAR 0', () => {
    const offsets = Object.values(VF_REGISTERS).flatMap(({ offset, count, stride }) =>
      Array.from({ length: count }, (_, n) => offset + n * stride),
    );
    expect(new Set(offsets).size).toBe(offsets.length);
    for (const offset of offsets) {
      expect(offset % 4).toBe(0);
      expect(offset).toBeLessThan(GTTMMADR.mmioEnd);
    }
  });
});
