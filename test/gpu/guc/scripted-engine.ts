/** Engines whose contexts do what a test says, on a clock that only they and the test move. */
import type {
  ContextExecution,
  ContextLoader,
  ContextPosition,
  ContextRef,
  EngineInstance,
  ExecutionHost,
  GpuMemoryFault,
  TurnEnd,
  TurnSource,
} from '../../../src/gpu/engine/contracts.ts';

/** What a context does in its next turns. */
export interface ScriptStep {
  readonly end: TurnEnd;
  /** Milliseconds that the turn takes; 0.05 unless given. */
  readonly ms?: number;
  /** Turns that it lasts; 1 unless given, Infinity for ever. */
  times?: number;
  readonly preemptible?: boolean;
  readonly fault?: GpuMemoryFault;
}

/** What happened on an engine. */
export interface EngineEvent {
  readonly engine: string;
  /** GGTT address of the context. */
  readonly lrc: number;
  readonly what: 'load' | 'save' | TurnEnd;
  readonly at: number;
}

/** Where a scripted context stands. */
export class ScriptedPosition implements ContextPosition {
  readonly dwords: readonly number[];

  /** Dword 0 counts turns, dword 1 is an address in the GGTT. */
  constructor(dwords: readonly number[]) {
    this.dwords = dwords;
  }

  rebased(delta: number): ContextPosition {
    const [turns = 0, address = 0] = this.dwords;
    return this.dwords.length === 0 ? this : new ScriptedPosition([turns, address + delta]);
  }
}

/** A loader and the clock that its contexts move. */
export class ScriptedEngines implements ContextLoader {
  time = 0;
  readonly events: EngineEvent[] = [];
  /** Milliseconds that each context had. */
  readonly worked = new Map<number, number>();
  readonly #scripts = new Map<number, ScriptStep[]>();
  #turn: (() => number) | undefined;
  #woken = false;

  readonly now = (): number => this.time;

  readonly turns: TurnSource = {
    attach: (turn) => {
      this.#turn = turn;
      return {
        wake: () => {
          this.#woken = true;
        },
        close: () => {
          this.#turn = undefined;
        },
      };
    },
  };

  /** Gives a context more to do; without any it is idle. */
  script(lrc: number, ...steps: ScriptStep[]): void {
    this.#scripts.set(lrc, [
      ...(this.#scripts.get(lrc) ?? []),
      ...steps.map((step) => ({ ...step })),
    ]);
  }

  /** Forgets what is left of a context's script. */
  cancel(lrc: number): void {
    this.#scripts.delete(lrc);
  }

  /** Lets engines have their turns until nothing is left to do, for `ms` at most. */
  run(ms = 1000): void {
    const end = this.time + ms;
    while (this.#turn !== undefined && this.time < end) {
      this.#woken = false;
      const before = this.time;
      const delay = this.#turn();
      if (this.#woken) continue;
      if (delay === Number.POSITIVE_INFINITY) return;
      if (this.time === before) this.time += Math.max(delay, 0.01);
    }
  }

  /** True when engines want turns. */
  get busy(): boolean {
    return (this.#turn?.() ?? Number.POSITIVE_INFINITY) < Number.POSITIVE_INFINITY;
  }

  /** Names of the engines that a context was loaded on, in order. */
  placesOf(lrc: number): string[] {
    return this.events
      .filter((event) => event.what === 'load' && event.lrc === lrc)
      .map(({ engine }) => engine);
  }

  load(
    engine: EngineInstance,
    { low }: ContextRef,
    _host: ExecutionHost,
    position: ContextPosition | undefined,
  ): ContextExecution | undefined {
    const lrc = (low & ~0xfff) >>> 0;
    const note = (what: EngineEvent['what']) =>
      this.events.push({ engine: engine.name, lrc, what, at: this.time });
    note('load');
    let turns = position?.dwords[0] ?? 0;
    let current: ScriptStep | undefined;
    const steps = () => this.#scripts.get(lrc) ?? [];
    const turn = (): TurnEnd => {
      current = steps()[0];
      const ms = current?.ms ?? 0.05;
      this.time += ms;
      this.worked.set(lrc, (this.worked.get(lrc) ?? 0) + ms);
      if (current === undefined) return 'idle';
      turns++;
      current.times = (current.times ?? 1) - 1;
      if (current.times <= 0) steps().shift();
      return current.end;
    };
    return {
      turn: () => {
        const end = turn();
        if (end !== 'more') note(end);
        return end;
      },
      get fault() {
        return current?.fault;
      },
      get preemptible() {
        return steps()[0]?.preemptible ?? true;
      },
      save: () => {
        note('save');
        return steps().length === 0
          ? new ScriptedPosition([])
          : new ScriptedPosition([turns, lrc + 16]);
      },
    };
  }

  position(dwords: readonly number[]): ContextPosition | undefined {
    return dwords.length === 2 ? new ScriptedPosition(dwords) : undefined;
  }
}
