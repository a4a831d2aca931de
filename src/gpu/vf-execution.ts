/** What an engine that runs a context of a VF reaches of the VF. */
import type { VfCounters } from './counters.ts';
import type { ExecutionHost, FlatCcs, GpuMemory } from './engine/contracts.ts';

/** Frequency of the command streamer's clock on these platforms, ticks a millisecond. */
const TICKS_PER_MS = 19_200;

/** The parts of a VF that its engines use. */
export interface VfParts {
  readonly memory: GpuMemory;
  readonly ppgtts: { space(pdp0: number): GpuMemory };
  readonly flatCcs: FlatCcs;
  readonly discrete: boolean;
  readonly counters: VfCounters;
  raiseMsi(source: string): void;
}

/** @param engine name for the counters, such as `rcs0` */
export function executionHost(engine: string, parts: VfParts): ExecutionHost {
  const { counters } = parts;
  return {
    ggtt: parts.memory,
    flatCcs: parts.flatCcs,
    discrete: parts.discrete,
    ppgtt: (pdp0) => parts.ppgtts.space(pdp0),
    timestamp: () => BigInt(Math.floor(performance.now() * TICKS_PER_MS)),
    raiseMsi: () => parts.raiseMsi(engine),
    command: (name, count) => counters.command(name, count),
    copied: (bytes) => counters.copied(bytes),
  };
}
