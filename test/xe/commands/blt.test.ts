import { describe, expect, it } from 'vitest';
import {
  BLT_CLIENT,
  BLT_HEADER,
  MEM_COPY,
  MEM_SET,
  XY_BLOCK_COPY_BLT,
  XY_CTRL_SURF_COPY_BLT,
  XY_FAST_COLOR_BLT,
  XY_FAST_COPY_BLT,
} from '../../../src/xe/commands/blt.ts';
import {
  addressOf48,
  bits,
  fieldOf,
  putField,
  signedFieldOf,
} from '../../../src/xe/commands/blt-fields.ts';

describe('fields of commands', () => {
  it('are read and put at their bits', () => {
    const dwords = Uint32Array.of(0xffff_ffff, 0);
    putField(dwords, bits(0, 4, 7), 5);
    expect(dwords[0]).toBe(0xffff_ff5f);
    expect(fieldOf(dwords, bits(0, 4, 7))).toBe(5);
    putField(dwords, bits(1, 16, 31), -2);
    expect(dwords[1]).toBe(0xfffe_0000);
    expect(signedFieldOf(dwords, bits(1, 16, 31))).toBe(-2);
    expect(fieldOf(dwords, bits(0, 0, 31))).toBe(0xffff_ff5f);
    putField(dwords, bits(0, 0, 31), 0x8000_0001);
    expect(dwords[0]).toBe(0x8000_0001);
    expect(() => putField(dwords, bits(0, 4, 7), 16)).toThrow(RangeError);
  });

  it('have addresses of 48 bits', () => {
    expect(addressOf48(Uint32Array.of(0x8000_1000, 0xffff_8000), 0)).toBe(2 ** 47 + 0x8000_1000);
  });
});

describe('commands of the blitter', () => {
  it('have the headers that drivers write', () => {
    // MEM_COPY_CMD, PVC_MEM_SET_CMD, XY_CTRL_SURF_COPY_BLT and XY_FAST_*_BLT_CMD of
    // xe_gpu_commands.h with their lengths; XY_BLOCK_COPY_BLT of Intel's media driver.
    const headers = [
      [MEM_COPY, 0x5680_0008],
      [MEM_SET, 0x56c0_0005],
      [XY_CTRL_SURF_COPY_BLT, 0x5200_0003],
      [XY_FAST_COPY_BLT, 0x5080_0008],
      [XY_FAST_COLOR_BLT, 0x5100_000e],
      [XY_BLOCK_COPY_BLT, 0x5040_0014],
    ] as const;
    for (const [{ opcode, dwords }, header] of headers) {
      const command = Uint32Array.of(header);
      expect(fieldOf(command, BLT_HEADER.CLIENT)).toBe(BLT_CLIENT);
      expect(fieldOf(command, BLT_HEADER.OPCODE)).toBe(opcode);
      expect(dwords).toContain(fieldOf(command, BLT_HEADER.LENGTH) + 2);
    }
  });

  it('are read as xe_migrate.c writes them', () => {
    // emit_mem_copy of 2 MiB in page mode.
    const copy = Uint32Array.of(
      0x5688_0008,
      8191,
      511,
      4095,
      4095,
      0x1000,
      2,
      0x2000,
      3,
      0x3000_0018,
    );
    expect(fieldOf(copy, MEM_COPY.MODE)).toBe(1);
    expect(fieldOf(copy, MEM_COPY.COPY_TYPE)).toBe(0);
    expect(fieldOf(copy, MEM_COPY.WIDTH)).toBe(8191);
    expect(addressOf48(copy, MEM_COPY.SRC_ADDRESS)).toBe(2 * 2 ** 32 + 0x1000);
    expect(addressOf48(copy, MEM_COPY.DST_ADDRESS)).toBe(3 * 2 ** 32 + 0x2000);
    expect(fieldOf(copy, MEM_COPY.DST_MOCS)).toBe(3);
    expect(fieldOf(copy, MEM_COPY.SRC_MOCS)).toBe(3);
    // emit_clear_link_copy of 8 MiB, then the same with a value.
    const set = Uint32Array.of(0x56c2_0005, 4095, 2047, 4095, 0x8000, 1, 0xa500_0018);
    expect(fieldOf(set, MEM_SET.FILL_TYPE)).toBe(1);
    expect(fieldOf(set, MEM_SET.HEIGHT)).toBe(2047);
    expect(fieldOf(set, MEM_SET.PITCH)).toBe(4095);
    expect(fieldOf(set, MEM_SET.DATA)).toBe(0xa5);
    // emit_copy_ccs of 4 MiB from a direct to an indirect place.
    const ccs = Uint32Array.of(0x5200_0003 | (1 << 21) | (1023 << 9), 0x4000, 0x3000_0001, 0, 0);
    expect(fieldOf(ccs, XY_CTRL_SURF_COPY_BLT.SIZE)).toBe(1023);
    expect(fieldOf(ccs, XY_CTRL_SURF_COPY_BLT.SRC_ACCESS_TYPE)).toBe(1);
    expect(fieldOf(ccs, XY_CTRL_SURF_COPY_BLT.DST_ACCESS_TYPE)).toBe(0);
    expect(addressOf48(ccs, XY_CTRL_SURF_COPY_BLT.SRC_ADDRESS)).toBe(2 ** 32 + 0x4000);
  });

  it('have fields that do not overlap', () => {
    for (const command of [
      MEM_COPY,
      MEM_SET,
      XY_BLOCK_COPY_BLT,
      XY_FAST_COPY_BLT,
      XY_FAST_COLOR_BLT,
    ]) {
      const taken = new Map<number, number>();
      const visit = (node: object): void => {
        if ('dword' in node && 'low' in node && 'high' in node) {
          const { dword, low, high } = node as { dword: number; low: number; high: number };
          const mask = (high - low === 31 ? 0xffff_ffff : (2 ** (high - low + 1) - 1) << low) >>> 0;
          expect((taken.get(dword) ?? 0) & mask).toBe(0);
          taken.set(dword, (taken.get(dword) ?? 0) | mask);
          return;
        }
        for (const value of Object.values(node))
          if (typeof value === 'object' && value !== null && !Array.isArray(value)) visit(value);
      };
      visit(command);
      expect(Math.max(...taken.keys())).toBeLessThan(Math.max(...command.dwords));
    }
  });
});
