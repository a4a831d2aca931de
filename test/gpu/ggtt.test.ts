import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import { EmulatedGpu } from '../../src/gpu/emulated-gpu.ts';
import { Ggtt } from '../../src/gpu/ggtt.ts';
import { GTTMMADR } from '../../src/xe/platforms.ts';
import { GUC_GGTT_TOP, withVfid } from '../../src/xe/pte.ts';
import { MIB, mapBar, pteBarOffset, readDword, tileOf, writeDword } from './vf-driver.ts';

const gpus: Array<{ close(): void }> = [];
afterEach(() => {
  for (const gpu of gpus.splice(0)) gpu.close();
});

function ggtt(): Ggtt {
  const made = new Ggtt(8 * MIB);
  gpus.push(made);
  return made;
}

function twoVfs() {
  const gpu = new EmulatedGpu({ platform: 'ptl' });
  gpus.push(gpu);
  const port = tileOf(gpu).ggtt;
  // Neither region begins or ends at a page of PTEs.
  port.assign(1, 0x1000_3000, 0x40_0000);
  port.assign(2, 0x1040_3000, 0x60_1000);
  return { gpu, port, one: gpu.vf(1), two: gpu.vf(2) };
}

describe('the GGTT', () => {
  it('gives away what lies between WOPCM and the top that the GuC can reach', () => {
    expect(ggtt().start).toBe(8 * MIB);
    expect(ggtt().end).toBeLessThan(GUC_GGTT_TOP);
    // 63 VFs of the fair share, and one of the share of a PF that is for administration only.
    expect(ggtt().end - ggtt().start).toBeGreaterThan(63 * 56 * MIB);
    expect(ggtt().end - ggtt().start).toBeGreaterThan(3.5 * 1024 * MIB);
  });

  it('refuses regions that overlap or lie outside', () => {
    const table = ggtt();
    table.assign(1, 16 * MIB, 16 * MIB);
    expect(() => table.assign(2, 24 * MIB, 16 * MIB)).toThrow(Fault);
    expect(() => table.assign(2, 0, 16 * MIB)).toThrow(Fault);
    expect(() => table.assign(2, table.end - 4096, 8192)).toThrow(Fault);
    expect(() => table.assign(2, 32 * MIB, 100)).toThrow(RangeError);
    table.release(1);
    table.assign(2, 24 * MIB, 16 * MIB);
    expect(table.window(2)?.count).toBe(4096);
  });

  it('shows the PF each entry with the VFID of its owner', () => {
    const { port, one } = twoVfs();
    const ptes = new Uint32Array(4);
    port.readPtes(0x1000_3000, ptes);
    expect([...ptes]).toEqual([withVfid(0, 1), 0, withVfid(0, 1), 0]);
    // What a VF writes into the field is not believed.
    writeDword(one, 0, pteBarOffset(0x1000_4000), 0xabcd_eff9);
    writeDword(one, 0, pteBarOffset(0x1000_4000) + 4, 0x12);
    port.readPtes(0x1000_3000, ptes);
    expect([...ptes]).toEqual([withVfid(0, 1), 0, withVfid(0xabcd_e001, 1), 0x12]);
  });

  it('takes entries from the PF that name their owner, and no others', () => {
    const { port, one } = twoVfs();
    port.writePtes(0x1000_5000, Uint32Array.of(withVfid(0x7777_7001, 1), 0x3));
    expect(readDword(one, 0, pteBarOffset(0x1000_5000))).toBe(0x7777_7001);
    expect(readDword(one, 0, pteBarOffset(0x1000_5000) + 4)).toBe(3);
    expect(() => port.writePtes(0x1000_5000, Uint32Array.of(withVfid(1, 2), 0))).toThrow(Fault);
    expect(() => port.writePtes(0x1040_2000, new Uint32Array(4))).toThrow(RangeError);
    expect(() => port.readPtes(0, new Uint32Array(2))).toThrow(RangeError);
  });

  it('never lets a VF see or change an entry of another, whatever it accesses', () => {
    const { port, one, two } = twoVfs();
    const size = (0x60_1000 / 4096) * 8;
    const secret = new Uint8Array(size).fill(0x5a);
    two.barWrite(0, pteBarOffset(0x1040_3000), secret, 0, size);
    const before = new Uint32Array(size / 4);
    port.readPtes(0x1040_3000, before);
    const border = pteBarOffset(0x1040_3000);
    fc.assert(
      fc.property(
        fc.integer({ min: -4096, max: 4096 }),
        fc.integer({ min: 1, max: 3000 }),
        (distance, count) => {
          const offset = border + distance;
          const read = new Uint8Array(count).fill(0xee);
          one.barRead(0, offset, read, 0, count);
          const foreign = read.subarray(Math.max(0, -distance));
          expect(foreign.every((byte) => byte === 0)).toBe(true);
          one.barWrite(0, offset, new Uint8Array(count).fill(0xff), 0, count);
        },
      ),
    );
    const after = new Uint32Array(size / 4);
    port.readPtes(0x1040_3000, after);
    expect(after).toEqual(before);
  });

  it('offers the whole GGTT half for mapping, where only entries of the VF itself mean anything', () => {
    const { port, one, two } = twoVfs();
    for (const vf of [one, two]) {
      const { ggttStart, ggttEnd } = GTTMMADR;
      expect(vf.bars[0]?.areas).toMatchObject([{ offset: ggttStart, size: ggttEnd - ggttStart }]);
    }
    const mapped = mapBar(one, 0);
    mapped.fill(0xff);
    const ptes = new Uint32Array((0x60_1000 / 4096) * 2);
    port.readPtes(0x1040_3000, ptes);
    expect(ptes.every((word, at) => word === (at % 2 === 0 ? withVfid(0, 2) : 0))).toBe(true);
    expect(mapBar(two, 0).every((byte) => byte === 0)).toBe(true);
    // By messages the VF does not even see what it wrote there.
    expect(readDword(one, 0, pteBarOffset(0x1040_3000))).toBe(0);
    expect(readDword(one, 0, pteBarOffset(0x1000_3000))).toBe(0xffff_ffff);
  });

  it('has the same bytes behind a mapping and behind a trapped access', () => {
    const { one } = twoVfs();
    const area = one.bars[0]?.areas[0];
    // One offset describes a whole region to a VMM, so the two must not differ.
    expect(area?.fdOffset).toBe(area?.offset);
    const mapped = mapBar(one, 0);
    const place = pteBarOffset(0x1000_5000);
    const at = place - GTTMMADR.ggttStart;
    mapped[at] = 0x77;
    const bytes = new Uint8Array(1);
    one.barRead(0, place, bytes, 0, 1);
    expect(bytes[0]).toBe(0x77);
    one.barWrite(0, place + 1, Uint8Array.of(0x88), 0, 1);
    expect(mapped[at + 1]).toBe(0x88);
  });

  it('serves regions whose entries do not fill a page', () => {
    const gpu = new EmulatedGpu({ platform: 'ptl' });
    gpus.push(gpu);
    tileOf(gpu).ggtt.assign(1, 0x1000_0000, 0x1_0000);
    writeDword(gpu.vf(1), 0, pteBarOffset(0x1000_f000), 0x9001);
    expect(readDword(gpu.vf(1), 0, pteBarOffset(0x1000_f000))).toBe(0x9001);
    expect(readDword(gpu.vf(1), 0, GTTMMADR.ggttEnd - 4)).toBe(0);
  });

  describe('takes over memory that a VMM has mapped', () => {
    /** VF 1 with some PTEs moves to where VF 2 is; `mapped` is what its VMM keeps. */
    function moved(start: number) {
      const { gpu, port, one } = twoVfs();
      port.assign(2, start, 0x40_0000);
      const mapped = mapBar(one, 0);
      const view = new DataView(mapped.buffer, mapped.byteOffset);
      const at = (address: number) => pteBarOffset(address) - GTTMMADR.ggttStart;
      view.setUint32(at(0x1000_3000), 0x9001, true);
      view.setUint32(at(0x1000_4000), 0xa001, true);
      const memory = gpu.barMemory(1);
      // The stream brings what there was.
      writeDword(gpu.vf(2), 0, pteBarOffset(start), 0x9001);
      writeDword(gpu.vf(2), 0, pteBarOffset(start + 0x1000), 0xa001);
      const target = (address: number) => {
        const ptes = new Uint32Array(2);
        port.readPtes(address, ptes);
        return (ptes[0] as number) & 0xffff_f003;
      };
      const adopt = () => {
        gpu.adoptBarMemory(2, memory)();
        gpu.abandonBarMemory(1);
      };
      return { gpu, port, view, at, target, adopt, window: (port as Ggtt).window(2) };
    }

    it('and late writes go along when the driver asks for its place', () => {
      const { gpu, view, at, target, adopt, window } = moved(0x2000_3000);
      const base = window?.start ?? 0;
      adopt();
      // Until then the driver's processors write where they always did.
      view.setUint32(at(0x1000_4000), 0xb001, true);
      view.setUint32(at(0x1000_7000), 0xc001, true);
      expect(target(base)).toBe(0x9001);
      expect(target(base + 0x1000)).toBe(0xa001);
      window?.settle();
      expect([0, 1, 4].map((page) => target(base + page * 0x1000))).toEqual([
        0x9001, 0xb001, 0xc001,
      ]);
      // From then on it writes to the new place, through the same mapping.
      view.setUint32(at(base + 0x2000), 0xd001, true);
      expect(target(base + 0x2000)).toBe(0xd001);
      expect(readDword(gpu.vf(2), 0, pteBarOffset(base + 0x2000))).toBe(0xd001);
    });

    it('at once when the place is the same', () => {
      const { gpu, port, one } = twoVfs();
      const other = new EmulatedGpu({ platform: 'ptl' });
      gpus.push(other);
      tileOf(other).ggtt.assign(2, 0x1000_3000, 0x40_0000);
      const mapped = mapBar(one, 0);
      other.adoptBarMemory(2, gpu.barMemory(1))();
      gpu.abandonBarMemory(1);
      const at = pteBarOffset(0x1000_3000) - GTTMMADR.ggttStart;
      mapped[at] = 0x55;
      expect(readDword(other.vf(2), 0, pteBarOffset(0x1000_3000))).toBe(0x55);
      // What is left of the first VF is another memory.
      port.clear(1);
      expect(mapped[at]).toBe(0x55);
    });

    it('of its own size only', () => {
      const { gpu } = twoVfs();
      expect(() => gpu.adoptBarMemory(2, gpu.barMemory(1))).toThrow(Fault);
      expect(readDword(gpu.vf(2), 0, pteBarOffset(0x1040_3000))).toBe(0);
    });

    it('and forgets where it was when the VF is cleared', () => {
      const { port, view, at, target, adopt, window } = moved(0x2000_3000);
      adopt();
      port.clear(2);
      expect(target(0x2000_3000)).toBe(0);
      view.setUint32(at(0x2000_3000), 0xe001, true);
      expect(target(0x2000_3000)).toBe(0xe001);
      window?.settle();
      expect(target(0x2000_3000)).toBe(0xe001);
    });
  });

  it('clears the entries of a VF and leaves it its VFID', () => {
    const { port, one } = twoVfs();
    const mapped = mapBar(one, 0);
    mapped.fill(0xff);
    port.clear(1);
    expect(mapped.every((byte) => byte === 0)).toBe(true);
    const ptes = new Uint32Array(2);
    port.readPtes(0x1000_3000, ptes);
    expect([...ptes]).toEqual([withVfid(0, 1), 0]);
  });
});
