/**
 * What a GuC knows of one VF.
 *
 * Provisioning (`config`) is the PF's and stays; everything in {@link VfRuntime} is what the VF's
 * driver set up and what moves with it in a migration.
 */

import { TWO_32 } from '../../base/int.ts';
import { VF_CFG_KLV } from '../../xe/guc/pf-actions.ts';
import type { VfAbiVersion } from '../../xe/guc/vf-actions.ts';
import type { ContextPosition } from '../engine/contracts.ts';

/** What the PF lets a VF do. */
export type VfExecution =
  /** Messages are processed. */
  | 'running'
  /** Messages wait; state can be saved and restored. */
  | 'paused'
  /** Stopped for good, until a reset. */
  | 'stopped'
  /** Between FLR_START and FLR_FINISH. */
  | 'reset';

/** One side of the CTB as the VF's driver set it up. GGTT addresses and bytes. */
export interface CtbConfig {
  address: number;
  descriptor: number;
  size: number;
}

/** One logical ring context's descriptor: GGTT address with flags below, and the upper dword. */
export interface LrcDescriptor {
  readonly low: number;
  readonly high: number;
}

/** A context that a VF registered. */
export interface GucContext {
  readonly id: number;
  readonly flags: number;
  readonly engineClass: number;
  readonly submitMask: number;
  /** GGTT addresses of the work queue, 0 when there is none. */
  readonly wqDesc: number;
  readonly wqBase: number;
  readonly wqSize: number;
  /** One for each LRC: one, or several for a parallel context. */
  readonly lrcs: readonly LrcDescriptor[];
  enabled: boolean;
  /** True when scheduling was asked for and the rings were not found empty since. */
  pending: boolean;
  /** Values of CONTEXT_POLICY_KLV by key. */
  readonly policies: Map<number, number>;
  /** Where it stands while it is on no engine. */
  readonly run: ContextRun;
}

/** A page fault that a context's driver was told about and has not answered. */
export interface PendingFault {
  /** What the driver's answer names (PDATA, 16 bits). */
  readonly id: number;
  /** Which of the context's LRCs. */
  readonly lrc: number;
}

/** What a GuC keeps of a context between its times on engines. */
export interface ContextRun {
  /** After a reset or a catastrophic error: not scheduled until it is enabled again. */
  blocked: boolean;
  /** The answer to a disable is owed: the context has still to leave its engine. */
  disabling: boolean;
  /** Bit n: the ring of LRC n was found empty. */
  idle: number;
  /** Microseconds left of its time slice, 0 for a fresh one. */
  quantumLeft: number;
  /** Positions of LRCs that were taken off inside a command or batch, by LRC. */
  readonly positions: Map<number, ContextPosition>;
  readonly faults: PendingFault[];
}

/** A context that has not run. */
export function freshRun(): ContextRun {
  return {
    blocked: false,
    disabling: false,
    idle: 0,
    quantumLeft: 0,
    positions: new Map(),
    faults: [],
  };
}

/** A G2H message that found no room in the buffer. */
export interface UnsentMessage {
  readonly fence: number;
  /** HXG header first. */
  readonly dwords: readonly number[];
}

/** A doorbell that a VF allocated. */
export interface GucDoorbell {
  readonly id: number;
  readonly contextId: number;
  /** GGTT address of its cache line, or its bus address: as the driver gave it. */
  readonly address: number;
}

/** What the VF's driver set up; gone after VF_RESET and FLR, moved by a migration. */
export interface VfRuntime {
  /** The interface version agreed upon; undefined before MATCH_VERSION. */
  handshake: VfAbiVersion | undefined;
  /** GGTT addresses of the GuC's own memirq bytes; 0 when not set. */
  memirqStatus: number;
  memirqSource: number;
  readonly h2g: CtbConfig;
  readonly g2h: CtbConfig;
  ctbEnabled: boolean;
  /** Firmware's own H2G head and G2H tail, dwords. */
  h2gHead: number;
  g2hTail: number;
  /** True when the VF rang and nobody has looked yet. */
  notified: boolean;
  readonly contexts: Map<number, GucContext>;
  readonly doorbells: Map<number, GucDoorbell>;
  /** KLVs of UPDATE_SCHEDULING_POLICIES_KLV, as they came, by key. */
  readonly schedulingPolicies: Map<number, readonly number[]>;
  /** Keys of OPT_IN_FEATURE_KLV. */
  readonly optIns: Set<number>;
  /** G2H messages that wait for room, oldest first. */
  readonly unsent: UnsentMessage[];
  /** Id of the next page fault, 16 bits. */
  nextFault: number;
  /** When the driver last did something that belongs to its start, ms of the GuC's clock. */
  startSignAt: number;
  /** Of a restored state: where the driver stood in a recovery when it was saved, if it was in one. */
  savedFixup: VfFixup | undefined;
}

/** Where a VF stands in post-migration recovery. */
export interface VfFixup {
  /** True from RESTORE until RESFIX_DONE: the mailbox answers, the CTB does not. */
  blocked: boolean;
  /** Marker of the last RESFIX_START, 0 before it. */
  marker: number;
  /** True when the driver was interrupted for this migration: once is enough, also after a pause. */
  told: boolean;
}

/** Nothing to recover from. */
export function noFixup(): VfFixup {
  return { blocked: false, marker: 0, told: false };
}

/** A runtime in which nothing was set up. */
export function emptyRuntime(): VfRuntime {
  return {
    handshake: undefined,
    memirqStatus: 0,
    memirqSource: 0,
    h2g: { address: 0, descriptor: 0, size: 0 },
    g2h: { address: 0, descriptor: 0, size: 0 },
    ctbEnabled: false,
    h2gHead: 0,
    g2hTail: 0,
    notified: false,
    contexts: new Map(),
    doorbells: new Map(),
    schedulingPolicies: new Map(),
    optIns: new Set(),
    unsent: [],
    nextFault: 0,
    startSignAt: Number.NEGATIVE_INFINITY,
    savedFixup: undefined,
  };
}

/** A VF in one GuC. */
export class GucVf {
  readonly vfid: number;
  execution: VfExecution = 'running';
  readonly fixup: VfFixup = noFixup();
  /** True from RESTORE until the driver's compression metadata has come back from guest memory. */
  ccsOwed = false;
  /** Provisioned KLVs: value dwords by key. */
  readonly config = new Map<number, readonly number[]>();
  #runtime: VfRuntime | undefined;

  constructor(vfid: number) {
    this.vfid = vfid;
  }

  /** What the VF's driver set up; made when first asked for, so that idle VFs stay small. */
  get runtime(): VfRuntime {
    this.#runtime ??= emptyRuntime();
    return this.#runtime;
  }

  /** The runtime if there ever was one. */
  get existingRuntime(): VfRuntime | undefined {
    return this.#runtime;
  }

  /** Puts a restored runtime in place of the old one. */
  replaceRuntime(runtime: VfRuntime): void {
    this.#runtime = runtime;
  }

  /** Forgets what the VF's driver set up. */
  resetRuntime(): void {
    this.#runtime = undefined;
    Object.assign(this.fixup, noFixup());
    this.ccsOwed = false;
  }

  /** A provisioned value of one or two dwords; 0 when not provisioned. */
  provisioned(klv: keyof typeof VF_CFG_KLV): number {
    const value = this.config.get(VF_CFG_KLV[klv].key);
    return value === undefined ? 0 : (value[0] ?? 0) + (value[1] ?? 0) * TWO_32;
  }
}
