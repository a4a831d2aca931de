import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { EventFd } from '../../src/sys/eventfd.ts';
import { VF_REGISTERS } from '../../src/xe/registers.ts';
import { control, gtOf, makeGpu, readDword, writeDword } from './vf-driver.ts';

const open: Array<{ close(): void }> = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});
function gpuOf(platform: 'ptl' | 'wcl' | 'bmg') {
  const gpu = makeGpu({ platform });
  open.push(gpu);
  return gpu;
}

/** Offsets where something other than zero may be read, besides the GGTT half. */
const FLAG = VF_REGISTERS.VF_SW_FLAG.offset;
const MED_FLAG = VF_REGISTERS.MED_VF_SW_FLAG.offset;

describe('configuration space of a VF', () => {
  const golden = {
    ptl:
      'ffffffff 00001000 04000003 00000000 00000000 00000000 00000000 00000000 ' +
      '00000000 00000000 00000000 868080b0 00000000 70000000 00000000 00000000',
    bmg:
      'ffffffff 00001000 00000003 00000000 00000000 00000000 00000000 00000000 ' +
      '00000000 00000000 00000000 86800be2 00000000 70000000 00000000 00000000',
  };

  it.each(['ptl', 'bmg'] as const)('has the header that SR-IOV gives it (%s)', (platform) => {
    const bytes = new Uint8Array(64);
    gpuOf(platform).vf(1).configRead(0, bytes, 0, 64);
    expect(Buffer.from(bytes).toString('hex')).toBe(golden[platform].replaceAll(' ', ''));
  });

  it('chains PCIe, MSI and power management, and one extended capability', () => {
    for (const [platform, type, extended] of [
      ['ptl', 9, 0x0f],
      ['bmg', 0, 0x0e],
    ] as const) {
      const bytes = new Uint8Array(4096);
      gpuOf(platform).vf(1).configRead(0, bytes, 0, 4096);
      const chain: number[][] = [];
      for (let at = bytes[0x34] ?? 0; at !== 0; at = bytes[at + 1] ?? 0)
        chain.push([at, bytes[at] ?? 0]);
      expect(chain).toEqual([
        [0x70, 0x10],
        [0xac, 0x05],
        [0xd0, 0x01],
      ]);
      expect((bytes[0x72] ?? 0) >> 4).toBe(type);
      // FLR in DEVCAP; MSI with a 64-bit address, one vector and no mask.
      expect((bytes[0x77] ?? 0) & 0x10).toBe(0x10);
      expect([bytes[0xae], bytes[0xaf]]).toEqual([0x80, 0]);
      expect([...bytes.subarray(0x100, 0x104)]).toEqual([extended, 0, 1, 0]);
    }
  });

  it('keeps only what a VF may write', () => {
    const vf = gpuOf('ptl').vf(1);
    const before = new Uint8Array(4096);
    vf.configRead(0, before, 0, 4096);
    for (let at = 0; at < 4096; at++)
      // Not the byte with the FLR bit.
      if (at !== 0x79) vf.configWrite(at, Uint8Array.of(0xff), 0, 1);
    const after = new Uint8Array(4096);
    vf.configRead(0, after, 0, 4096);
    const changed = [...after].flatMap((byte, at) =>
      byte === before[at] ? [] : [`${at.toString(16)}:${(byte ^ (before[at] ?? 0)).toString(16)}`],
    );
    expect(changed).toEqual([
      // Bus master; MSI enable, address and data; power state.
      '4:4',
      'ae:1',
      ...['b0:fc', 'b1:ff', 'b2:ff', 'b3:ff', 'b4:ff', 'b5:ff', 'b6:ff', 'b7:ff', 'b8:ff', 'b9:ff'],
      'd4:3',
    ]);
  });

  it('resets the function when the FLR bit is written', async () => {
    const gpu = gpuOf('ptl');
    const events: number[][] = [];
    for (const gt of [0, 1]) gtOf(gpu, gt).guc.onEvent((message) => events.push([gt, ...message]));
    const vf = gpu.vf(1);
    vf.configWrite(4, Uint8Array.of(4), 0, 1);
    vf.configWrite(0x78, Uint8Array.of(0, 0x80), 0, 2);
    const bytes = new Uint8Array(4);
    vf.configRead(4, bytes, 0, 1);
    vf.configRead(0x78, bytes, 1, 2);
    expect([...bytes.subarray(0, 3)]).toEqual([0, 0, 0]);
    expect(events).toEqual([]);
    await Promise.resolve();
    expect(events).toEqual([
      [0, 0x90005106, 1, 1],
      [1, 0x90005106, 1, 1],
    ]);
  });
});

describe('BAR 0 of a VF', () => {
  it('answers VF_CAP and keeps the flags of both GuCs', () => {
    const gpu = gpuOf('bmg');
    const vf = gpu.vf(1);
    expect(readDword(vf, 0, 0x1901f8)).toBe(1);
    for (let n = 0; n < 4; n++) {
      writeDword(vf, 0, FLAG + n * 4, 0x1000_0000 + n);
      writeDword(vf, 0, MED_FLAG + n * 4, 0xf000_0000 + n);
    }
    expect([0, 1, 2, 3].map((n) => gtOf(gpu, 0).readVfFlag(1, n))).toEqual(
      [0, 1, 2, 3].map((n) => 0x1000_0000 + n),
    );
    expect([0, 1, 2, 3].map((n) => gtOf(gpu, 1).readVfFlag(1, n))).toEqual(
      [0, 1, 2, 3].map((n) => 0xf000_0000 + n),
    );
    gtOf(gpu, 1).writeVfFlag(1, 3, 7);
    expect(readDword(vf, 0, MED_FLAG + 12)).toBe(7);
    expect(readDword(gpu.vf(2), 0, FLAG)).toBe(0);
  });

  it('takes accesses of every size and alignment', () => {
    const vf = gpuOf('ptl').vf(1);
    for (let n = 0; n < 4; n++) writeDword(vf, 0, FLAG + n * 4, 0x0403_0201 + n * 0x0404_0404);
    const model = Uint8Array.from({ length: 16 }, (_, n) => n + 1);
    fc.assert(
      fc.property(
        fc
          .integer({ min: 0, max: 15 })
          .chain((at) =>
            fc.record({ at: fc.constant(at), count: fc.integer({ min: 1, max: 16 - at }) }),
          ),
        fc.boolean(),
        fc.uint8Array({ minLength: 16, maxLength: 16 }),
        ({ at, count }, write, bytes) => {
          if (write) {
            vf.barWrite(0, FLAG + at, bytes, 0, count);
            model.set(bytes.subarray(0, count), at);
          }
          const read = new Uint8Array(count + 2).fill(0xee);
          vf.barRead(0, FLAG + at, read, 1, count);
          expect([...read]).toEqual([0xee, ...model.subarray(at, at + count), 0xee]);
        },
      ),
    );
  });

  it('reads as zero wherever there is nothing, in one read of all of it', () => {
    const vf = gpuOf('ptl').vf(1);
    writeDword(vf, 0, FLAG, 0xffff_ffff);
    writeDword(vf, 0, 0x130030, 1);
    writeDword(vf, 0, 0x2000, 1);
    const bytes = new Uint8Array(16 * 2 ** 20).fill(0xee);
    vf.barRead(0, 0, bytes, 0, bytes.length);
    const words = new Uint32Array(bytes.buffer);
    const set = [...words.keys()].filter((n) => words[n] !== 0).map((n) => n * 4);
    expect(set).toEqual([0x1901f8, FLAG]);
  });

  it('has a page of plain memory for write barriers', () => {
    const vf = gpuOf('bmg').vf(1);
    expect(readDword(vf, 0, 0x7ff010)).toBe(0);
    writeDword(vf, 0, 0x7ff010, 0xdead_beef);
    expect(readDword(vf, 0, 0x7ff010)).toBe(0xdead_beef);
    writeDword(vf, 0, 0x7fe010, 1);
    expect(readDword(vf, 0, 0x7fe010)).toBe(0);
  });
});

describe('interrupts of a VF', () => {
  it('are counted by the eventfd of the only MSI vector', () => {
    const vf = gpuOf('ptl').vf(1);
    expect(vf.vectors).toEqual({ intx: 0, msi: 1, msix: 0 });
    const eventfd = new EventFd();
    open.push(eventfd);
    vf.raiseIrq(1, 0);
    vf.setIrqTrigger(1, 0, eventfd.fd);
    vf.raiseIrq(1, 0);
    vf.raiseIrq(1, 0);
    vf.raiseIrq(0, 0);
    expect(eventfd.take()).toBe(2);
    vf.setIrqTrigger(1, 0, null);
    vf.raiseIrq(1, 0);
    expect(eventfd.take()).toBe(0);
  });
});

describe('a VF that nobody provisioned', () => {
  it('answers, and has nothing', () => {
    const gpu = gpuOf('bmg');
    const vf = gpu.vf(9);
    expect(vf.bars[0]).toMatchObject({ size: 16 * 2 ** 20, areas: [] });
    expect(vf.bars[2]?.size).toBe(0);
    writeDword(vf, 0, 9 * 2 ** 20, 0xffff_ffff);
    expect(readDword(vf, 0, 9 * 2 ** 20)).toBe(0);
    expect(control(gpu, 0, 'PAUSE', 9)).toBe(0);
  });
});
