/**
 * GuC context ids and doorbells of one GT, of which the PF keeps a spare.
 *
 * Source: drivers/gpu/drm/xe/xe_guc_id_mgr.c, xe_guc_db_mgr.c.
 */
import { Fault } from '../base/fault.ts';
import { GUC_ID_MAX } from '../xe/guc/pf-actions.ts';
import { RangeAllocator } from './range-allocator.ts';

/** Hands out ranges of ids. */
export class IdAllocator {
  #ranges: RangeAllocator | undefined;

  /**
   * Sets how many ids there are; none can be reserved before.
   * @throws {Fault} EINVAL for 0, ERANGE above {@link GUC_ID_MAX}
   */
  init(total: number): void {
    if (total === 0) throw new Fault('EINVAL', 'there must be at least one id');
    if (total > GUC_ID_MAX) throw new Fault('ERANGE', `there are at most ${GUC_ID_MAX} ids`);
    this.#ranges = new RangeAllocator(0, total);
  }

  /** Ids that are reserved. */
  get used(): number {
    return this.#ranges?.used ?? 0;
  }

  /**
   * Reserves `count` ids in a row and leaves at least `retain` for the PF.
   * @returns the first
   * @throws {Fault} ENODATA before {@link init}, EDQUOT when too few would be left, ENOSPC when
   * there are not that many in a row
   */
  reserve(count: number, retain: number, from: 'top' | 'bottom'): number {
    if (this.#ranges === undefined) throw new Fault('ENODATA', 'there are no ids');
    const { used, total } = this.#ranges;
    if (retain > 0 && used + count + retain > total)
      throw new Fault('EDQUOT', `${count} more ids would leave less than ${retain} of ${total}`);
    return this.#ranges.allocate(count, 1, from);
  }

  /** Gives back what {@link reserve} returned. */
  release(first: number): void {
    this.#ranges?.release(first);
  }

  /** The most ids that each of `count` owners can have from one range of their own. */
  fairShare(count: number, retain: number): number {
    if (this.#ranges === undefined) return 0;
    const largest = Math.max(0, ...this.#ranges.holes(1));
    const allowed = this.#ranges.total - this.#ranges.used - retain;
    return Math.max(0, Math.floor(Math.min(largest, allowed) / count));
  }
}
