import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { DmaTable } from '../../../src/gpu/dma.ts';
import { Ggtt } from '../../../src/gpu/ggtt.ts';
import { PhysicalMemory } from '../../../src/gpu/memory/physical-memory.ts';
import { Ppgtt } from '../../../src/gpu/memory/ppgtt.ts';
import { VfAddressSpace } from '../../../src/gpu/vf-address-space.ts';
import { Vram } from '../../../src/gpu/vram.ts';
import { plainMapping } from './test-space.ts';

const MIB = 2 ** 20;
/** What no VF writes, and each VF has everywhere. */
const MARK = 0xa5;
const SIZE = 2 * MIB;

const open: Array<{ close(): void }> = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

/** Two VFs: the second one's memory is full of marks. */
function neighbours(words: readonly number[]) {
  const vram = new Vram(2 * SIZE);
  const ggtt = new Ggtt(8 * MIB);
  open.push(vram, ggtt);
  const mine = vram.assign(1, SIZE).view(0, SIZE);
  const theirs = vram.assign(2, SIZE).view(0, SIZE).fill(MARK);
  const dma = new DmaTable();
  const memory = new Uint8Array(MIB);
  const theirMemory = new Uint8Array(MIB).fill(MARK);
  dma.add(plainMapping(0, memory));
  const theirDma = new DmaTable();
  theirDma.add(plainMapping(0x4000_0000, theirMemory));
  ggtt.assign(1, 16 * MIB, MIB);
  ggtt.assign(2, 17 * MIB, MIB);
  ggtt.window(2)?.bytes.fill(MARK);
  const own = ggtt.window(1)?.words ?? new Uint32Array();
  const tables = new Uint32Array(mine.buffer, mine.byteOffset, mine.length / 4);
  for (let i = 0; i < tables.length; i++) tables[i] = words[i % words.length] as number;
  new Uint32Array(memory.buffer).set(tables.subarray(0, MIB / 4));
  for (let i = 0; i < own.length; i++) own[i] = words[i % words.length] as number;
  const physical = new PhysicalMemory({ vfid: 1, vram, dma });
  const ggttSpace = new VfAddressSpace({ ggtt: () => ggtt.window(1), physical });
  return { physical, ggtt, ggttSpace, theirs, theirMemory };
}

/** Entries that lead somewhere more often than random bits would. */
const entry = fc
  .record({
    page: fc.oneof(fc.nat(1023), fc.nat(0xf_ffff)),
    lo: fc.nat(0xfff),
    hi: fc.oneof(fc.constant(0), fc.nat(), fc.constant(0x8000_0000)),
  })
  .map(({ page, lo, hi }) => [((page << 12) | lo | 3) >>> 0, hi >>> 0])
  .chain((pair) => fc.constant(pair as [number, number]));

describe('isolation of VFs', () => {
  it('holds for any page tables that a VF may write', () => {
    fc.assert(
      fc.property(
        fc.array(entry, { minLength: 1, maxLength: 7 }),
        fc.array(fc.tuple(fc.nat(2 ** 30), fc.nat(2 ** 17), fc.nat(2 ** 14)), { maxLength: 20 }),
        fc.boolean(),
        (entries, accesses, discrete) => {
          const { physical, ggtt, ggttSpace, theirs, theirMemory } = neighbours(entries.flat());
          const spaces = [new Ppgtt(physical, 0, discrete), ggttSpace];
          for (const [low, high, length] of accesses)
            for (const space of spaces) {
              const address =
                space === ggttSpace ? 15 * MIB + (low % (4 * MIB)) : high * 2 ** 30 + low;
              const bytes = new Uint8Array(length + 1);
              if (space.read(address, bytes) && length > 64) expect(isMarks(bytes)).toBe(false);
              space.write(address, bytes.fill(0x11));
              space.run(address, length + 1, 'write')?.bytes.fill(0x22);
              space.invalidate();
            }
          for (const bytes of [theirs, theirMemory, ggtt.window(2)?.bytes ?? new Uint8Array()])
            expect(isMarks(bytes)).toBe(true);
          for (const one of open.splice(0)) one.close();
        },
      ),
      { numRuns: 40 },
    );
  });
});

function isMarks(bytes: Uint8Array): boolean {
  return bytes.length > 0 && Buffer.alloc(bytes.length, MARK).equals(bytes);
}
