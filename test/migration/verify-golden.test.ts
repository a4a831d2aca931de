/** Every golden stream gets its verdict, with errno and place. */
import { describe, expect, it } from 'vitest';
import { verifyFile } from '../../src/app/verify.ts';
import { StreamVerifier } from '../../src/migration/stream-verify.ts';
import {
  type GoldenVector,
  goldenBytes,
  goldenPath,
  goldenTarget,
  manifest,
} from '../support/stream-builder.ts';

type Verdict =
  | { readonly ok: true; readonly warnings: readonly string[] }
  | {
      readonly ok: false;
      readonly errno: string;
      readonly offset: number;
      readonly packet: number;
    };

const accepted = (...warnings: string[]): Verdict => ({ ok: true, warnings });
const refused = (errno: string, offset: number, packet: number): Verdict => ({
  ok: false,
  errno,
  offset,
  packet,
});

/**
 * `offset` is the offending packet's header. Where Linux finds a fault only at the payload's end or in
 * a worker, accepts stale data or crashes, the header's place is what is right here.
 */
const VERDICTS: Readonly<Record<string, Verdict>> = {
  ptl_min: accepted(),
  bmg_min: accepted(),
  ptl_mmio_before_guc: accepted(),
  ptl_no_descriptor: accepted('no-descriptor'),
  ptl_two_descriptors: accepted(),
  ptl_empty_descriptor: accepted(),
  ptl_unknown_klv: accepted(),
  ptl_flags_offset_ignored: accepted(),
  ptl_ggtt_vfid_bits_set: accepted(),
  ptl_missing_mmio: accepted('missing'),
  bmg_vram_missing: accepted('missing'),
  ptl_data_after_trailer: refused('EINVAL', 440, 7),
  ptl_two_trailers: refused('EINVAL', 440, 7),
  bad_version_trailer: refused('EINVAL', 416, 6),
  bad_version_unknown_type: refused('EINVAL', 280, 3),
  bad_version_descriptor: refused('EINVAL', 0, 0),
  bad_version_guc: refused('EINVAL', 40, 1),
  type_zero: refused('EINVAL', 280, 3),
  type_zero_empty: refused('EINVAL', 280, 3),
  bad_tile: refused('EINVAL', 128, 2),
  bad_gt_2: refused('EINVAL', 280, 3),
  size_all_ones: refused('ENOMEM', 40, 1),
  bmg_vram_size_all_ones: refused('EINVAL', 320, 4),
  desc_devid_mismatch: refused('ENODEV', 0, 0),
  desc_revid_mismatch: refused('ENODEV', 0, 0),
  desc_second_devid_bad: refused('ENODEV', 0, 0),
  desc_other_platform: refused('ENODEV', 0, 0),
  desc_size_not_dwords: refused('EINVAL', 0, 0),
  desc_klv_truncated: refused('ENODATA', 0, 0),
  desc_klv_len_max: refused('ENODATA', 0, 0),
  desc_bad_tile: refused('EINVAL', 0, 0),
  trailer_with_payload: refused('EINVAL', 416, 6),
  trailer_bad_gt: refused('EINVAL', 416, 6),
  trailer_bad_tile: refused('EINVAL', 416, 6),
  no_trailer: refused('ETIMEDOUT', 416, 6),
  empty_stream: refused('ETIMEDOUT', 0, 0),
  only_descriptor: refused('ETIMEDOUT', 40, 1),
  cut_in_header: refused('ETIMEDOUT', 280, 3),
  ggtt_short: refused('EINVAL', 128, 2),
  ggtt_long: refused('EINVAL', 128, 2),
  ggtt_empty: refused('EINVAL', 128, 2),
  mmio_short: refused('EINVAL', 280, 3),
  guc_empty: refused('ENOBUFS', 40, 1),
  guc_wrong_size: refused('EIO', 320, 4),
  vram_on_integrated: refused('ENXIO', 320, 4),
  bmg_vram_past_end: refused('EINVAL', 320, 4),
  bmg_vram_beyond: refused('EINVAL', 320, 4),
  bmg_vram_empty: refused('EINVAL', 320, 4),
};

function verdictOf(vector: GoldenVector, pieces: number): Verdict {
  const bytes = goldenBytes(vector);
  const verifier = new StreamVerifier(goldenTarget(vector.device));
  try {
    for (let at = 0; at < bytes.length; at += pieces)
      verifier.push(bytes.subarray(at, at + pieces));
    return accepted(...verifier.finish().warnings.map(({ kind }) => kind));
  } catch (error) {
    const { code, offset, packet } = error as { code: string; offset: number; packet: number };
    return refused(code, offset, packet);
  }
}

describe('verify of the golden streams', () => {
  it('has a verdict for each of them', () => {
    expect(manifest.vectors.map(({ name }) => name).sort()).toEqual(Object.keys(VERDICTS).sort());
  });

  it.each(manifest.vectors.map((vector) => [vector.name, vector] as const))(
    '%s',
    async (name, vector) => {
      const verdict = VERDICTS[name];
      expect(verdictOf(vector, 2 ** 20)).toEqual(verdict);
      expect(verdictOf(vector, 7)).toEqual(verdict);
      const outcome = await verifyFile(goldenPath(vector), goldenTarget(vector.device));
      expect(outcome).toMatchObject(
        outcome.ok ? { ok: true, bytes: vector.bytes } : (verdict ?? {}),
      );
      expect(outcome.ok).toBe(verdict?.ok);
    },
  );

  it('agrees with the class that Linux gave', () => {
    for (const { name, class: kind } of manifest.vectors)
      expect([name, VERDICTS[name]?.ok]).toEqual([name, kind === 'legal' || kind === 'accepted']);
  });
});
