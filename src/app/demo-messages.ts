/** What the demo and the thread that plays its guest say to each other. */
import type { LoadCounts } from './guest-load.ts';

/** What the guest's thread is started with. */
export interface GuestStart {
  /** Socket of the VF that the guest has at first. */
  readonly path: string;
  readonly seed: number;
  /** One word: not 0 tells the guest to stop, as a VMM stops its vCPUs. */
  readonly stop: SharedArrayBuffer;
}

/** A message to the guest. */
export interface ToGuest {
  /** Socket of the VF to go on with, as after a migration; undefined to end. */
  readonly path: string | undefined;
}

/** A message of the guest. */
export type FromGuest =
  | { readonly type: 'booted'; readonly counts: LoadCounts }
  | { readonly type: 'stopped'; readonly counts: LoadCounts }
  | { readonly type: 'failed'; readonly reason: string };
