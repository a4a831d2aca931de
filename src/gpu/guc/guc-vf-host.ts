import type { VfAddressSpace } from '../vf-address-space.ts';

/** What a GuC reaches of a VF outside of its own state. */
export interface GucVfHost {
  /** Memory by the VF's GGTT addresses. */
  readonly memory: VfAddressSpace;
  /** Sends the VF's MSI. */
  raiseMsi(): void;
}
