/** What an engine that runs a context of a VF reaches of the VF. */
import type { VfCounters } from './counters.ts';
import type { ExecutionHost, FlatCcs, GpuMemory } from './engine/contracts.ts';

/** Ticks of the command streamer's clock on these platforms, 19.2 MHz, in 10 microseconds. */
const TICKS_PER_10_US = 192n;
const NS_PER_10_US = 10_000n;

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
    // The machine's clock: a process that takes the VF over must not turn it back.
    timestamp: () => (process.hrtime.bigint() * TICKS_PER_10_US) / NS_PER_10_US,
    now: () => performance.now(),
    raiseMsi: () => parts.raiseMsi(engine),
    command: (name, count) => counters.command(name, count),
    copied: (bytes) => counters.copied(bytes),
  };
}
