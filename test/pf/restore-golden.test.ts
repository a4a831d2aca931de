import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ErrnoName } from '../../src/base/errno.ts';
import { Fault, StreamFault } from '../../src/base/fault.ts';
import { GoldenDevice } from './golden-device.ts';
import { golden, goldenJson } from './golden-files.ts';

interface Run {
  readonly applied: readonly string[] | null;
}
interface Vector {
  readonly name: string;
  readonly file: string;
  readonly device: 'ptl' | 'bmg';
  readonly class: string;
  readonly bytes: number;
  readonly linux_7_3: Record<
    'per_part' | 'one_write',
    { readonly cuts: ReadonlyArray<readonly [number, number]>; readonly eager: Run }
  >;
}

/** What we make of a stream that Linux refuses, hangs or crashes on, or accepts wrongly. */
interface Verdict {
  readonly code: ErrnoName;
  /** Where the offending packet's header begins. */
  readonly offset: number;
  /** The write takes it all, and leaving says so. */
  readonly atEnd?: true;
}

/** Streams that are refused; all others are restored as Linux restores them. */
const VERDICTS: Readonly<Record<string, Verdict>> = {
  ptl_data_after_trailer: { code: 'EINVAL', offset: 440 },
  ptl_two_trailers: { code: 'EINVAL', offset: 440 },
  bad_version_trailer: { code: 'EINVAL', offset: 416 },
  bad_version_unknown_type: { code: 'EINVAL', offset: 280 },
  bad_version_descriptor: { code: 'EINVAL', offset: 0 },
  bad_version_guc: { code: 'EINVAL', offset: 40 },
  type_zero: { code: 'EINVAL', offset: 280 },
  type_zero_empty: { code: 'EINVAL', offset: 280 },
  bad_tile: { code: 'EINVAL', offset: 128 },
  bad_gt_2: { code: 'EINVAL', offset: 280 },
  size_all_ones: { code: 'ENOMEM', offset: 40 },
  bmg_vram_size_all_ones: { code: 'EINVAL', offset: 320 },
  desc_devid_mismatch: { code: 'ENODEV', offset: 0 },
  desc_revid_mismatch: { code: 'ENODEV', offset: 0 },
  desc_second_devid_bad: { code: 'ENODEV', offset: 0 },
  desc_other_platform: { code: 'ENODEV', offset: 0 },
  desc_size_not_dwords: { code: 'EINVAL', offset: 0 },
  desc_klv_truncated: { code: 'ENODATA', offset: 0 },
  desc_klv_len_max: { code: 'ENODATA', offset: 0 },
  desc_bad_tile: { code: 'EINVAL', offset: 0 },
  trailer_with_payload: { code: 'EINVAL', offset: 416 },
  trailer_bad_gt: { code: 'EINVAL', offset: 416 },
  trailer_bad_tile: { code: 'EINVAL', offset: 416 },
  no_trailer: { code: 'ETIMEDOUT', offset: 416, atEnd: true },
  empty_stream: { code: 'ETIMEDOUT', offset: 0, atEnd: true },
  only_descriptor: { code: 'ETIMEDOUT', offset: 40, atEnd: true },
  cut_in_header: { code: 'ETIMEDOUT', offset: 280, atEnd: true },
  ggtt_short: { code: 'EINVAL', offset: 128 },
  ggtt_long: { code: 'EINVAL', offset: 128 },
  ggtt_empty: { code: 'EINVAL', offset: 128 },
  mmio_short: { code: 'EINVAL', offset: 280 },
  guc_empty: { code: 'ENOBUFS', offset: 40 },
  guc_wrong_size: { code: 'EIO', offset: 320 },
  vram_on_integrated: { code: 'ENXIO', offset: 320 },
  bmg_vram_past_end: { code: 'EINVAL', offset: 320 },
  bmg_vram_beyond: { code: 'EINVAL', offset: 320 },
  bmg_vram_empty: { code: 'EINVAL', offset: 320 },
};

type Cuts = ReadonlyArray<readonly [offset: number, length: number]>;

/** Restores a stream into VF2 and tells what came of it. */
async function restore(device: 'ptl' | 'bmg', stream: Uint8Array, cuts: Cuts, windows = false) {
  const target = new GoldenDevice(device);
  const applied: string[] = [];
  for (const { id, guc } of target.gts) guc.onRestore = () => applied.push(`gt${id}:GUC`);
  target.ggtt.onWrite = () => applied.push('gt0:GGTT');
  target.onMmio = (gt) => applied.push(`gt${gt}:MMIO`);
  const { control, migration } = target.pf;
  const vf = migration.vf(2);
  await target.must(() => control.operate(2, 'pause'));
  await target.must(() => migration.beginRestore(2));
  const write = async (bytes: Uint8Array) => {
    const window = windows ? vf.window(bytes.length) : undefined;
    if (window === undefined) return vf.write(bytes);
    window.set(bytes.subarray(0, window.length));
    await vf.commit(window.length);
    if (window.length < bytes.length) await vf.write(bytes.subarray(window.length));
  };
  let written: Fault | undefined;
  for (const [offset, length] of cuts) {
    const outcome = await target.run(() => write(stream.subarray(offset, offset + length)));
    if (!('fault' in outcome)) continue;
    written = outcome.fault;
    // The first error stays, whatever is written after it.
    expect(await target.fails(() => vf.write(new Uint8Array(1)))).toBe(written);
    break;
  }
  const left = await target.run(() => migration.finishRestore(2));
  expect(left.timedOut, 'leaving must not wait').toBe(false);
  const finished = 'fault' in left ? left.fault : undefined;
  if (written !== undefined) expect(finished).toBe(written);
  if (target.vram.get(2)?.bytes.some((byte) => byte !== 0)) applied.push('gt0:VRAM');
  expect(target.gts.map(({ guc }) => guc.heldBuffers)).toEqual([0, 0]);
  const fault = finished;
  return { target, applied, atEnd: written === undefined, fault, states: control.states(2) };
}

function describeRun({ applied, atEnd, fault }: Awaited<ReturnType<typeof restore>>) {
  const place = fault instanceof StreamFault ? { offset: fault.offset, packet: fault.packet } : {};
  return {
    applied: [...applied].sort(),
    atEnd,
    code: fault?.code,
    reason: fault?.message,
    ...place,
  };
}

const { vectors } = goldenJson<{ vectors: Vector[] }>('manifest.json');

describe('restoring the golden streams', () => {
  for (const vector of vectors) {
    for (const plan of ['per_part', 'one_write'] as const) {
      it(`${vector.name}, ${plan}`, async () => {
        const { cuts, eager } = vector.linux_7_3[plan];
        const stream = golden(vector.file);
        const run = await restore(vector.device, stream, cuts);
        const verdict = VERDICTS[vector.name];
        if (verdict === undefined) {
          expect(vector.class).toMatch(/^(legal|accepted)$/);
          expect(run.fault).toBeUndefined();
          expect([...run.applied].sort()).toEqual([...(eager.applied ?? [])].sort());
          expect(run.states).toEqual([
            ['PAUSED', 'RESTORED'],
            ['PAUSED', 'RESTORED'],
          ]);
        } else {
          expect(run.fault).toBeInstanceOf(StreamFault);
          const { code, offset } = run.fault as StreamFault;
          expect({ code, offset }).toEqual({ code: verdict.code, offset: verdict.offset });
          expect(run.atEnd).toBe(verdict.atEnd ?? false);
        }
      });
    }
  }

  it('knows no stream that golden does not have', () => {
    const names = vectors.map(({ name }) => name);
    expect(Object.keys(VERDICTS).filter((name) => !names.includes(name))).toEqual([]);
  });

  it('finds a payload that is cut, at its packet', async () => {
    const stream = golden('streams/cut_in_payload.bin');
    const { fault } = await restore('ptl', stream, [[0, stream.length]]);
    expect(fault).toMatchObject({ code: 'ETIMEDOUT', offset: 128, packet: 2 });
  });

  it('gives the restored VF the state that the stream has', async () => {
    const stream = golden('streams/bmg_min.bin');
    const { target } = await restore('bmg', stream, [[0, stream.length]]);
    const { migration } = target.pf;
    await target.must(() => migration.beginSave(2));
    const views = await target.must(() => migration.vf(2).read(2 ** 24));
    expect(Buffer.concat(views).equals(stream)).toBe(true);
  });
});

describe('a stream in pieces', () => {
  /** Cuts `[0, length)` at the given places. */
  function cutAt(length: number, places: readonly number[]): Cuts {
    const ends = [...new Set(places.map((place) => place % (length + 1)))].sort((a, b) => a - b);
    return [...ends, length].map((end, at) => [ends[at - 1] ?? 0, end - (ends[at - 1] ?? 0)]);
  }

  const small = vectors.filter(({ bytes }) => bytes < 10_000);

  it('comes to the same however it is cut', async () => {
    const whole = new Map<string, ReturnType<typeof describeRun>>();
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...small),
        fc.array(fc.nat(9999), { maxLength: 12 }),
        fc.boolean(),
        async (vector, places, windows) => {
          const stream = golden(vector.file);
          let expected = whole.get(vector.name);
          if (expected === undefined) {
            expected = describeRun(await restore(vector.device, stream, [[0, stream.length]]));
            whole.set(vector.name, expected);
          }
          const cuts = cutAt(stream.length, places);
          const run = describeRun(await restore(vector.device, stream, cuts, windows));
          // Whether the last write or leaving told is a matter of where the last cut is.
          expect(run).toEqual(expected);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('takes VRAM in place through windows', async () => {
    const stream = golden('streams/bmg_min.bin');
    const cuts = cutAt(stream.length, [344, 5000, 5001, 70_000, 2_097_495]);
    const { target, fault } = await restore('bmg', stream, cuts, true);
    expect(fault).toBeUndefined();
    const vram = target.vram.get(2)?.bytes ?? new Uint8Array(0);
    expect(Buffer.compare(vram, stream.subarray(344, 344 + 2 ** 21))).toBe(0);
  });

  it('never crashes on, and never wrongly accepts, a stream with changed bytes', async () => {
    const stream = golden('streams/ptl_min.bin');
    const headers = [0, 40, 128, 280, 320, 376, 416];
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...headers),
        fc.nat(23),
        fc.integer({ min: 1, max: 255 }),
        async (header, at, flip) => {
          const changed = Uint8Array.from(stream);
          changed[header + at] = (changed[header + at] as number) ^ flip;
          const { fault } = await restore('ptl', changed, [[0, changed.length]]);
          // Flags are never looked at, nor the offset of a packet that has no place in VRAM; an
          // unknown type is skipped.
          const ignored = at >= 4 && at < 16 && !(header === 416 && at >= 8);
          const type = changed[header + 1] as number;
          // The registers of one GT fit into the other.
          const otherGt = at === 3 && flip === 1 && (header === 280 || header === 376);
          if (otherGt) expect(fault).toBeUndefined();
          else if (ignored || (at === 1 && (type > 6 || type < 3) && header !== 416)) {
            if (ignored) expect(fault).toBeUndefined();
          } else if (at !== 1) expect(fault).toBeInstanceOf(StreamFault);
          if (fault !== undefined) expect(fault).toBeInstanceOf(Fault);
        },
      ),
      // Both changes that only move registers to the other GT, so that no run depends on luck.
      {
        numRuns: 200,
        examples: [
          [280, 3, 1],
          [376, 3, 1],
        ],
      },
    );
  });
});
