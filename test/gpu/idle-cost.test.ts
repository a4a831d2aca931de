import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { EmulatedGpu } from '../../src/gpu/emulated-gpu.ts';
import { MIB, makeGpu, provision, QUOTA, readDword, writeDword } from './vf-driver.ts';

function descriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Mappings of device memory in this process. */
function mappings(): number {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes('/memfd:xe-')).length;
}

describe('idle VFs', () => {
  it('cost no descriptor and no mapping, a thousand of them on 16 GPUs', () => {
    const before = descriptors();
    const gpus = Array.from({ length: 16 }, () => new EmulatedGpu({ platform: 'bmg' }));
    for (const gpu of gpus)
      for (let vfid = 1; vfid <= 63; vfid++) {
        provision(gpu, vfid, { ...QUOTA, ggttStart: vfid * 56 * MIB, vram: 64 * MIB });
        expect(gpu.vf(vfid).bars[2]?.areas).toHaveLength(1);
        expect(readDword(gpu.vf(vfid), 2, 0)).toBe(0);
      }
    expect(gpus[0]?.digests(63).vram).toHaveLength(64);
    expect(descriptors()).toBe(before);
    expect(mappings()).toBe(0);
    for (const gpu of gpus) gpu.close();
  });

  it('leave nothing behind when the GPU is closed', () => {
    const before = descriptors();
    const gpu = makeGpu();
    writeDword(gpu.vf(1), 2, 0, 1);
    writeDword(gpu.vf(1), 0, 8 * MIB + (QUOTA.ggttStart / 4096) * 8, 1);
    expect(descriptors()).toBe(before + 2);
    expect(mappings()).toBe(2);
    gpu.close();
    gpu.close();
    expect(descriptors()).toBe(before);
    expect(mappings()).toBe(0);
  });
});
