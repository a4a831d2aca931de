/**
 * One VF's conversation with one GuC: what the handlers of mailbox and H2G messages work on.
 */
import type { GucVersion } from '../../pf/ports.ts';
import type { PlatformGt } from '../../xe/platforms.ts';
import type { VfAbiVersion } from '../../xe/guc/vf-actions.ts';
import { GUC_INTR, MEMIRQ_PENDING } from '../../xe/memirq.ts';
import type { GucVfHost } from './guc-vf-host.ts';
import type { GucVf } from './vf-state.ts';

/** What a GuC is, for all of its VFs. */
export interface GucIdentity {
  readonly gt: PlatformGt;
  readonly discrete: boolean;
  readonly version: GucVersion;
  readonly abi: VfAbiVersion;
}

/** A VF as a GuC serves it. */
export class VfSession {
  readonly guc: GucIdentity;
  readonly vf: GucVf;
  readonly host: GucVfHost;
  /** Tells the PF about the VF: an event of VF_NOTIFY. */
  readonly notifyPf: (event: number) => void;

  constructor(
    guc: GucIdentity,
    vf: GucVf,
    host: GucVfHost,
    notifyPf: (event: number) => void,
  ) {
    this.guc = guc;
    this.vf = vf;
    this.host = host;
    this.notifyPf = notifyPf;
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
