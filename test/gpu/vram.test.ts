import { afterEach, describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import { type VfVram, Vram } from '../../src/gpu/vram.ts';
import { addressOf } from '../../src/sys/mapping.ts';
import { Memfd } from '../../src/sys/memfd.ts';
import { MIB, makeGpu, mapBar, QUOTA, readDword, tileOf, writeDword } from './vf-driver.ts';

const open: Array<{ close(): void }> = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});
function kept<T extends { close(): void }>(one: T): T {
  open.push(one);
  return one;
}

describe('VRAM', () => {
  it('is given away in multiples of 2 MiB as long as there is some', () => {
    const vram = kept(new Vram(64 * MIB));
    expect(vram.assign(1, 40 * MIB).size).toBe(40 * MIB);
    expect(() => vram.assign(2, 26 * MIB)).toThrow(Fault);
    expect(() => vram.assign(2, MIB)).toThrow(RangeError);
    vram.release(1);
    expect(vram.assign(2, 64 * MIB).size).toBe(64 * MIB);
  });

  it('that was adopted may be mapped by whom the last owner gave it to', async () => {
    const vram = kept(new Vram(16 * MIB, { threads: 0, budgetPercent: 25 }));
    vram.assign(1, 2 * MIB);
    const memory = Memfd.create('given', 2 * MIB);
    const processor = kept(memory.map());
    vram.adopt(1, memory)();
    const tracking = kept(vram.object(1)?.track() as NonNullable<ReturnType<VfVram['track']>>);
    tracking.begin();
    expect(tracking.changes()).toMatchObject({ stopMs: undefined });
    processor.view().fill(1);
    await tracking.stop();
    expect(tracking.left().bytes).toBe(2 * MIB);
  });

  it('of several GiB has views anywhere, at native addresses', () => {
    const vram = kept(new Vram(8192 * MIB));
    const object = vram.assign(1, 5120 * MIB);
    for (const offset of [0, 511 * MIB, 1024 * MIB - 4096, 4608 * MIB]) {
      const view = object.view(offset, 512 * MIB);
      view[0] = 1;
      view[view.length - 1] = 2;
      expect(addressOf(view)).toBeTypeOf('number');
    }
    expect(object.view(1024 * MIB - 4096, 1)[0]).toBe(1);
    object.clear();
    expect(object.view(4608 * MIB, 1)[0]).toBe(0);
    expect(() => object.view(5120 * MIB - 1, 2)).toThrow(RangeError);
  });

  it('is behind BAR 2, rounded up to a power of two and empty past the quota', () => {
    const gpu = kept(makeGpu({}, { ...QUOTA, vram: 6 * MIB }));
    const vf = gpu.vf(1);
    expect(vf.bars[2]).toMatchObject({ size: 8 * MIB, is64Bit: true, prefetchable: true });
    expect(vf.bars[2]?.areas[0]).toMatchObject({ offset: 0, size: 6 * MIB, fdOffset: 0 });
    expect(readDword(vf, 2, 0)).toBe(0);
    writeDword(vf, 2, 6 * MIB - 4, 0x1234_5678);
    writeDword(vf, 2, 6 * MIB, 0xffff_ffff);
    const bytes = new Uint8Array(12).fill(0xee);
    vf.barRead(2, 6 * MIB - 4, bytes, 0, 12);
    expect([...bytes]).toEqual([0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0, 0, 0, 0, 0]);
    expect(mapBar(vf, 2)[6 * MIB - 1]).toBe(0x12);
  });

  it('is not there on an integrated part', () => {
    const gpu = kept(makeGpu({ platform: 'ptl' }));
    expect(tileOf(gpu).vram).toBeUndefined();
    expect(gpu.vf(1).bars[2]?.size).toBe(0);
  });

  it('of one VF is not that of another', () => {
    const gpu = kept(makeGpu());
    tileOf(gpu).vram?.assign(2, 2 * MIB);
    writeDword(gpu.vf(1), 2, 0, 0xaaaa_aaaa);
    expect(readDword(gpu.vf(2), 2, 0)).toBe(0);
    // All that VF 2 can reach, also past its quota, is its own or nothing.
    const bytes = new Uint8Array(4 * MIB);
    gpu.vf(2).barRead(2, 0, bytes, 0, bytes.length);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
  });
});
