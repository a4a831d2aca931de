/** What the thread that serves VFs and the thread that started it say to each other. */

import type { ErrnoName } from '../base/errno.ts';
import type { CounterSnapshot } from '../gpu/counters.ts';
import type { VfDigests } from '../gpu/digests.ts';
import type { VfProfile } from '../migration/vf-profile.ts';
import type { EmulatedHostOptions } from './emulated-host.ts';
import type { LinuxHostOptions } from './linux-host.ts';

export type { CounterSnapshot, NamedCounts } from '../gpu/counters.ts';

/** A VF and where it is served. */
export interface ServedSocket {
  readonly vfid: number;
  /** Path of the socket; undefined when a descriptor is served. */
  readonly path: string | undefined;
  /** A listening or connected socket that was inherited. */
  readonly fd?: number | undefined;
}

/** How to serve. */
interface ServeCommon {
  readonly sockets: readonly ServedSocket[];
  /** Microseconds to look for the next message before sleeping. */
  readonly pollUs?: number | undefined;
}

/** What to serve: VFs of an emulated GPU, or of the PF at an address of this machine. */
export type ServeOptions = ServeCommon &
  ((EmulatedHostOptions & { readonly pf?: undefined }) | LinuxHostOptions);

/** A request to the serving thread. */
export type ServeRequest =
  | { readonly op: 'status' }
  | { readonly op: 'digests'; readonly vfid: number }
  | { readonly op: 'counters'; readonly vfid: number }
  | { readonly op: 'stop' };

/** A served VF as its server knows it. */
export interface VfStatus {
  readonly vfid: number;
  readonly path: string | undefined;
  readonly profile: VfProfile;
  /** Address of the PF of a real VF; undefined for an emulated one. */
  readonly pf: string | undefined;
  /** Name of the migration state, undefined without migration. */
  readonly state: string | undefined;
}

/** The answer to each request. */
export interface ServeAnswers {
  readonly status: readonly VfStatus[];
  readonly digests: VfDigests;
  readonly counters: CounterSnapshot;
  readonly stop: undefined;
}

/** An error that crosses threads. */
export interface ServeError {
  readonly code: ErrnoName;
  readonly message: string;
  readonly hint: string | undefined;
}

/** What the serving thread says without being asked. */
export type ServeEvent = {
  readonly vfid: number;
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
};

/** A message of the serving thread. */
export type FromServer =
  | { readonly type: 'ready'; readonly vfs: readonly VfStatus[] }
  | { readonly type: 'failed'; readonly error: ServeError }
  | { readonly type: 'event'; readonly event: ServeEvent }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly type: 'refusal'; readonly id: number; readonly error: ServeError };

/** A message to the serving thread. */
export type ToServer = { readonly id: number; readonly request: ServeRequest };
