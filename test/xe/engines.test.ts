import { describe, expect, test } from 'vitest';
import { ENGINES, enginesOf } from '../../src/xe/engines.ts';
import { GUC_CLASS } from '../../src/xe/guc/vf-actions.ts';

describe('engines', () => {
  test('have names, registers and interrupt vectors of their own', () => {
    for (const property of ['name', 'mmioBase', 'memirqOffset'] as const) {
      const values = ENGINES.map((engine) => engine[property]);
      expect(new Set(values).size).toBe(values.length);
    }
    for (const { memirqOffset } of ENGINES) expect(memirqOffset).toBeLessThan(64);
  });

  test('are as the kernel has them', () => {
    const find = (name: string) => ENGINES.find((engine) => engine.name === name);
    expect(find('rcs0')).toMatchObject({ mmioBase: 0x2000, memirqOffset: 0 });
    expect(find('bcs0')).toMatchObject({ mmioBase: 0x2_2000, memirqOffset: 15 });
    expect(find('bcs8')).toMatchObject({ mmioBase: 0x3e_e000, memirqOffset: 23 });
    expect(find('ccs3')).toMatchObject({ mmioBase: 0x2_6000, memirqOffset: 7 });
    expect(find('vcs2')).toMatchObject({ mmioBase: 0x1d_0000, memirqOffset: 34 });
    expect(find('vecs1')).toMatchObject({ mmioBase: 0x1d_8000, memirqOffset: 62 });
  });

  test('are counted within their class', () => {
    const engines = enginesOf(['rcs0', 'bcs0', 'bcs8', 'vcs0', 'vcs2']);
    expect(engines.map(({ logicalInstance }) => logicalInstance)).toEqual([0, 0, 1, 0, 1]);
    expect(engines[4]).toMatchObject({ engineClass: GUC_CLASS.VIDEO, instance: 2 });
    expect(() => enginesOf(['xcs0'])).toThrow(RangeError);
  });
});
