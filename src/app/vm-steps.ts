/** The steps of moving, saving or restoring a VM: told, hooked and timed. */
import type { RamProgress } from './vm-migration.ts';

/** What all of them take. */
export interface VmStepOptions<Step extends string> {
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: VmEvent<Step>) => void) | undefined;
  /** Runs before each step; its time counts. */
  readonly beforeStep?: ((step: Step) => Promise<void>) | undefined;
}

/** What they tell. */
export type VmEvent<Step extends string = string> =
  | { readonly type: 'step'; readonly step: Step; readonly atMs: number }
  | { readonly type: 'ram'; readonly progress: RamProgress };

/** A part of a downtime. */
export interface DowntimePart {
  readonly name: string;
  readonly ms: number;
}

/** Where one of them is, and when it came there. */
export class StepLog<Step extends string> {
  readonly #options: VmStepOptions<Step>;
  readonly #start = performance.now();
  readonly #marks = new Map<Step, number>();
  #step: Step;

  /** @param first the step that it is in before any was entered */
  constructor(options: VmStepOptions<Step>, first: Step) {
    this.#options = options;
    this.#step = first;
  }

  /** The step that was entered last. */
  get step(): Step {
    return this.#step;
  }

  /** Milliseconds since the beginning. */
  get totalMs(): number {
    return performance.now() - this.#start;
  }

  /** Begins a step. @throws what `beforeStep` throws */
  async enter(step: Step): Promise<void> {
    this.#step = step;
    this.#marks.set(step, performance.now());
    this.#options.onEvent?.({ type: 'step', step, atMs: this.totalMs });
    if (this.#options.beforeStep !== undefined) await this.#options.beforeStep(step);
  }

  /** When a step was entered, ms; NaN when it was not. */
  at(step: Step): number {
    return this.#marks.get(step) ?? Number.NaN;
  }

  /**
   * The time from `from` on, in parts that end one after the other.
   *
   * @param ends the name of each part, and when it ended, ms; one that was not reached ends at once
   */
  parts(from: number, ends: readonly (readonly [name: string, end: number])[]): DowntimePart[] {
    let last = from;
    return ends.map(([name, end]) => {
      const ms = Number.isNaN(end) ? 0 : Math.max(0, end - last);
      last += ms;
      return { name, ms };
    });
  }
}
