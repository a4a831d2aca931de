import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../../src/base/fault.ts';
import { decodeGucState, encodeGucState, encodeState } from '../../../src/gpu/guc/state-blob.ts';
import {
  STATE_SECTION,
  type StateOwner,
  type StateSection,
} from '../../../src/gpu/guc/state-format.ts';
import {
  emptyRuntime,
  freshRun,
  type GucContext,
  type VfRuntime,
} from '../../../src/gpu/guc/vf-state.ts';
import { ScriptedPosition } from './scripted-engine.ts';

const OWNER: StateOwner = {
  ggttStart: 0x1000_0000,
  ggttSize: 0x100_0000,
  gtType: 'main',
  contexts: 1024,
  doorbells: 16,
  vramSize: 4 * 2 ** 21,
  firmware: { major: 70, minor: 58, patch: 0 },
  abi: { major: 1, minor: 27, patch: 0 },
  now: 5000.5,
  position: (dwords) => (dwords.length === 2 ? new ScriptedPosition(dwords) : undefined),
};
/** The same VF elsewhere in the GGTT. */
const MOVED: StateOwner = { ...OWNER, ggttStart: 0x8000_0000 };

function arbitraryRuntime(owner: StateOwner): fc.Arbitrary<VfRuntime> {
  const u32 = fc.nat(0xffff_ffff);
  const page = fc.nat(owner.ggttSize / 4096 - 1).map((n) => owner.ggttStart + n * 4096);
  const address = fc.option(
    fc.nat(owner.ggttSize - 1).map((offset) => owner.ggttStart + offset),
    { nil: 0 },
  );
  const ctb = fc.record({
    address,
    descriptor: address,
    size: fc.integer({ min: 1, max: 4096 }).map((pages) => pages * 4096),
  });
  const context = fc.record({
    id: fc.nat(owner.contexts - 1),
    flags: u32,
    engineClass: u32,
    submitMask: u32,
    wqDesc: address,
    wqBase: address,
    wqSize: u32,
    lrcs: fc.array(
      fc.record({
        low: fc.tuple(page, fc.nat(0xfff)).map(([at, flags]) => (at | flags) >>> 0),
        high: u32,
      }),
      { maxLength: 9 },
    ),
    enabled: fc.boolean(),
    pending: fc.boolean(),
    policies: fc.dictionary(fc.nat(0xffff).map(String), u32, { maxKeys: 5 }).map(toMap),
    run: fc.record({
      blocked: fc.boolean(),
      disabling: fc.boolean(),
      idle: fc.nat(511),
      quantumLeft: fc.nat(100_000),
      positions: fc
        .dictionary(fc.nat(8).map(String), fc.tuple(u32, page), { maxKeys: 4 })
        .map(toMap),
      faults: fc.array(fc.record({ id: fc.nat(0xffff), lrc: fc.nat(8) }), { maxLength: 4 }),
    }),
  });
  return fc
    .record({
      handshake: fc.option(
        fc.record({ major: fc.constant(1), minor: fc.nat(27), patch: fc.nat(255) }),
        { nil: undefined },
      ),
      memirqStatus: address,
      memirqSource: address,
      h2g: ctb,
      g2h: ctb,
      ctbEnabled: fc.boolean(),
      heads: fc.tuple(fc.nat(1023), fc.nat(1023)),
      notified: fc.boolean(),
      contexts: fc.uniqueArray(context, { selector: ({ id }) => id, maxLength: 20 }),
      doorbellIds: fc.uniqueArray(fc.nat(owner.doorbells - 1), { maxLength: 5 }),
      schedulingPolicies: fc
        .dictionary(fc.nat(0xffff).map(String), fc.array(u32, { maxLength: 4 }), { maxKeys: 4 })
        .map(toMap),
      optIns: fc.uniqueArray(fc.nat(0xffff), { maxLength: 5 }).map((keys) => new Set(keys)),
      nextFault: fc.nat(0xffff),
      startSignAt: fc.constant(Number.NEGATIVE_INFINITY),
      savedFixup: fc.constant(undefined),
      unsent: fc.array(
        fc.record({
          fence: fc.nat(0xffff),
          dwords: fc.array(u32, { minLength: 1, maxLength: 20 }),
        }),
        { maxLength: 4 },
      ),
    })
    .map(({ heads, contexts, doorbellIds, ...rest }) => ({
      ...rest,
      h2gHead: heads[0],
      g2hTail: heads[1],
      contexts: new Map(contexts.map((one) => [one.id, consistent(one)])),
      doorbells: new Map(
        contexts.length === 0
          ? []
          : doorbellIds.map((id) => [
              id,
              { id, contextId: contexts[id % contexts.length]?.id ?? 0, address: id * 2 ** 33 + 8 },
            ]),
      ),
    }));
}

/** What a run says about LRCs that the context does not have is left out. */
function consistent<
  T extends Omit<GucContext, 'run'> & {
    run: Omit<GucContext['run'], 'positions'> & { positions: Map<number, [number, number]> };
  },
>({ run, ...context }: T): GucContext {
  const width = context.lrcs.length;
  return {
    ...context,
    run: {
      ...run,
      idle: run.idle & (2 ** width - 1),
      positions: new Map(
        [...run.positions]
          .filter(([lrc]) => lrc < width)
          .map(([lrc, dwords]) => [lrc, new ScriptedPosition(dwords)]),
      ),
      faults: run.faults.filter(({ lrc }) => lrc < width).slice(0, width),
    },
  };
}

function toMap<T>(entries: Record<string, T>): Map<number, T> {
  return new Map(Object.entries(entries).map(([key, value]) => [Number(key), value]));
}

/** Puts a right checksum into bytes that were changed. */
function resealed(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setUint32(12, 0, true);
  view.setUint32(12, crc32(bytes), true);
  return bytes;
}

function reason(run: () => unknown): string {
  try {
    run();
    return 'accepted';
  } catch (error) {
    if (error instanceof Fault && error.code === 'EIO') return error.message;
    throw error;
  }
}

describe('the GuC state of a VF', () => {
  it('has these bytes for a VF whose driver has not come yet', () => {
    expect(Buffer.from(encodeGucState(undefined, OWNER)).toString('hex')).toBe(
      '5856475301000000190000006f87a3c63a0046000000000000100000' +
        '020000000100000002000000ffffffff00000000' +
        '020000000b000000ffffffffffffffffffffffffffffffff00000000' +
        'ffffffffffffffff00000000000000000000000000000000',
    );
  });

  it('comes back as it was', () => {
    fc.assert(
      fc.property(arbitraryRuntime(OWNER), (runtime) => {
        expect(decodeGucState(encodeGucState(runtime, OWNER), OWNER)).toEqual(runtime);
      }),
      { numRuns: 500 },
    );
  });

  it('says where a driver stands in its recovery, for readers that know this', () => {
    const fixup = { blocked: true, marker: 0xabc, told: true };
    const state = encodeGucState(undefined, OWNER, { fixup });
    const before = encodeGucState(undefined, OWNER).length;
    expect(Buffer.from(state.subarray(before)).toString('hex')).toBe(
      '1000010002000000bc0a000001000000',
    );
    expect(decodeGucState(state, OWNER).savedFixup).toEqual(fixup);
    for (const dwords of [[0x1000, 0], [1, 2], [1], [1, 1, 1]]) {
      const section = { id: STATE_SECTION.FIXUP, optional: true, dwords };
      const vf = { id: STATE_SECTION.VF, optional: false, dwords: [0xffff_ffff, 0] };
      expect(reason(() => decodeGucState(encodeState([vf, section], OWNER), OWNER))).toMatch(
        /marker|flag|section/,
      );
    }
  });

  it('says how long ago a driver that starts was heard, by the clock of whoever reads it', () => {
    const runtime = emptyRuntime();
    runtime.startSignAt = 4990;
    const state = encodeGucState(runtime, OWNER);
    expect(decodeGucState(state, { ...OWNER, now: 100 }).startSignAt).toBe(89);
    expect(encodeGucState(runtime, { ...OWNER, now: 5990 })).toEqual(
      encodeGucState(emptyRuntime(), OWNER),
    );
    const section = { id: STATE_SECTION.START, optional: true, dwords: [1001] };
    const vf = { id: STATE_SECTION.VF, optional: false, dwords: [0xffff_ffff, 0] };
    expect(reason(() => decodeGucState(encodeState([vf, section], OWNER), OWNER))).toMatch(
      /a start 1001 is above 1000/,
    );
  });

  it('moves with the VF to another place in the GGTT', () => {
    fc.assert(
      fc.property(arbitraryRuntime(OWNER), (runtime) => {
        const state = encodeGucState(runtime, OWNER);
        const moved = decodeGucState(state, MOVED);
        const by = MOVED.ggttStart - OWNER.ggttStart;
        if (runtime.h2g.address !== 0) expect(moved.h2g.address).toBe(runtime.h2g.address + by);
        else expect(moved.h2g.address).toBe(0);
        for (const [id, { lrcs }] of runtime.contexts)
          expect(moved.contexts.get(id)?.lrcs.map(({ low }) => low)).toEqual(
            lrcs.map(({ low }) => low + by),
          );
        // Nothing in it tells where the VF was.
        expect(encodeGucState(moved, MOVED)).toEqual(state);
      }),
      { numRuns: 200 },
    );
  });

  it('is refused when a single bit of it changed', () => {
    const runtime =
      fc.sample(arbitraryRuntime(OWNER), { numRuns: 1, seed: 7 })[0] ?? emptyRuntime();
    const state = encodeGucState(runtime, OWNER);
    for (let bit = 0; bit < state.length * 8; bit++) {
      const changed = state.slice();
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(reason(() => decodeGucState(changed, OWNER))).not.toBe('accepted');
    }
  });

  it('is refused when cut or continued', () => {
    const state = encodeGucState(undefined, OWNER);
    for (let length = 0; length < state.length; length++)
      expect(reason(() => decodeGucState(state.subarray(0, length), OWNER))).not.toBe('accepted');
    const longer = new Uint8Array(state.length + 4);
    longer.set(state);
    expect(reason(() => decodeGucState(longer, OWNER))).toMatch(/claims 25 dwords and has 26/);
  });

  it.each<[string, Partial<StateOwner>, RegExp]>([
    ['of a newer firmware', { firmware: { major: 70, minor: 57, patch: 9 } }, /firmware 70.58/],
    ['of another major', { firmware: { major: 71, minor: 0, patch: 0 } }, /firmware 70.58/],
    ['of another GT', { gtType: 'media' }, /not of a media GT/],
    ['of a smaller GGTT', { ggttSize: 0x200_0000 }, /4096 pages, the VF has 8192/],
    ['with an interface this firmware lacks', { abi: { major: 1, minor: 26, patch: 0 } }, /1\.27/],
    ['with a context too many', { contexts: 5 }, /context id 5 is above 4/],
    ['with a doorbell too many', { doorbells: 3 }, /doorbell id 3 is above 2/],
    ['with contexts where there are none', { contexts: 0 }, /context id 5/],
  ])('is refused %s', (_, change, why) => {
    const runtime = emptyRuntime();
    runtime.handshake = { major: 1, minor: 27, patch: 0 };
    runtime.contexts.set(5, {
      id: 5,
      flags: 0,
      engineClass: 0,
      submitMask: 1,
      wqDesc: 0,
      wqBase: 0,
      wqSize: 0,
      lrcs: [{ low: OWNER.ggttStart, high: 0 }],
      enabled: true,
      pending: false,
      policies: new Map(),
      run: freshRun(),
    });
    runtime.doorbells.set(3, { id: 3, contextId: 5, address: 0 });
    const state = encodeGucState(runtime, OWNER);
    expect(reason(() => decodeGucState(state, OWNER))).toBe('accepted');
    expect(reason(() => decodeGucState(state, { ...OWNER, ...change }))).toMatch(why);
  });

  it('says where contexts stand, and what they are still to be told, in this form', () => {
    const runtime = emptyRuntime();
    const context = (id: number, run: Partial<GucContext['run']>): GucContext => ({
      id,
      flags: 1,
      engineClass: 3,
      submitMask: 1,
      wqDesc: 0,
      wqBase: 0,
      wqSize: 0,
      lrcs: [{ low: OWNER.ggttStart + 0x119, high: 0 }],
      enabled: true,
      pending: true,
      policies: new Map(),
      run: { ...freshRun(), ...run },
    });
    runtime.contexts.set(9, context(9, { blocked: true, disabling: true, quantumLeft: 640 }));
    runtime.contexts.set(4, context(4, {}));
    runtime.contexts.set(
      2,
      context(2, {
        idle: 1,
        positions: new Map([[0, new ScriptedPosition([7, OWNER.ggttStart + 0x4000])]]),
        faults: [{ id: 0xabc, lrc: 0 }],
      }),
    );
    runtime.nextFault = 0xabd;
    runtime.unsent.push({ fence: 0x12, dwords: [0xf000_0001] });
    runtime.unsent.push({ fence: 0, dwords: [0x9000_1008, 9] });
    const state = encodeGucState(runtime, OWNER);
    const words = [...new Uint32Array(state.buffer)];
    const first = [2, 0, 1, 0, 1, 0, 2, 7, 0x4000, 1, 0xabc, 0];
    const second = [9, 3, 0, 640, 0, 0];
    const sections = [
      ...[STATE_SECTION.RUNS, 19, 0xabd, ...first, ...second],
      ...[STATE_SECTION.UNSENT, 5, 0x0012_0001, 0xf000_0001, 2, 0x9000_1008, 9],
    ];
    expect(words.slice(-sections.length)).toEqual(sections);
    expect(decodeGucState(state, OWNER)).toEqual(runtime);
  });

  it('is taken from an older firmware', () => {
    const newer = { ...OWNER, firmware: { major: 70, minor: 60, patch: 0 } };
    expect(reason(() => decodeGucState(encodeGucState(undefined, OWNER), newer))).toBe('accepted');
  });

  it('may have optional sections that this firmware does not know, and no others', () => {
    const vf = { id: STATE_SECTION.VF, optional: false, dwords: [0xffff_ffff, 0] };
    const unknown = { id: 99, optional: true, dwords: [1, 2, 3] };
    const read = (...sections: StateSection[]) =>
      reason(() => decodeGucState(encodeState(sections, OWNER), OWNER));
    expect(read(vf, unknown)).toBe('accepted');
    expect(read(vf, { ...unknown, optional: false })).toMatch(/section 99 is not known/);
    expect(read(unknown)).toMatch(/nothing about the VF/);
    expect(read(vf, vf)).toMatch(/comes twice/);
    expect(read({ ...vf, dwords: [0xffff_ffff, 2] })).toMatch(/a flag 2/);
    expect(read({ ...vf, dwords: [0xffff_ffff] })).toMatch(/ends early/);
    expect(read({ ...vf, dwords: [0xffff_ffff, 0, 0] })).toMatch(/longer than what it holds/);
  });

  it('gives a value or EIO for any dwords with a right checksum', () => {
    const interesting = fc.oneof(fc.nat(20), fc.nat(0xffff_ffff), fc.constant(0xffff_ffff));
    // Making states is the slow part: a few, changed in many ways.
    const states = fc
      .sample(arbitraryRuntime(OWNER), 50)
      .map((runtime) => encodeGucState(runtime, OWNER));
    fc.assert(
      fc.property(
        fc.constantFrom(...states),
        fc.array(fc.tuple(fc.nat(), interesting), { minLength: 1, maxLength: 6 }),
        (original, changes) => {
          const state = original.slice();
          const words = new Uint32Array(state.buffer);
          for (const [at, value] of changes) words[4 + (at % (words.length - 4))] = value;
          const outcome = reason(() => decodeGucState(resealed(state), OWNER));
          expect(outcome).toMatch(/^(accepted$|GuC state refused: )/);
        },
      ),
      { numRuns: 10_000 },
    );
  });

  it('gives a value or EIO for any bytes at all', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(reason(() => decodeGucState(bytes, OWNER))).not.toBe('accepted');
      }),
      { numRuns: 10_000 },
    );
  });
});
