import type { MIN_SPARE } from './fair-share.ts';

/** What each VF gets; what is left out is shared out fairly. Sizes in bytes, per tile or GT. */
export interface ProvisioningProfile {
  readonly ggttSize?: number | undefined;
  readonly vramSize?: number | undefined;
  readonly contexts?: number | undefined;
  readonly doorbells?: number | undefined;
  readonly execQuantumMs?: number | undefined;
  readonly preemptTimeoutUs?: number | undefined;
}

/** What a VF has: of the first tile, and of its main GT. */
export interface VfConfig {
  readonly ggttStart: number;
  readonly ggttSize: number;
  readonly vramSize: number;
  readonly contexts: number;
  readonly doorbells: number;
  readonly execQuantumMs: number;
  readonly preemptTimeoutUs: number;
}

/** Bytes or ids that the PF keeps for itself. */
export type Spare = Readonly<Record<keyof typeof MIN_SPARE, number>>;
