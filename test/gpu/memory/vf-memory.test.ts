import { afterEach, describe, expect, it } from 'vitest';
import { DmaTable } from '../../../src/gpu/dma.ts';
import { PhysicalMemory } from '../../../src/gpu/memory/physical-memory.ts';
import { Place } from '../../../src/gpu/memory/place.ts';
import type { VfFunction } from '../../../src/gpu/vf-function.ts';
import { Vram } from '../../../src/gpu/vram.ts';
import { GTTMMADR } from '../../../src/xe/platforms.ts';
import { encodeGgttPte } from '../../../src/xe/pte.ts';
import { MIB, makeGpu, QUOTA, tileOf, writeDword } from '../vf-driver.ts';
import { plainMapping } from './test-space.ts';

const open: Array<{ close(): void }> = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

function vfOf(platform: 'bmg' | 'ptl' = 'bmg') {
  const gpu = makeGpu({ platform });
  open.push(gpu);
  return { gpu, vf: gpu.vf(1) as VfFunction };
}

function setPte(vf: VfFunction, page: number, address: number, deviceMemory: boolean): number {
  const [lo, hi] = encodeGgttPte({ present: true, deviceMemory, vfid: 0, address, pat: 0 });
  const offset = GTTMMADR.ggttStart + (QUOTA.ggttStart / 4096 + page) * 8;
  writeDword(vf, 0, offset, lo);
  writeDword(vf, 0, offset + 4, hi);
  return QUOTA.ggttStart + page * 4096;
}

describe('memory of a VF by GGTT address', () => {
  it('is the VRAM and the guest memory that its PTEs name', () => {
    const { gpu, vf } = vfOf();
    const guest = new Uint8Array(MIB);
    vf.dmaMap(plainMapping(0x1000_0000, guest));
    const inVram = setPte(vf, 0, 0x5000, true);
    const inGuest = setPte(vf, 1, 0x1000_3000, false);
    expect(inGuest).toBe(inVram + 4096);
    const bytes = Uint8Array.from({ length: 5000 }, (_, i) => i);
    expect(vf.memory.write(inVram + 1000, bytes)).toBe(true);
    expect(tileOf(gpu).vram?.assign).toBeDefined();
    expect([...guest.subarray(0x3000, 0x3003)]).toEqual([...bytes.subarray(3096, 3099)]);
    const run = vf.memory.run(inVram, 8192, 'read');
    expect(run).toMatchObject({ where: 'vram', physical: 0x5000, compressed: false });
    expect(run?.bytes.length).toBe(4096);
    expect(vf.memory.contains(inVram, 8192)).toBe(true);
    expect(vf.memory.contains(inVram + QUOTA.ggttSize - 4096, 8192)).toBe(false);
  });

  it('faults outside of the window, without a PTE and where a PTE leads nowhere', () => {
    const { vf } = vfOf();
    const nowhere = setPte(vf, 0, 0x1000_0000, false);
    const beyond = setPte(vf, 1, QUOTA.vram, true);
    for (const [address, type] of [
      [QUOTA.ggttStart - 4, 'not-present'],
      [QUOTA.ggttStart + QUOTA.ggttSize, 'not-present'],
      [QUOTA.ggttStart + 0x9000, 'not-present'],
      [nowhere, 'bus-error'],
      [beyond, 'bus-error'],
    ] as const) {
      expect(vf.memory.readU32(address)).toBeUndefined();
      expect(vf.memory.fault).toMatchObject({ address, type, level: 0, access: 'read' });
      expect(vf.memory.writeU32(address, 1)).toBe(false);
      expect(vf.memory.fault).toMatchObject({ address, type, access: 'write' });
    }
  });

  it('needs no invalidation and joins pages', () => {
    const { vf } = vfOf('ptl');
    vf.dmaMap(plainMapping(0, new Uint8Array(MIB).fill(1)));
    const start = setPte(vf, 0, 0x4000, false);
    setPte(vf, 1, 0x5000, false);
    setPte(vf, 2, 0x9000, false);
    expect(vf.memory.run(start, 65536, 'write')?.bytes.length).toBe(8192);
    setPte(vf, 2, 0x6000, false);
    expect(vf.memory.run(start + 16, 65536, 'write')?.bytes.length).toBe(3 * 4096 - 16);
  });

  it('tells a dirty log what the device wrote', () => {
    const { vf } = vfOf();
    vf.dmaMap(plainMapping(0x2000, new Uint8Array(8192)));
    const address = setPte(vf, 0, 0x3000, false);
    expect('onDmaWrite' in vf).toBe(true);
    expect(vf.onDmaWrite).toBeUndefined();
    vf.memory.writeU32(address, 1);
    const wrote: number[][] = [];
    vf.onDmaWrite = (iova, size) => wrote.push([iova, size]);
    vf.memory.writeU32(address + 8, 1);
    vf.memory.writeU8(address + 4095, 1);
    vf.memory.readU32(address);
    vf.onDmaWrite = undefined;
    vf.memory.writeU32(address, 1);
    expect(wrote).toEqual([
      [0x3008, 4],
      [0x3fff, 1],
    ]);
  });
});

describe('memory of a VF by physical address', () => {
  it('is VRAM in pieces, where there is more than one view can hold', () => {
    const vram = new Vram(8192 * MIB);
    open.push(vram);
    const object = vram.assign(3, 2050 * MIB);
    const physical = new PhysicalMemory({ vfid: 3, vram, dma: new DmaTable() });
    const place = new Place();
    for (const edge of [1024 * MIB, 2048 * MIB]) {
      object.view(edge - 4, 8).set([1, 2, 3, 4, 5, 6, 7, 8]);
      place.extent = 4096;
      expect(physical.vram(place, edge - 4)).toBe(true);
      expect(place.extent).toBe(4);
      expect(place.view?.getUint32(place.at, true)).toBe(0x0403_0201);
      place.extent = 4096;
      expect(physical.vram(place, edge)).toBe(true);
      expect(place.extent).toBe(4096);
      expect(place.window?.[place.at]).toBe(5);
    }
    place.extent = 4096;
    expect(physical.vram(place, 2050 * MIB)).toBe(false);
    expect(physical.vram(place, 2 ** 51)).toBe(false);
  });
});

describe('compression metadata of a VF', () => {
  it('goes with a reset, with its VRAM and with its guest memory', async () => {
    const { gpu, vf } = vfOf();
    const mapping = plainMapping(0, new Uint8Array(4 * MIB));
    vf.dmaMap(mapping);
    const mark = (): void => {
      vf.flatCcs.write('system', 4096, Uint8Array.of(1));
      vf.flatCcs.write('vram', 4096, Uint8Array.of(2));
    };
    const kinds = (): string[] => [...vf.flatCcs.pieces()].map(({ where }) => where);
    mark();
    vf.dmaUnmap(mapping);
    expect(kinds()).toEqual(['vram']);
    mark();
    tileOf(gpu).vram?.assign(1, QUOTA.vram);
    expect(kinds()).toEqual(['system']);
    mark();
    await vf.functionLevelReset();
    expect(kinds()).toEqual([]);
  });
});
