import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CCS_RATIO, CcsStore } from '../../src/gpu/flat-ccs.ts';

const MIB = 2 ** 20;

describe('the store of compression metadata', () => {
  it('is memory of a byte for each 512 bytes', () => {
    const model = { system: new Uint8Array(16384), vram: new Uint8Array(16384) };
    const store = new CcsStore();
    const step = fc.record({
      where: fc.constantFrom('system', 'vram'),
      at: fc.nat(12_000),
      length: fc.nat(4300),
      value: fc.nat(3),
      how: fc.constantFrom('write', 'fill', 'forget'),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
        for (const { where, at, length, value, how } of steps) {
          const bytes = new Uint8Array(length).fill(value);
          if (how === 'write') store.write(where, at * CCS_RATIO, bytes);
          else if (how === 'fill') store.fill(where, at * CCS_RATIO, length, value);
          else store.forget(at * CCS_RATIO, length * CCS_RATIO);
          if (how === 'forget') model.system.fill(0, at, at + length);
          else model[where].fill(value, at, at + length);
        }
        for (const where of ['system', 'vram'] as const) {
          const read = new Uint8Array(16384);
          store.read(where, 0, read);
          expect(Buffer.compare(read, model[where])).toBe(0);
        }
        const listed = { system: new Uint8Array(16384), vram: new Uint8Array(16384) };
        for (const { where, physical, bytes } of store.pieces())
          listed[where].set(bytes, physical / CCS_RATIO);
        expect(Buffer.compare(listed.system, model.system)).toBe(0);
        expect(Buffer.compare(listed.vram, model.vram)).toBe(0);
      }),
      { numRuns: 50 },
    );
  });

  it('takes no room for zeros and is empty after a reset', () => {
    const store = new CcsStore();
    store.fill('vram', 0, 100_000, 0);
    store.write('system', 8 * MIB, new Uint8Array(5000));
    expect(store.empty).toBe(true);
    store.write('system', 2 ** 40, Uint8Array.of(1));
    expect(store.empty).toBe(false);
    expect([...store.pieces()].map(({ physical }) => physical)).toEqual([2 ** 40]);
    store.clear();
    expect(store.empty).toBe(true);
  });
});
