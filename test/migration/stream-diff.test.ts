import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { diffFiles } from '../../src/app/diff.ts';
import { CheckpointWriter } from '../../src/migration/checkpoint-writer.ts';
import { encodeDescriptor } from '../../src/xe/migration-packet.ts';
import { bmgPackets, pattern, streamBytes, type TestPacket } from '../support/stream-builder.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'xe-vfio-diff-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function diff(a: readonly TestPacket[], b: readonly TestPacket[], limit = 100) {
  writeFileSync(join(folder, 'a'), streamBytes(a));
  writeFileSync(join(folder, 'b'), streamBytes(b));
  const there = await diffFiles(join(folder, 'a'), join(folder, 'b'), limit);
  const back = await diffFiles(join(folder, 'b'), join(folder, 'a'), limit);
  expect(back.differences).toHaveLength(there.differences.length);
  expect(back.equal).toBe(there.equal);
  return there;
}

/** The packets with the payload of one type of one GT changed at one byte. */
function poked(type: number, gt: number, at: number, value = 0): TestPacket[] {
  return bmgPackets().map((packet) => {
    if (packet.type !== type || (packet.gt ?? 0) !== gt || packet.payload === undefined)
      return packet;
    const start = packet.offset ?? 0;
    if (at < start || at >= start + packet.payload.length) return packet;
    const payload = packet.payload.slice();
    payload[at - start] = value;
    return { ...packet, payload };
  });
}

describe('diff', () => {
  it('finds nothing between a stream and itself', async () => {
    expect(await diff(bmgPackets(), bmgPackets())).toMatchObject({
      equal: true,
      differences: [],
      omitted: 0,
    });
  });

  it('takes no notice of order, flags, chunks, and what came first of two', async () => {
    const [descriptor, guc, ggtt, mmio, ...rest] = bmgPackets([8192]);
    const stale = { type: 5, payload: pattern(64, 9) };
    const other = [descriptor, mmio, ggtt, stale, guc, ...rest].flatMap((p) =>
      p === undefined ? [] : [{ ...p, flags: 7 }],
    );
    const cut = bmgPackets([8192]).flatMap((p): TestPacket[] => {
      if (p.type !== 6 || p.payload === undefined) return [p];
      const { payload } = p;
      // Out of order and overlapping: the later bytes stay.
      return [
        { type: 6, offset: 5000, payload: payload.subarray(5000) },
        { type: 6, offset: 0, payload: pattern(3000, 77) },
        { type: 6, offset: 0, payload: payload.subarray(0, 5000) },
      ];
    });
    expect((await diff(bmgPackets([8192]), other)).differences).toEqual([]);
    expect((await diff(cut, other)).differences).toEqual([]);
  });

  it('takes VRAM that is not there for zero where the VF ran while it was saved', async () => {
    const zeros = new Uint8Array(4096);
    const whole = bmgPackets().map((p) =>
      p.type === 6 && p.offset === 0 ? { ...p, payload: zeros } : p,
    );
    const [descriptor, ...rest] = whole;
    const late = rest.filter(({ type, offset }) => type === 6 && offset === 4096);
    const others = rest.filter(({ type }) => type !== 6);
    const precopied = [descriptor, ...late, ...others].flatMap((p) => p ?? []);
    expect(await diff(whole, precopied)).toMatchObject({ equal: true, differences: [] });
    const lost = whole.filter(({ type, offset }) => type !== 6 || offset === 4096);
    expect((await diff(whole, lost)).equal).toBe(false);
    expect((await diff(bmgPackets(), precopied)).equal).toBe(false);
  });

  it('takes no notice of the VFIDs of the GGTT, but of every other bit', async () => {
    const ggtt = bmgPackets()[2]?.payload ?? new Uint8Array();
    const low = ggtt[16] ?? 0;
    expect((await diff(bmgPackets(), poked(3, 0, 16, low ^ 0xfc))).differences).toEqual([]);
    expect((await diff(bmgPackets(), poked(3, 0, 16, low ^ 0x01))).differences).toEqual([
      { kind: 'range', resource: 'GGTT', gt: 0, start: 0x2000, end: 0x3000, differing: 1 },
    ]);
  });

  it('names registers', async () => {
    const { differences } = await diff(bmgPackets(), poked(4, 1, 9, 0xff));
    expect(differences).toMatchObject([
      { kind: 'register', resource: 'MMIO', gt: 1, name: 'MED_VF_SW_FLAG(2) at 0x190318' },
    ]);
    const main = await diff(bmgPackets(), poked(4, 0, 0, 0xff));
    expect(main.differences).toMatchObject([{ name: 'VF_SW_FLAG(0) at 0x190240' }]);
  });

  it('names ranges of GuC state by GT and of VRAM, and joins what is near', async () => {
    expect((await diff(bmgPackets(), poked(5, 1, 30))).differences).toEqual([
      { kind: 'range', resource: 'GUC', gt: 1, start: 30, end: 31, differing: 1 },
    ]);
    const vram = bmgPackets([4096, 12288]).map((p) => {
      if (p.payload === undefined || p.type !== 6) return p;
      const payload = p.payload.slice();
      for (const at of [4000, 4200, 13000]) {
        const inside = at - (p.offset ?? 0);
        if (inside >= 0 && inside < payload.length) payload[inside] = 0;
      }
      return { ...p, payload };
    });
    expect((await diff(bmgPackets([4096, 12288]), vram)).differences).toEqual([
      { kind: 'range', resource: 'VRAM', gt: 0, start: 4000, end: 4201, differing: 2 },
      { kind: 'range', resource: 'VRAM', gt: 0, start: 13000, end: 13001, differing: 1 },
    ]);
  });

  it('names what only one of them has, once, however it is cut', async () => {
    const { differences, resources } = await diff(
      bmgPackets([4096, 4096, 4096]),
      bmgPackets([2048]),
    );
    expect(differences).toEqual([
      { kind: 'only', resource: 'VRAM', gt: 0, start: 2048, end: 12288, in: 'a' },
    ]);
    expect(resources.find(({ resource }) => resource === 'VRAM')).toEqual({
      resource: 'VRAM',
      gt: 0,
      aBytes: 12288,
      bBytes: 2048,
      differing: 10240,
    });
  });

  it('names fields of the descriptor', async () => {
    const other = bmgPackets().map((p) =>
      p.type === 1 ? { ...p, payload: encodeDescriptor(0xe20b, 3).subarray(8) } : p,
    );
    expect((await diff(bmgPackets(), other)).differences).toEqual([
      { kind: 'field', resource: 'DESCRIPTOR', name: 'DEVID', a: '0xe20b', b: undefined },
      { kind: 'field', resource: 'DESCRIPTOR', name: 'REVID', a: '0x0', b: '0x3' },
    ]);
  });

  it('lists as many as it is told and counts the others', async () => {
    const zero = bmgPackets().map((p) => (p.payload ? { ...p, payload: new Uint8Array(16) } : p));
    const sized = zero.map((p, at) => ({
      ...p,
      payload: new Uint8Array(bmgPackets()[at]?.payload?.length ?? 0),
    }));
    const all = await diff(bmgPackets(), sized);
    const few = await diff(bmgPackets(), sized, 3);
    expect(few.differences).toEqual(all.differences.slice(0, 3));
    expect(few.omitted).toBe(all.differences.length - 3);
    expect(few.equal).toBe(false);
  });

  it('compares a checkpoint with a plain stream, and the profiles of two checkpoints', async () => {
    const paths = [join(folder, 'c1'), join(folder, 'c2')] as const;
    for (const [n, path] of paths.entries()) {
      const profile = {
        platform: 'bmg',
        contexts: 100 + n,
        gucVersion: { major: 70, minor: 54, patch: n },
      };
      const writer = await CheckpointWriter.create(path, { profile });
      await writer.write(streamBytes(bmgPackets()));
      await writer.finish();
    }
    const raw = join(folder, 'raw');
    writeFileSync(raw, streamBytes(bmgPackets([100, 8092])));
    expect((await diffFiles(paths[0], raw, 10)).differences).toMatchObject([
      // The chunks are patterned one by one, so the bytes are others.
      { kind: 'range', resource: 'VRAM' },
    ]);
    const { equal, differences, profile } = await diffFiles(paths[0], paths[1], 10);
    expect([equal, differences]).toEqual([false, []]);
    expect(profile).toEqual([
      { field: 'contexts', a: '100', b: '101' },
      { field: 'gucVersion', a: '70.54.0', b: '70.54.1' },
    ]);
  });

  it('names the file that is broken', async () => {
    await expect(diff(bmgPackets(), bmgPackets().slice(0, -1))).rejects.toMatchObject({
      code: 'ETIMEDOUT',
      message: `${join(folder, 'b')}: the trailer is missing`,
    });
  });

  it('finds exactly the bytes of VRAM that differ, however both are cut', async () => {
    const chunks = fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 8 });
    const pokes = fc.uniqueArray(fc.nat(5999), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(chunks, chunks, pokes, async (left, right, places) => {
        const bytes = pattern(6000);
        const other = bytes.slice();
        for (const at of places) other[at] = 0;
        const report = await diff(inChunks(bytes, left), inChunks(other, right));
        const ranges = report.differences.filter((difference) => difference.kind === 'range');
        expect(ranges).toHaveLength(report.differences.length);
        for (const at of places)
          expect(ranges.filter(({ start, end }) => at >= start && at < end)).toHaveLength(1);
        expect(ranges.reduce((sum, { differing }) => sum + differing, 0)).toBe(places.length);
      }),
      { numRuns: 40 },
    );
  });
});

/** A stream with nothing but VRAM, cut into chunks of these sizes, over and over. */
function inChunks(bytes: Uint8Array, sizes: readonly number[]): TestPacket[] {
  const packets: TestPacket[] = [];
  for (let at = 0, n = 0; at < bytes.length; n++) {
    const payload = bytes.subarray(at, at + (sizes[n % sizes.length] ?? 1));
    packets.push({ type: 6, offset: at, payload });
    at += payload.length;
  }
  return [...packets, { type: 2 }];
}
