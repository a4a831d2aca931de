import { afterEach, describe, expect, it } from 'vitest';
import { PPGTT_LO } from '../../../src/xe/ppgtt.ts';
import { plainMapping, TestSpace, type TestSpaceOptions } from './test-space.ts';

const { PRESENT, RW, AE, NULL, DM, PS, PTE_PS64 } = PPGTT_LO;
const MIB = 2 ** 20;
const GIB = 2 ** 30;

const open: TestSpace[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});
function spaceOf(options?: TestSpaceOptions): TestSpace {
  const space = new TestSpace(options);
  open.push(space);
  return space;
}

describe('a PPGTT', () => {
  it('has pages of 4 KiB at any address below 2^48', () => {
    const space = spaceOf();
    for (const address of [0, 0x1000, 0x20_1000, 5 * GIB, 2 ** 47, 2 ** 48 - 4096]) {
      space.map(address, 0x3000);
      expect(space.ppgtt.writeU32(address + 8, 0xdead_0000 + (address % 977))).toBe(true);
      expect(space.ppgtt.readU32(address + 8)).toBe(0xdead_0000 + (address % 977));
    }
  });

  it('ignores the sign extension of a canonical address', () => {
    const space = spaceOf();
    space.map(2 ** 47, 0x3000);
    space.system[0x3004] = 7;
    expect(space.ppgtt.readU32(2 ** 52 + 2 ** 48 + 2 ** 47 + 4)).toBe(7);
  });

  it('has pages of 64 KiB in compact tables and by the hint in PTEs', () => {
    const space = spaceOf();
    space.mapCompact(0x21_0000, 0x5_0000);
    space.system[0x5_4321] = 9;
    const byte = new Uint8Array(1);
    expect(space.ppgtt.read(0x21_4321, byte)).toBe(true);
    expect(byte[0]).toBe(9);
    for (let i = 0; i < 16; i++)
      space.map(0x40_0000 + i * 4096, 0x6_0000 + i * 4096, PRESENT | RW | PTE_PS64);
    expect(space.ppgtt.run(0x40_0000, 0x1_0000, 'read')).toMatchObject({ physical: 0x6_0000 });
    expect(space.ppgtt.run(0x40_3000, 0x1_0000, 'read')?.bytes.length).toBe(0xd000);
    // All 16 may hold the address of the first.
    for (let i = 0; i < 16; i++) space.map(0x41_0000 + i * 4096, 0x7_0000, PRESENT | RW | PTE_PS64);
    expect(space.ppgtt.run(0x41_5008, 4, 'read')?.physical).toBe(0x7_5008);
  });

  it('has pages of 2 MiB and 1 GiB', () => {
    const space = spaceOf({ vram: 8 * MIB, system: 4 * MIB });
    space.map(2 * MIB, 2 * MIB, PRESENT | RW | DM, 1);
    space.map(4 * GIB, 0, PRESENT | RW | DM, 2);
    expect(space.ppgtt.writeU32(2 * MIB + 0x1234, 0x55)).toBe(true);
    expect(space.ppgtt.readU32(4 * GIB + 2 * MIB + 0x1234)).toBe(0x55);
    expect(space.ppgtt.run(2 * MIB, 2 * MIB, 'read')).toMatchObject({
      where: 'vram',
      physical: 2 * MIB,
      direct: true,
    });
    expect(space.ppgtt.run(2 * MIB, 2 * MIB, 'read')?.bytes.length).toBe(2 * MIB);
  });

  it('has large pages whose memory is not in one piece', () => {
    const space = spaceOf({ system: 2 * MIB });
    const second = new Uint8Array(MIB).fill(2);
    space.dma.add(plainMapping(6 * MIB, second));
    space.dma.add(plainMapping(7 * MIB, new Uint8Array(MIB).fill(3)));
    space.map(0, 6 * MIB, PRESENT | RW, 1);
    const bytes = new Uint8Array(8);
    expect(space.ppgtt.read(MIB - 4, bytes)).toBe(true);
    expect([...bytes]).toEqual([2, 2, 2, 2, 3, 3, 3, 3]);
    expect(space.ppgtt.run(0, 2 * MIB, 'read')?.bytes.length).toBe(MIB);
    // A 1 GiB page of which only a part is there.
    space.map(GIB, 0, PRESENT | RW, 2);
    expect(space.ppgtt.readU32(GIB + 6 * MIB)).toBe(0x0202_0202);
    expect(space.ppgtt.readU32(GIB + 4 * MIB)).toBeUndefined();
    expect(space.ppgtt.fault.type).toBe('bus-error');
  });

  it('has null pages that read as zeros and take writes', () => {
    const space = spaceOf();
    space.map(0, 0, PRESENT | RW | NULL);
    space.map(GIB, 0, PRESENT | RW | NULL, 2);
    expect(space.ppgtt.writeU32(GIB + 64, 5)).toBe(true);
    expect(space.ppgtt.readU32(GIB + 64)).toBe(0);
    expect(space.ppgtt.write(GIB, new Uint8Array(300_000).fill(1))).toBe(true);
    const bytes = new Uint8Array(300_000).fill(9);
    expect(space.ppgtt.read(GIB + 123 * MIB, bytes)).toBe(true);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    const run = space.ppgtt.run(GIB, MIB, 'write');
    expect(run).toMatchObject({ where: 'null', physical: 0, direct: true });
    run?.bytes.fill(7);
    expect(space.ppgtt.run(GIB, 16, 'read')?.bytes).toEqual(new Uint8Array(16));
    expect(space.system.subarray(0, 4096).every((byte) => byte === 0)).toBe(true);
  });

  it('tells at which level a walk ended', () => {
    const space = spaceOf();
    const { ppgtt } = space;
    for (const [level, make] of [
      [4, () => {}],
      [3, () => space.table(0, 3)],
      [2, () => space.table(0, 2)],
      [1, () => space.table(0, 1)],
      [0, () => space.table(0, 0)],
    ] as const) {
      make();
      expect(ppgtt.readU32(0x12_3450)).toBeUndefined();
      expect(ppgtt.fault).toEqual({
        address: 0x12_3450,
        access: 'read',
        level,
        type: 'not-present',
      });
    }
  });

  it('allows writing where every level does', () => {
    const space = spaceOf();
    const { ppgtt } = space;
    space.map(0, 0x1000, PRESENT);
    expect(ppgtt.readU32(0)).toBe(0);
    expect(ppgtt.writeU32(4, 1)).toBe(false);
    expect(ppgtt.fault).toMatchObject({
      type: 'write-access-violation',
      level: 0,
      access: 'write',
    });
    space.map(0x20_0000, 0x1000);
    space.setEntry(space.table(0, 1), 1, space.table(0x20_0000, 0), PRESENT);
    expect(ppgtt.writeU32(0x20_0004, 1)).toBe(false);
    expect(ppgtt.fault).toMatchObject({ type: 'write-access-violation' });
    expect(space.system[0x1004]).toBe(0);
  });

  it('allows atomics where the PTE does', () => {
    const space = spaceOf();
    space.map(0, 0x1000);
    space.map(0x1000, 0x1000, PRESENT | RW | AE);
    expect(space.ppgtt.run(0, 4, 'atomic')).toBeUndefined();
    expect(space.ppgtt.fault.type).toBe('atomic-access-violation');
    expect(space.ppgtt.run(0x1000, 4, 'atomic')?.bytes.length).toBe(4);
  });

  it('honours what the VMM allows of its memory', () => {
    const space = spaceOf();
    space.dma.add(plainMapping(GIB, new Uint8Array(4096).fill(1), { flags: 1 }));
    space.dma.add(plainMapping(GIB + 4096, new Uint8Array(4096).fill(2), { flags: 2 }));
    space.mapRange(0, GIB, 3 * 4096);
    expect(space.ppgtt.readU32(0)).toBe(0x0101_0101);
    expect(space.ppgtt.writeU32(0, 1)).toBe(false);
    expect(space.ppgtt.fault.type).toBe('bus-error');
    expect(space.ppgtt.writeU32(4096, 1)).toBe(true);
    expect(space.ppgtt.readU32(4096)).toBeUndefined();
    expect(space.ppgtt.readU32(8192)).toBeUndefined();
    expect(space.ppgtt.fault).toMatchObject({ type: 'bus-error', level: 0 });
  });

  it('changes nothing from the failing page on', () => {
    const space = spaceOf();
    space.mapRange(0, 0x1000, 2 * 4096);
    space.map(0x3000, 0x4000);
    expect(space.ppgtt.write(0x1f00, new Uint8Array(0x2000).fill(1))).toBe(false);
    expect(space.ppgtt.fault.address).toBe(0x2000);
    expect(space.system.subarray(0x2f00, 0x3000).every((byte) => byte === 1)).toBe(true);
    expect(space.system.subarray(0x4000, 0x5000).every((byte) => byte === 0)).toBe(true);
  });

  it('remembers pages until it is told not to, and never that one is missing', () => {
    const space = spaceOf();
    const { ppgtt } = space;
    expect(ppgtt.readU32(0)).toBeUndefined();
    space.map(0, 0x1000);
    space.system[0x1000] = 1;
    space.system[0x2000] = 2;
    expect(ppgtt.readU32(0)).toBe(1);
    space.map(0, 0x2000);
    expect(ppgtt.readU32(0)).toBe(1);
    ppgtt.invalidate();
    expect(ppgtt.readU32(0)).toBe(2);
    space.map(0, 0x1000);
    space.physical.invalidateTlbs();
    expect(ppgtt.readU32(0)).toBe(1);
    // Rights that are added need no invalidation.
    space.map(0x5000, 0x1000, PRESENT);
    expect(ppgtt.readU32(0x5000)).toBe(1);
    space.map(0x5000, 0x1000);
    expect(ppgtt.writeU32(0x5000, 3)).toBe(true);
  });

  it('lets go of memory that is unmapped or given to somebody else', () => {
    const space = spaceOf({ vram: 4 * MIB, system: MIB });
    const extra = plainMapping(GIB, new Uint8Array(4096).fill(1));
    space.dma.add(extra);
    space.map(0, GIB);
    space.map(4096, 0, PRESENT | RW | DM);
    expect(space.ppgtt.readU32(0)).toBe(0x0101_0101);
    space.dma.remove(extra);
    expect(space.ppgtt.readU32(0)).toBeUndefined();
    expect(space.ppgtt.writeU32(4096, 1)).toBe(true);
    space.vram?.release(1);
    expect(space.ppgtt.readU32(4096)).toBeUndefined();
    expect(space.ppgtt.fault).toMatchObject({ type: 'bus-error', level: 4 });
  });

  it('reaches memory and tables by messages', () => {
    const space = spaceOf({ messages: true, system: MIB });
    space.mapRange(0, 0x1000, 3 * 4096);
    const bytes = Uint8Array.from({ length: 9000 }, (_, i) => i);
    expect(space.ppgtt.write(0x123, bytes)).toBe(true);
    const back = new Uint8Array(9000);
    expect(space.ppgtt.read(0x123, back)).toBe(true);
    expect(back).toEqual(bytes);
    expect(space.ppgtt.writeU32(0x200, 0x0102_0304)).toBe(true);
    expect(space.ppgtt.readU32(0x200)).toBe(0x0102_0304);
    const run = space.ppgtt.run(0x200, 4, 'read');
    expect(run).toMatchObject({ direct: false, where: 'system', physical: 0x1200 });
    expect([...(run?.bytes ?? [])]).toEqual([4, 3, 2, 1]);
    expect(space.ppgtt.run(0x200, 4, 'write')?.direct).toBe(false);
  });

  it('joins pages whose memory lies together into one run', () => {
    const space = spaceOf();
    space.mapRange(0x1f_0000, 0x1_0000, 0x3_0000);
    space.map(0x22_0000, 0x9_0000);
    const run = space.ppgtt.run(0x1f_0100, MIB, 'write');
    expect(run?.bytes.length).toBe(0x2_ff00);
    expect(run?.bytes.byteOffset).toBe(0x1_0100);
    expect(space.ppgtt.run(0x1f_0100, 100, 'read')?.bytes.length).toBe(100);
    space.mapCompact(0x80_0000, 0x2_0000);
    space.mapCompact(0x81_0000, 0x3_0000);
    space.mapCompact(0x82_0000, 0x5_0000);
    const compact = space.ppgtt.run(0x80_3004, MIB, 'read');
    expect(compact).toMatchObject({ physical: 0x2_3004 });
    expect(compact?.bytes.length).toBe(0x1_cffc);
    // A page with other rights ends it.
    space.map(0x1f_2000, 0x1_2000, PRESENT);
    space.ppgtt.invalidate();
    expect(space.ppgtt.run(0x1f_0000, MIB, 'write')?.bytes.length).toBe(0x2000);
  });

  it('ends a run where the memory does, whatever the PTEs say', () => {
    const space = spaceOf({ system: MIB });
    space.mapRange(0, MIB - 8192, 65536);
    expect(space.ppgtt.run(0, 65536, 'write')?.bytes.length).toBe(8192);
    expect(space.ppgtt.run(8192, 4096, 'read')).toBeUndefined();
  });

  it('tells of every write', () => {
    const space = spaceOf({ vram: 4 * MIB, system: MIB });
    const wrote: [string, number, number][] = [];
    space.physical.onVramWrite = (at, length) => wrote.push(['vram', at, length]);
    space.physical.onDmaWrite = (at, length) => wrote.push(['system', at, length]);
    space.mapRange(0, 0x4000, 0x4000);
    space.map(0x10_0000, 0x8000, PRESENT | RW | DM);
    space.map(0x20_0000, 0, PRESENT | RW | NULL);
    space.ppgtt.writeU32(0x10, 1);
    space.ppgtt.writeU8(0x10_0003, 1);
    space.ppgtt.write(0x0ff8, new Uint8Array(16));
    space.ppgtt.run(0x1000, 0x2000, 'write');
    space.ppgtt.run(0x1000, 0x2000, 'read');
    space.ppgtt.writeU32(0x20_0000, 1);
    expect(wrote).toEqual([
      ['system', 0x4010, 4],
      ['vram', 0x8003, 1],
      ['system', 0x4ff8, 8],
      ['system', 0x5000, 8],
      ['system', 0x5000, 0x2000],
    ]);
  });

  it('knows pages whose PAT index compresses', () => {
    const space = spaceOf();
    const table = space.table(0, 0);
    // PAT index 9: bits 0 and 3.
    space.setRawEntry(table, 0, (0x1000 | PRESENT | RW | (1 << 3)) >>> 0, 1 << 30);
    space.map(0x1000, 0x2000);
    expect(space.ppgtt.run(0, 8192, 'read')).toMatchObject({ compressed: true });
    expect(space.ppgtt.run(0, 8192, 'read')?.bytes.length).toBe(4096);
    expect(space.ppgtt.run(0x1000, 4, 'read')?.compressed).toBe(false);
    // PAT index 12 of a large page: bit 2 is bit 12.
    space.setRawEntry(space.table(GIB, 1), 0, (PRESENT | RW | PS | (1 << 12)) >>> 0, 1 << 30);
    expect(space.ppgtt.run(GIB, 4, 'read')).toMatchObject({ compressed: true, physical: 0 });
  });
});
