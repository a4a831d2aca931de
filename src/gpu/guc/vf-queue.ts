/** The contexts of one VF that want an engine of a GT. */
import { CONTEXT_TYPE, contextType } from '../../xe/guc/vf-actions.ts';
import { priorityOf } from './gang.ts';
import type { VfSession } from './vf-session.ts';
import type { GucContext } from './vf-state.ts';

/** True when an engine may take a context up. */
export function isRunnable({ enabled, pending, flags, run }: GucContext): boolean {
  // Those that save and restore compression metadata are run around a move, see ccs-contexts.ts.
  if (contextType(flags) !== CONTEXT_TYPE.NORMAL) return false;
  return enabled && pending && !run.blocked && !run.disabling && run.faults.length === 0;
}

/** One VF in a GT's scheduler. */
export class VfQueue {
  readonly session: VfSession;
  /** In the order in which they began to wait. */
  readonly #ready = new Set<GucContext>();

  readonly #fits: (context: GucContext) => boolean;

  /** @param fits whether the GT has an engine for a context */
  constructor(session: VfSession, fits: (context: GucContext) => boolean) {
    this.session = session;
    this.#fits = fits;
  }

  get vfid(): number {
    return this.session.vf.vfid;
  }

  /** True while the PF and the VF's recovery let its contexts run. */
  get open(): boolean {
    const { execution, fixup } = this.session.vf;
    return execution === 'running' && !fixup.blocked;
  }

  /** Contexts that wait for an engine. */
  get ready(): ReadonlySet<GucContext> {
    return this.#ready;
  }

  /** Lets a context wait, behind the others of its priority. */
  add(context: GucContext): void {
    if (isRunnable(context) && this.#fits(context)) this.#ready.add(context);
  }

  remove(context: GucContext): void {
    this.#ready.delete(context);
  }

  clear(): void {
    this.#ready.clear();
  }

  /** Waiting contexts, the most urgent first, each priority in its order. */
  byPriority(): readonly GucContext[] {
    const contexts = [...this.#ready];
    if (contexts.length < 2) return contexts;
    return contexts.sort((a, b) => priorityOf(a) - priorityOf(b));
  }
}
