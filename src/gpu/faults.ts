/**
 * Faults that tests let an emulated GPU have. Each names a GT (all when undefined) and how often
 * it strikes; it strikes the next messages that fit, then is gone.
 *
 * @example gpu.faults.add({ kind: 'vf-control', gt: 1, command: 1, error: 'EIO' })
 */
import type { ErrnoName } from '../base/errno.ts';

/** One fault. */
export type GpuFault = (
  | {
      /** VF_CONTROL is answered with an error instead of done. */
      readonly kind: 'vf-control';
      /** Only this command (PAUSE 1, RESUME 2, STOP 3, FLR_START 4, FLR_FINISH 5). */
      readonly command?: number;
      /** What the PF's send throws: EIO refused, EBUSY try again, ETIME no answer, ECANCELED. */
      readonly error: ErrnoName;
    }
  | {
      /** SAVE_RESTORE_VF is answered with an error. */
      readonly kind: 'save-restore';
      readonly operation?: 'query' | 'save' | 'restore';
      readonly error: ErrnoName;
    }
  | {
      /** A VF_STATE_NOTIFY to the PF is lost. */
      readonly kind: 'drop-event';
      /** Which (FLR 1, FLR_DONE 2, PAUSE_DONE 3). */
      readonly event: number;
    }
) & {
  readonly gt?: number;
  readonly vfid?: number;
  /** How often; once unless told otherwise. */
  readonly times?: number;
};

type Kind = GpuFault['kind'];

/** The faults that are due. */
export class GpuFaults {
  #due: Array<{ readonly fault: GpuFault; left: number }> = [];

  /** Adds a fault. @returns a function that takes it back */
  add(fault: GpuFault): () => void {
    const entry = { fault, left: fault.times ?? 1 };
    this.#due.push(entry);
    return () => {
      this.#due = this.#due.filter((other) => other !== entry);
    };
  }

  /** Forgets all of them. */
  clear(): void {
    this.#due = [];
  }

  /** The first fault of `kind` for this GT and VF that `fits`, used up once. */
  take<K extends Kind>(
    kind: K,
    gt: number,
    vfid: number,
    fits: (fault: Extract<GpuFault, { kind: K }>) => boolean,
  ): Extract<GpuFault, { kind: K }> | undefined {
    const entry = this.#due.find(({ fault }) => {
      if (fault.kind !== kind) return false;
      if ((fault.gt ?? gt) !== gt || (fault.vfid ?? vfid) !== vfid) return false;
      return fits(fault as Extract<GpuFault, { kind: K }>);
    });
    if (entry === undefined) return undefined;
    entry.left--;
    if (entry.left <= 0) this.#due = this.#due.filter((other) => other !== entry);
    return entry.fault as Extract<GpuFault, { kind: K }>;
  }
}
