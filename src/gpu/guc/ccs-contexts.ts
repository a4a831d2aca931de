/**
 * The contexts with which the driver of an integrated VF has its compression metadata moved: their
 * batches copy it from its hidden place to plain guest memory and back. Guest memory goes with the VM.
 *
 * Firmware runs the one that saves when the VF is paused, and the one that restores when its driver has
 * recovered from a move. It never keeps where they stand: a driver leaves HEAD at 0 and firmware finds
 * it there each time.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_vf_ccs.c ("VF save/restore of compression Meta Data").
 */
import type { Engine } from '../../xe/engines.ts';
import { CONTEXT_TYPE, contextType } from '../../xe/guc/vf-actions.ts';
import type { ContextLoader } from '../engine/contracts.ts';
import { servesContext } from './placement.ts';
import type { VfSession } from './vf-session.ts';
import type { GucContext } from './vf-state.ts';

/** Units of work between two looks at the clock. */
const TURN_BUDGET = 1024;
/** A batch that takes longer is given up: a driver's mistake must not stop the server, ms. */
const LIMIT_MS = 500;

/** Runs such contexts on the engines of one GT, between two turns of all others. */
export class CcsContexts {
  readonly #engines: readonly Engine[];
  readonly #around: { readonly loader: ContextLoader; readonly now: () => number };

  constructor(
    engines: readonly Engine[],
    around: { readonly loader: ContextLoader; readonly now: () => number },
  ) {
    this.#engines = engines;
    this.#around = around;
  }

  /** The VF has been paused: its metadata goes to guest memory, unless what is there is newer. */
  save(session: VfSession): void {
    if (!session.vf.ccsOwed) this.#run(session, CONTEXT_TYPE.COMPRESSION_SAVE, 'CCS_SAVE');
  }

  /** The VF goes on after a move: its metadata comes back from guest memory. */
  restore(session: VfSession): void {
    if (!session.vf.ccsOwed) return;
    session.vf.ccsOwed = false;
    this.#run(session, CONTEXT_TYPE.COMPRESSION_RESTORE, 'CCS_RESTORE');
  }

  #run(session: VfSession, type: number, what: string): void {
    for (const context of session.vf.existingRuntime?.contexts.values() ?? [])
      if (contextType(context.flags) === type && !this.#isDone(session, context))
        session.host.counters.fault(what);
  }

  /** Runs a context to the end of its ring. @returns false when it does not get there */
  #isDone({ host }: VfSession, context: GucContext): boolean {
    const { loader, now } = this.#around;
    const engine = this.#engines.find((one) => servesContext(one, context));
    const [lrc] = context.lrcs;
    if (engine === undefined || lrc === undefined) return false;
    const execution = loader.load(engine, lrc, host.execution(engine), undefined);
    const deadline = now() + LIMIT_MS;
    let end = execution?.turn(TURN_BUDGET);
    while (end === 'more' && now() < deadline) end = execution?.turn(TURN_BUDGET);
    return end === 'idle';
  }
}
