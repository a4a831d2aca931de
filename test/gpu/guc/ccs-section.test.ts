import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { Fault } from '../../../src/base/fault.ts';
import { CCS_RATIO, CcsStore } from '../../../src/gpu/flat-ccs.ts';
import {
  applyCcsRuns,
  type CcsRun,
  ccsDwords,
  ccsRuns,
  readCcsRuns,
} from '../../../src/gpu/guc/ccs-section.ts';
import { encodeGucState } from '../../../src/gpu/guc/state-blob.ts';
import type { VfFunction } from '../../../src/gpu/vf-function.ts';
import { control, MIB, makeGpu, QUOTA, restoreState, saveState } from '../vf-driver.ts';

const VRAM = 8 * MIB;
const BYTES = VRAM / CCS_RATIO;

function read(dwords: readonly number[], vramSize = VRAM): readonly CcsRun[] {
  let at = 0;
  const next = () => {
    const dword = dwords[at++];
    if (dword === undefined) throw new RangeError('read past the end');
    return dword;
  };
  return readCcsRuns(() => at < dwords.length, next, vramSize);
}

function contents(store: CcsStore): Buffer {
  const bytes = Buffer.alloc(BYTES);
  store.read('vram', 0, bytes);
  return bytes;
}

function storeOf(...fills: ReadonlyArray<readonly [index: number, length: number, value: number]>) {
  const store = new CcsStore();
  for (const [index, length, value] of fills) store.fill('vram', index * CCS_RATIO, length, value);
  return store;
}

const open: Array<{ close(): void }> = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

describe('compression metadata of VRAM in the GuC state', () => {
  it('has these bytes', () => {
    // A buffer of 1 MiB across two pieces of the store, and five bytes of several values.
    const store = storeOf(
      [3000, 2048, 0x55],
      [9000, 1, 1],
      [9001, 1, 2],
      [9003, 1, 4],
      [9004, 1, 5],
    );
    expect(ccsDwords(ccsRuns(store))).toEqual([
      3000, 0x8000_0800, 0x55, 9000, 5, 0x0400_0201, 0x0000_0005,
    ]);
    const owner = {
      ggttStart: 0,
      ggttSize: 16 * MIB,
      gtType: 'main',
      contexts: 1,
      doorbells: 0,
      now: 0,
      vramSize: VRAM,
      firmware: { major: 70, minor: 58, patch: 0 },
      abi: { major: 1, minor: 27, patch: 0 },
      position: () => undefined,
    } as const;
    const state = Buffer.from(encodeGucState(undefined, owner, { ccs: ccsRuns(store) }));
    expect(state.subarray(100).toString('hex')).toBe(
      '0900000007000000' + 'b80b00000008008055000000' + '282300000500000001020004' + '05000000',
    );
    // Nothing is added where there is none: what was saved before this section existed is the same.
    expect(Buffer.from(encodeGucState(undefined, owner, { ccs: [] })).length).toBe(100);
  });

  it('comes back as it was', () => {
    const fill = fc.tuple(
      fc.nat(BYTES - 1),
      fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 9000 })),
      fc.nat(3),
    );
    fc.assert(
      fc.property(fc.array(fill, { maxLength: 12 }), (fills) => {
        const store = storeOf(
          ...fills.map(([at, length, value]) => [at, Math.min(length, BYTES - at), value] as const),
        );
        const into = storeOf([5, 1000, 0x77]);
        applyCcsRuns(into, read(ccsDwords(ccsRuns(store))));
        expect(contents(into).equals(contents(store))).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  it('leaves that of guest memory out, and alone', () => {
    const store = storeOf([0, 100, 1]);
    store.fill('system', 0, 100, 2);
    const into = new CcsStore();
    into.fill('system', 0, 10, 3);
    applyCcsRuns(into, read(ccsDwords(ccsRuns(store))));
    const system = new Uint8Array(100);
    into.read('system', 0, system);
    expect([system[0], system[50]]).toEqual([3, 0]);
  });

  it.each([
    ['outside of the VRAM', [BYTES - 1, 0x8000_0002, 1], /outside/],
    ['out of order', [10, 0x8000_0004, 1, 13, 0x8000_0001, 2], /out of order/],
    ['without length', [0, 0], /without length/],
    ['of a value that is no byte', [0, 0x8000_0001, 256], /of value 256/],
    ['of zeros', [0, 0x8000_0001, 0], /of value 0/],
  ])('is refused %s', (_what, dwords, why) => {
    expect(() => read(dwords)).toThrow(Fault);
    expect(() => read(dwords)).toThrow(why);
  });

  it('moves with a VF that has VRAM, and goes when the VF is reset', async () => {
    const [source, target] = [makeGpu(), makeGpu()];
    open.push(source, target);
    const from = source.vf(1) as VfFunction;
    const into = target.vf(1) as VfFunction;
    from.flatCcs.fill('vram', 2 * MIB, 4096, 0x55);
    from.flatCcs.fill('vram', QUOTA.vram - CCS_RATIO, 1, 7);
    into.flatCcs.fill('vram', 0, 300, 9);
    expect(target.digests(1).guc).not.toBe(source.digests(1).guc);
    for (const gpu of [source, target]) control(gpu, 0, 'PAUSE');
    const state = saveState(source, 0);
    restoreState(target, 0, state);
    expect(contents(into.flatCcs).equals(contents(from.flatCcs))).toBe(true);
    expect(saveState(target, 0)).toEqual(state);
    expect(target.digests(1)).toEqual(source.digests(1));
    // The media GT has nothing of it.
    for (const gpu of [source, target]) control(gpu, 1, 'PAUSE');
    expect(saveState(source, 1).length).toBeLessThan(state.length);
    await into.functionLevelReset();
    expect(into.flatCcs.empty).toBe(true);
  });
});
