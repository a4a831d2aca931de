import { afterEach, describe, expect, it } from 'vitest';
import { CCS_COMPRESSED } from '../../../src/gpu/blitter/blit-memory.ts';
import { CcsStore } from '../../../src/gpu/flat-ccs.ts';
import { PPGTT_LO } from '../../../src/xe/ppgtt.ts';
import { TestSpace } from '../memory/test-space.ts';
import { blit, startBlit } from './blit-run.ts';
import { blockCopy, ctrlSurfCopy, memCopy, memSet, type TestSurface } from './command-words.ts';

const MIB = 2 ** 20;
const { PRESENT, RW, NULL, DM } = PPGTT_LO;
/** PAT index 12 in a PTE: bits 2 and 3. */
const COMPRESSING_LO = 1 << 7;
const COMPRESSING_HI = 1 << 30;
const NULL_VIEW = 2 ** 40;

const open: TestSpace[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

/**
 * Memory twice: its first MiB at 0, and at 1 MiB through compressing pages; 64 KiB of plain system
 * memory at 2 MiB; zeros at {@link NULL_VIEW}.
 */
function spaceOf(where: 'system' | 'vram') {
  const space = new TestSpace(where === 'vram' ? { vram: 4 * MIB } : { system: 4 * MIB });
  open.push(space);
  const flags = PRESENT | RW | (where === 'vram' ? DM : 0);
  for (let at = 0; at < MIB; at += 4096) {
    space.map(at, at, flags);
    const index = (MIB + at) / 4096;
    const lo = (at | flags | COMPRESSING_LO) >>> 0;
    space.setRawEntry(space.table(MIB, 0), index, lo, COMPRESSING_HI);
  }
  space.mapRange(2 * MIB, 2 * MIB, 65536);
  space.map(NULL_VIEW, 0, PRESENT | RW | NULL, 2);
  return { space, ppgtt: space.ppgtt, ccs: new CcsStore() };
}

const indirect = (address: number) => ({ address, direct: false });
const direct = (address: number) => ({ address, direct: true });

function surface(base: number, kind: TestSurface['kind'] = 'linear'): TestSurface {
  return {
    kind,
    base,
    pitch: 1024,
    pixelSize: 4,
    qpitch: 0,
    slice: 0,
    x: 0,
    y: 0,
    offsetX: 0,
    offsetY: 0,
  };
}

describe('XY_CTRL_SURF_COPY_BLT', () => {
  it('copies 8 bytes of metadata for each page, out and in', () => {
    const { space, ppgtt, ccs } = spaceOf('system');
    const metadata = Uint8Array.from({ length: 80 }, (_, i) => i + 1);
    ppgtt.write(2 * MIB, metadata);
    blit(ctrlSurfCopy(direct(2 * MIB), indirect(0x5000), 10), ppgtt, ccs);
    const read = new Uint8Array(80);
    ccs.read('system', 0x5000, read);
    expect(read).toEqual(metadata);
    blit(ctrlSurfCopy(indirect(0x6000), direct(2 * MIB + 512), 9), ppgtt, ccs);
    const out = space.system.subarray(2 * MIB + 512, 2 * MIB + 512 + 80);
    expect([...out]).toEqual([...metadata.subarray(8), 0, 0, 0, 0, 0, 0, 0, 0]);
    // The same memory by another address, to other memory.
    blit(ctrlSurfCopy(indirect(MIB + 0x5000), indirect(0x2_0000), 1), ppgtt, ccs);
    ccs.read('system', 0x2_0000, read);
    expect([...read.subarray(0, 9)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 0]);
    // A source of zeros clears, as xe_migrate_clear has it.
    blit(ctrlSurfCopy(direct(NULL_VIEW), indirect(0x5000), 10), ppgtt, ccs);
    ccs.read('system', 0x5000, read);
    expect(read.every((byte) => byte === 0)).toBe(true);
    expect([...ccs.pieces()].map((piece) => [piece.where, piece.physical])).toEqual([
      ['system', 0],
    ]);
  });

  it('reads zeros of null pages and takes what is written to them', () => {
    const { ppgtt, ccs } = spaceOf('vram');
    ppgtt.write(0, new Uint8Array(16).fill(7));
    blit(ctrlSurfCopy(direct(0), indirect(NULL_VIEW), 2), ppgtt, ccs);
    expect(ccs.empty).toBe(true);
    blit(ctrlSurfCopy(indirect(NULL_VIEW), direct(0), 1), ppgtt, ccs);
    expect(ppgtt.readU32(4)).toBe(0);
    expect(ppgtt.readU32(8)).toBe(0x0707_0707);
  });

  it('goes on after a fault and does what a budget allows', () => {
    const { space, ppgtt, ccs } = spaceOf('system');
    ppgtt.write(2 * MIB, new Uint8Array(64).fill(3));
    const command = ctrlSurfCopy(direct(2 * MIB), indirect(0xfe000), 8);
    space.map(0xfe000 + 0x1000, 0, 0);
    const transfer = startBlit(command, ppgtt, ccs);
    expect(transfer?.step(1)).toBe('more');
    expect(transfer?.step(2 ** 20)).toBe('fault');
    expect(transfer?.progress).toBe(1);
    expect(transfer?.faulted).toBe(ppgtt);
    expect(ppgtt.fault.address).toBe(0xff000);
    space.map(0xff000, 0xff000);
    expect(transfer?.step(2 ** 20)).toBe('done');
    const read = new Uint8Array(8);
    ccs.read('system', 0xff000, read);
    expect(read.every((byte) => byte === 3)).toBe(true);
  });
});

describe('metadata of compressing pages', () => {
  it('becomes that of compressed memory where the blitter writes', () => {
    for (const where of ['system', 'vram'] as const) {
      const { ppgtt, ccs } = spaceOf(where);
      const read = new Uint8Array(6);
      blit(memSet(MIB + 700, { width: 1000 }, 5), ppgtt, ccs);
      ccs.read(where, 0, read);
      expect([...read]).toEqual([0, CCS_COMPRESSED, CCS_COMPRESSED, CCS_COMPRESSED, 0, 0]);
      // Through another page VRAM becomes uncompressed; system memory keeps its state.
      blit(memSet(512, { width: 512 }, 6), ppgtt, ccs);
      ccs.read(where, 0, read);
      const now = where === 'vram' ? 0 : CCS_COMPRESSED;
      expect([...read]).toEqual([0, now, CCS_COMPRESSED, CCS_COMPRESSED, 0, 0]);
    }
  });

  it('is what tells whether memory reads as what was written', () => {
    for (const kind of ['linear', 'tile4'] as const) {
      const { ppgtt, ccs } = spaceOf('vram');
      const original = Uint8Array.from({ length: 65536 }, (_, i) => i * 7);
      ppgtt.write(0x8_0000, original);
      const size = { width: 256, height: 64 };
      const copy = (from: TestSurface, to: TestSurface) => {
        blit(blockCopy(from, to, size), ppgtt, ccs);
        const bytes = new Uint8Array(65536);
        ppgtt.read(0xa_0000, bytes);
        return Buffer.compare(bytes, original) === 0;
      };
      copy(surface(0x8_0000), surface(MIB, kind));
      const saved = new Uint8Array(128);
      ccs.read('vram', 0, saved);
      expect(saved.every((byte) => byte === CCS_COMPRESSED)).toBe(true);
      expect(copy(surface(MIB, kind), surface(0xa_0000))).toBe(true);
      // Spoilt metadata spoils what is read, until it is put right again (igt xe_ccs surf_copy).
      ccs.write(
        'vram',
        0,
        Uint8Array.from({ length: 128 }, (_, i) => (i % 4 === 0 ? i / 4 : 0)),
      );
      expect(copy(surface(MIB, kind), surface(0xa_0000))).toBe(false);
      ccs.write('vram', 0, saved);
      expect(copy(surface(MIB, kind), surface(0xa_0000))).toBe(true);
      // And a page that does not compress reads memory as it is.
      ccs.fill('vram', 0, 128, 0x77);
      expect(copy(surface(0, kind), surface(0xa_0000))).toBe(true);
      blit(memCopy(MIB, 0xa_0000, { width: 100, pages: true }), ppgtt, ccs);
      expect(ppgtt.readU32(0xa_0000)).not.toBe(ppgtt.readU32(0));
    }
  });

  it('is cleared by a resolve in place', () => {
    const { ppgtt, ccs } = spaceOf('vram');
    blit(memSet(MIB, { width: 65536 }, 9), ppgtt, ccs);
    const resolve = blockCopy(surface(MIB), surface(MIB), { width: 256, height: 64 });
    resolve[0] = (resolve[0] as number) | (1 << 12);
    blit(resolve, ppgtt, ccs);
    expect([...ccs.pieces()]).toEqual([]);
    expect(ppgtt.readU32(MIB + 40)).toBe(0x0909_0909);
  });
});
