/**
 * One VF's conversation with one GuC: what the handlers of mailbox and H2G messages work on.
 */
import type { GucVersion } from '../../pf/ports.ts';
import type { VfAbiVersion } from '../../xe/guc/vf-actions.ts';
import { type GUC_INTR, MEMIRQ_PENDING } from '../../xe/memirq.ts';
import type { PlatformGt } from '../../xe/platforms.ts';
import type { GucVfHost } from './guc-vf-host.ts';
import type { GucVf } from './vf-state.ts';

/** What a GuC is, for all of its VFs. */
export interface GucIdentity {
  readonly gt: PlatformGt;
  readonly discrete: boolean;
  readonly version: GucVersion;
  readonly abi: VfAbiVersion;
}

/** How a GuC talks to the PF's driver about a VF. */
export interface PfLine {
  /** Tells about the VF: an event of VF_NOTIFY. */
  notify(event: number): void;
  /** Passes on a G2H message, HXG header first. */
  send(message: readonly number[]): void;
}

/** A VF as a GuC serves it. */
export class VfSession {
  readonly guc: GucIdentity;
  readonly vf: GucVf;
  readonly host: GucVfHost;
  readonly pf: PfLine;

  constructor(guc: GucIdentity, vf: GucVf, host: GucVfHost, pf: PfLine) {
    this.guc = guc;
    this.vf = vf;
    this.host = host;
    this.pf = pf;
  }

  /**
   * Interrupts the VF's driver on behalf of the GuC: its memirq bytes first, then the MSI.
   * @param bit one of GUC_INTR
   */
  interrupt(bit: (typeof GUC_INTR)[keyof typeof GUC_INTR]): void {
    const { memirqStatus, memirqSource } = this.vf.runtime;
    if (memirqStatus !== 0) this.host.memory.writeU8(memirqStatus + bit, MEMIRQ_PENDING);
    if (memirqSource !== 0) this.host.memory.writeU8(memirqSource, MEMIRQ_PENDING);
    this.host.raiseMsi();
  }
}
