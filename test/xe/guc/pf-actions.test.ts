import { describe, expect, it } from 'vitest';
import { VF_CFG_KLV, VF_THRESHOLD, VGT_POLICY_KLV } from '../../../src/xe/guc/pf-actions.ts';

describe('the tables of PF actions', () => {
  it('name each key once', () => {
    const specs = [...Object.values(VF_CFG_KLV), ...Object.values(VGT_POLICY_KLV)];
    expect(new Set(specs.map(({ key }) => key)).size).toBe(specs.length);
    expect(new Set(specs.map(({ name }) => name)).size).toBe(specs.length);
  });

  it('have every threshold of the configuration', () => {
    const keys = Object.keys(VF_CFG_KLV).filter((name) => name.startsWith('THRESHOLD_'));
    expect(Object.keys(VF_THRESHOLD).map((name) => `THRESHOLD_${name}`)).toEqual(keys);
  });
});
