import { describe, expect, it } from 'vitest';
import { XE_VFIO_PCI_IDS, xePlatformOf } from '../../src/xe-vfio-pci/ids.ts';

describe('the driver’s table', () => {
  it('has 27 different ids', () => {
    const ids = Object.values(XE_VFIO_PCI_IDS).flat();
    expect(ids).toHaveLength(27);
    expect(new Set(ids).size).toBe(27);
  });

  it('names the platform of Intel’s ids only', () => {
    expect(xePlatformOf(0x8086, 0xb080)).toBe('PTL');
    expect(xePlatformOf(0x8086, 0xfd81)).toBe('WCL');
    expect(xePlatformOf(0x8086, 0xe223)).toBe('BMG');
    expect(xePlatformOf(0x8086, 0xb088)).toBeUndefined();
    expect(xePlatformOf(0x1002, 0xb080)).toBeUndefined();
  });
});
