/**
 * What a VF does that its PF wants to know about: counted over a sampling period, reported once a
 * period when the PF's threshold is reached.
 *
 * Source: drivers/gpu/drm/xe/abi/guc_klvs_abi.h (VF_CFG_THRESHOLD_*, VGT_POLICY_ADVERSE_SAMPLE_PERIOD).
 */
import { VF_THRESHOLD, type VfThreshold, VGT_POLICY_KLV } from '../../xe/guc/pf-actions.ts';
import type { GucVf } from './vf-state.ts';

interface Sample {
  /** When the period began, ms. */
  since: number;
  /** Occurrences, or microseconds, by threshold key. */
  readonly amounts: Map<number, number>;
}

/** What the counting needs of the GuC. */
export interface AdverseSurroundings {
  /** Policies of UPDATE_VGT_POLICY by key. */
  readonly policies: ReadonlyMap<number, readonly number[]>;
  /** Milliseconds. */
  readonly now: () => number;
  /** Tells the PF. @param key of the threshold that was reached */
  readonly report: (vfid: number, key: number) => void;
}

/** The counts of one GuC. */
export class AdverseEvents {
  readonly #around: AdverseSurroundings;
  readonly #samples = new Map<number, Sample>();

  constructor(around: AdverseSurroundings) {
    this.#around = around;
  }

  /** Counts an event. @param amount occurrences, or microseconds of a storm */
  note(vf: GucVf, threshold: VfThreshold, amount = 1): void {
    const { policies, now, report } = this.#around;
    const { key } = VF_THRESHOLD[threshold].klv;
    const limit = vf.config.get(key)?.[0] ?? 0;
    const period = policies.get(VGT_POLICY_KLV.ADVERSE_SAMPLE_PERIOD.key)?.[0] ?? 0;
    if (limit === 0 || period === 0) return;
    const at = now();
    let sample = this.#samples.get(vf.vfid);
    if (sample === undefined || at - sample.since >= period) {
      sample = { since: at, amounts: new Map() };
      this.#samples.set(vf.vfid, sample);
    }
    const before = sample.amounts.get(key) ?? 0;
    sample.amounts.set(key, before + amount);
    if (before < limit && before + amount >= limit) report(vf.vfid, key);
  }
}
