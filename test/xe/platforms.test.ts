import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import {
  encodeGmdId,
  PLATFORMS,
  platformByName,
  platformOfDevice,
  vramSizeOfDevice,
} from '../../src/xe/platforms.ts';

describe('platforms', () => {
  it('know the 27 device ids of xe-vfio-pci, each once', () => {
    const ids = Object.values(PLATFORMS).flatMap(({ deviceIds }) => deviceIds);
    expect(ids).toHaveLength(27);
    expect(new Set(ids).size).toBe(27);
    expect(ids.map((id) => id.toString(16))).toEqual(
      (
        'b080 b081 b082 b083 b084 b085 b086 b087 b08f b090 b0a0 b0b0 fd80 fd81 ' +
        'e202 e209 e20b e20c e20d e210 e211 e212 e216 e220 e221 e222 e223'
      ).split(' '),
    );
  });

  it('have a default id of their own and are found by id', () => {
    for (const platform of Object.values(PLATFORMS)) {
      expect(platform.deviceIds).toContain(platform.defaultDeviceId);
      for (const id of platform.deviceIds) expect(platformOfDevice(id)).toBe(platform);
    }
    expect(platformOfDevice(0x56a0)).toBeUndefined();
  });

  it('show the GMD_ID that a guest was seen to accept', () => {
    expect(PLATFORMS.ptl.gts.map(({ gmdId }) => gmdId)).toEqual([0x07800004, 0x07800004]);
    expect(PLATFORMS.bmg.gts.map(({ gmdId }) => gmdId >>> 14)).toEqual([
      (20 << 8) | 1,
      (13 << 8) | 1,
    ]);
    expect(encodeGmdId(3003, 5)).toBe((30 << 22) | (3 << 14) | 5);
  });

  it('are found by name or refused with the choices', () => {
    expect(platformByName('wcl').title).toBe('Wildcat Lake');
    expect(() => platformByName('dg2')).toThrow(Fault);
    // Not even names that every object has.
    expect(() => platformByName('toString')).toThrow(/not a platform/);
  });

  it('have VRAM only when discrete', () => {
    expect(vramSizeOfDevice(PLATFORMS.ptl, 0xb080)).toBe(0);
    expect(vramSizeOfDevice(PLATFORMS.bmg, 0xe20b)).toBe(12 * 2 ** 30);
    expect(vramSizeOfDevice(PLATFORMS.bmg, 0xe202)).toBe(12 * 2 ** 30);
  });
});
