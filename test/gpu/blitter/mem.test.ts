import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PPGTT_LO } from '../../../src/xe/ppgtt.ts';
import { TestSpace } from '../memory/test-space.ts';
import { blit, blitInSteps, startBlit } from './blit-run.ts';
import { memCopy, memSet } from './command-words.ts';

const MIB = 2 ** 20;
const SIZE = MIB;

/** Memory whose pages lie in another order than their addresses. */
function scattered(messages = false): TestSpace {
  const space = new TestSpace({ system: 2 * MIB, messages });
  for (let page = 0; page < SIZE / 4096; page++)
    space.map(page * 4096, ((page * 7) % (SIZE / 4096)) * 4096);
  return space;
}

function contents(space: TestSpace): Uint8Array {
  const bytes = new Uint8Array(SIZE);
  expect(space.ppgtt.read(0, bytes)).toBe(true);
  return bytes;
}

const NUMBERS = Uint8Array.from({ length: SIZE }, (_, i) => (i * 31 + (i >> 8)) & 0xff);

function numbered(space: TestSpace): Uint8Array {
  const bytes = NUMBERS.slice();
  expect(space.ppgtt.write(0, bytes)).toBe(true);
  return bytes;
}

const budgets = fc.array(fc.integer({ min: 700, max: 50_000 }), { minLength: 1, maxLength: 4 });

describe('MEM_SET', () => {
  it('fills bytes and rows, in any steps', () => {
    const space = scattered();
    fc.assert(
      fc.property(
        fc.nat(SIZE / 2),
        fc.integer({ min: 1, max: 6000 }),
        fc.option(fc.record({ height: fc.integer({ min: 1, max: 40 }), gap: fc.nat(500) }), {
          nil: undefined,
        }),
        fc.nat(255),
        budgets,
        (address, width, rows, value, steps) => {
          const model = numbered(space);
          const pitch = width + (rows?.gap ?? 0);
          for (let row = 0; row < (rows?.height ?? 1); row++)
            model.fill(value, address + row * pitch, address + row * pitch + width);
          const shape = rows === undefined ? { width } : { width, height: rows.height, pitch };
          blitInSteps(memSet(address, shape, value), space.ppgtt, steps);
          expect(Buffer.compare(contents(space), model)).toBe(0);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('evicts without writing and hangs on modes that are none', () => {
    const space = scattered();
    const model = numbered(space);
    const evict = memSet(0, { width: 100 }, 7);
    evict[0] = (evict[0] as number) | (1 << 19);
    blit(evict, space.ppgtt);
    expect(Buffer.compare(contents(space), model)).toBe(0);
    evict[0] = (evict[0] as number) | (2 << 19);
    expect(startBlit(evict, space.ppgtt)).toBeUndefined();
  });

  it('takes null pages', () => {
    const space = scattered();
    space.map(2 ** 30, 0, PPGTT_LO.PRESENT | PPGTT_LO.RW | PPGTT_LO.NULL, 2);
    blit(memSet(2 ** 30, { width: 2 ** 24 }, 9), space.ppgtt);
    expect(space.ppgtt.readU32(2 ** 30)).toBe(0);
  });
});

describe('MEM_COPY', () => {
  it('copies from first to last byte, also onto itself, in any steps', () => {
    for (const messages of [false, true]) {
      const space = scattered(messages);
      fc.assert(
        fc.property(
          fc.nat(SIZE / 4),
          fc.integer({ min: -9000, max: 9000 }),
          fc.integer({ min: 1, max: 20_000 }),
          budgets,
          (src, distance, width, steps) => {
            const dst = Math.max(src + distance, 0);
            const model = numbered(space);
            for (let i = 0; i < width; i++) model[dst + i] = model[src + i] as number;
            blitInSteps(memCopy(src, dst, { width }), space.ppgtt, steps);
            expect(Buffer.compare(contents(space), model)).toBe(0);
          },
        ),
        { numRuns: messages ? 10 : 40 },
      );
    }
  });

  it('copies rows and pages', () => {
    const space = scattered();
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 3000 }),
        fc.integer({ min: 1, max: 60 }),
        fc.nat(300),
        fc.nat(300),
        budgets,
        (width, height, srcGap, dstGap, steps) => {
          const model = numbered(space);
          const srcPitch = width + srcGap;
          const dstPitch = width + dstGap;
          const half = SIZE / 2;
          for (let row = 0; row < height; row++)
            model.copyWithin(half + row * dstPitch, row * srcPitch, row * srcPitch + width);
          const shape = { width, height, srcPitch, dstPitch };
          blitInSteps(memCopy(0, half, shape), space.ppgtt, steps);
          expect(Buffer.compare(contents(space), model)).toBe(0);
        },
      ),
      { numRuns: 30 },
    );
    const model = numbered(space);
    model.copyWithin(SIZE / 2, 256, 256 + 300 * 256);
    blit(memCopy(256, SIZE / 2, { width: 300, pages: true }), space.ppgtt);
    expect(Buffer.compare(contents(space), model)).toBe(0);
  });

  it('goes on after faults of either side', () => {
    const space = scattered();
    const model = numbered(space);
    const half = SIZE / 2;
    model.copyWithin(half + 77, 33, 33 + 200_000);
    const missing = [0, 5, 6, 20, 48, 128, 140, 141, 176];
    const kept = new Map(missing.map((page) => [page, space.entry(space.table(0, 0), page)]));
    for (const page of missing) space.setRawEntry(space.table(0, 0), page, 0, 0);
    space.ppgtt.invalidate();
    const faults: number[] = [];
    blitInSteps(memCopy(33, half + 77, { width: 200_000 }), space.ppgtt, [70_000], (address) => {
      const page = Math.floor(address / 4096);
      faults.push(page);
      space.setRawEntry(space.table(0, 0), page, ...(kept.get(page) as [number, number]));
    });
    expect(faults.toSorted((a, b) => a - b)).toEqual(missing);
    expect(Buffer.compare(contents(space), model)).toBe(0);
  });

  it('hangs on types that are none', () => {
    const command = memCopy(0, 4096, { width: 16 });
    command[0] = (command[0] as number) | (2 << 17);
    expect(startBlit(command, scattered().ppgtt)).toBeUndefined();
  });
});
