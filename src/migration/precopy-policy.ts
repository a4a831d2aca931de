/** When a pre-copy is over, and what its rounds tell. */

/** When a pre-copy is over. */
export interface PrecopyPolicy {
  /** Use PRE_COPY where the source has it; unless given `auto`. */
  readonly precopy?: 'auto' | 'off' | undefined;
  /**
   * Milliseconds that the VF may be down. The source is not stopped before the estimate is below it;
   * when it does not get there the migration is given up with ETIME. Without it the source is
   * stopped once more rounds would not help.
   */
  readonly maxDowntimeMs?: number | undefined;
}

/** One round of a pre-copy: what a forecast is made of. */
export interface PrecopyRound {
  /** From 1; round 1 is the first pass over all of the state. */
  readonly round: number;
  readonly ms: number;
  /** Bytes of the stream that moved in this round. */
  readonly bytes: number;
  readonly bytesPerSecond: number;
  /** Bytes known to have changed and not sent, at the end of the round. */
  readonly dirtyBytes: number;
  /** Bytes a second that become dirty, as seen in this round. */
  readonly dirtyBytesPerSecond: number;
  /** Milliseconds that the VF would be down if it were stopped now. */
  readonly downtimeMs: number;
}
