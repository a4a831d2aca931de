/** What the thread that serves VFs and the thread that started it say to each other. */

import type { ErrnoName } from '../base/errno.ts';
import type { CounterSnapshot } from '../gpu/counters.ts';
import type { VfDigests } from '../gpu/digests.ts';
import type { VfProfile } from '../migration/vf-profile.ts';
import type { EmulatedHostOptions } from './emulated-host.ts';
import type { LinuxHostOptions } from './linux-host.ts';
import type { RehomeTimes } from './rehome.ts';

export type { CounterSnapshot, NamedCounts } from '../gpu/counters.ts';

/** A VF and where it is served. */
export interface ServedSocket {
  readonly vfid: number;
  /** Path of the socket; undefined when a descriptor is served. */
  readonly path: string | undefined;
  /** A listening or connected socket that was inherited. */
  readonly fd?: number | undefined;
}

/** Where a served VF is to move. */
export interface RehomeRequest {
  /** Name of the PF; the one it is on unless given. */
  readonly pf?: string | undefined;
  /** Number of the VF there; the same number on another PF, else the first free one. */
  readonly vfid?: number | undefined;
  readonly transparent?: boolean | undefined;
  /** For negative controls: type of the packet (`XE_SRIOV_PACKET_TYPE`) that is kept back. */
  readonly withhold?: number | undefined;
  /** For negative controls: the PTEs go over one page further than they were. */
  readonly wrongGgtt?: boolean | undefined;
}

/** Where a served VF is now, and what the move took. */
export interface RehomeAnswer extends RehomeTimes {
  readonly from: VfHome;
  readonly to: VfHome;
  readonly transparent: boolean;
}

/** A VF of an emulated PF. */
export interface VfHome {
  readonly pf: string;
  readonly vfid: number;
  /** First address of its part of the GGTT. */
  readonly ggttStart: number;
}

/** How to serve. */
interface ServeCommon {
  /**
   * Names of the emulated PFs, all alike; the sockets serve VFs of the first one, the others are
   * there to be moved to.
   */
  readonly pfNames?: readonly string[] | undefined;
  readonly sockets: readonly ServedSocket[];
  /** Microseconds to look for the next message before sleeping. */
  readonly pollUs?: number | undefined;
}

/** What to serve: VFs of an emulated GPU, or of the PF at an address of this machine. */
export type ServeOptions = ServeCommon &
  ((EmulatedHostOptions & { readonly pf?: undefined }) | LinuxHostOptions);

/** Whose place to take. */
export interface TakeOverOptions {
  /** A socket of the running server. */
  readonly path: string;
  /** As of {@link ServeOptions}; that of the running server unless given. */
  readonly pollUs?: number | undefined;
  /** For tests: the step at which this process ends itself with SIGKILL. */
  readonly dieAt?: string | undefined;
}

/** A request to the serving thread. */
export type ServeRequest =
  | { readonly op: 'status' }
  | { readonly op: 'digests'; readonly vfid: number }
  | { readonly op: 'counters'; readonly vfid: number }
  /** Moves the VF that is served at the n-th of the sockets, from 0. */
  | { readonly op: 'rehome'; readonly socket: number; readonly to: RehomeRequest }
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
  /** After a take-over: milliseconds for which its guest was held. */
  readonly heldMs?: number | undefined;
}

/** The answer to each request. */
export interface ServeAnswers {
  readonly status: readonly VfStatus[];
  readonly digests: VfDigests;
  readonly counters: CounterSnapshot;
  readonly rehome: RehomeAnswer;
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
  /** Another process serves from now on; guests were held so long. */
  | { readonly type: 'handed-over'; readonly holdMs: number }
  | { readonly type: 'failed'; readonly error: ServeError }
  | { readonly type: 'event'; readonly event: ServeEvent }
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly type: 'refusal'; readonly id: number; readonly error: ServeError };

/** A message to the serving thread. */
export type ToServer = { readonly id: number; readonly request: ServeRequest };
