/**
 * One VF's conversation with one GuC: what the handlers of mailbox and H2G messages work on.
 */
import type { GucVersion } from '../../pf/ports.ts';
import type { VfThreshold } from '../../xe/guc/pf-actions.ts';
import type { VfAbiVersion } from '../../xe/guc/vf-actions.ts';
import { GUC_INTR, MEMIRQ_PENDING } from '../../xe/memirq.ts';
import type { PlatformGt } from '../../xe/platforms.ts';
import type { CcsContexts } from './ccs-contexts.ts';
import type { GucVfHost } from './guc-vf-host.ts';
import type { Scheduler } from './scheduler.ts';
import type { GucVf } from './vf-state.ts';

/** What a GuC is, for all of its VFs. */
export interface GucIdentity {
  readonly gt: PlatformGt;
  readonly discrete: boolean;
  readonly version: GucVersion;
  readonly abi: VfAbiVersion;
  /** The configuration table; the main GT's only. */
  readonly hwconfig: Uint8Array | undefined;
}

/** How a GuC talks to the PF's driver about a VF. */
export interface PfLine {
  /** Tells about the VF: an event of VF_NOTIFY. */
  notify(event: number): void;
  /** Passes on a G2H message, HXG header first. */
  send(message: readonly number[]): void;
  /** Counts what the PF may want to know about. @param amount occurrences, or microseconds */
  adverse(threshold: VfThreshold, amount?: number): void;
}

type GucInterrupt = (typeof GUC_INTR)[keyof typeof GUC_INTR];

/** A VF as a GuC serves it. */
export class VfSession {
  readonly guc: GucIdentity;
  readonly vf: GucVf;
  readonly host: GucVfHost;
  readonly pf: PfLine;
  readonly scheduler: Scheduler;
  readonly ccs: CcsContexts;
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  /** G2H messages were put into the buffer since the VF was interrupted for the last time. */
  posted = false;
  /** H2G messages wait until G2H has room. */
  stalled = false;

  constructor(parts: {
    readonly guc: GucIdentity;
    readonly vf: GucVf;
    readonly host: GucVfHost;
    readonly pf: PfLine;
    readonly scheduler: Scheduler;
    readonly ccs: CcsContexts;
    readonly now: () => number;
  }) {
    this.guc = parts.guc;
    this.vf = parts.vf;
    this.host = parts.host;
    this.pf = parts.pf;
    this.scheduler = parts.scheduler;
    this.ccs = parts.ccs;
    this.now = parts.now;
  }

  /** Interrupts the VF's driver if there is something new in its G2H buffer. */
  interruptIfPosted(): void {
    if (!this.posted) return;
    this.posted = false;
    this.interrupt(GUC_INTR.GUC2HOST);
  }

  /**
   * Interrupts the VF's driver on behalf of the GuC: its memirq bytes first, then the MSI.
   * @param bit one of GUC_INTR
   */
  interrupt(bit: GucInterrupt): void {
    const { memirqStatus, memirqSource } = this.vf.runtime;
    if (memirqStatus !== 0) this.host.memory.writeU8(memirqStatus + bit, MEMIRQ_PENDING);
    if (memirqSource !== 0) this.host.memory.writeU8(memirqSource, MEMIRQ_PENDING);
    this.host.raiseMsi(this.guc.gt.type === 'main' ? 'GuC' : 'media GuC');
  }
  /**
   * Takes back an interrupt that the VF's driver has not looked at: it finds no cause.
   * @param bit one of GUC_INTR
   */
  takeBack(bit: GucInterrupt): void {
    const { memirqStatus } = this.vf.runtime;
    if (memirqStatus !== 0) this.host.memory.writeU8(memirqStatus + bit, 0);
  }
}
