import type { VfCounters } from '../counters.ts';
import type { EngineInstance, ExecutionHost } from '../engine/contracts.ts';
import type { CcsStore } from '../flat-ccs.ts';
import type { VfAddressSpace } from '../vf-address-space.ts';

/** What a GuC reaches of a VF outside of its own state. */
export interface GucVfHost {
  /** Memory by the VF's GGTT addresses. */
  readonly memory: VfAddressSpace;
  readonly counters: VfCounters;
  /** Compression metadata of the VF's memory. */
  readonly flatCcs: CcsStore;
  /** Sends the VF's MSI. @param source for the counters, such as `GuC` or `rcs0` */
  raiseMsi(source: string): void;
  /** What an engine that runs one of the VF's contexts reaches; the same object each time. */
  execution(engine: EngineInstance): ExecutionHost;
  /** The VF's driver is about to be told where its part of the GGTT is. */
  ggttAsked(): void;
  /** Forgets what engines remember of the VF's page tables. */
  invalidateTlbs(): void;
}
