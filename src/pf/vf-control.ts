/**
 * What the PF knows about one VF on one GT: its state bits, who waits for it, its packets.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_control.c.
 */
import { type Clock, Completion } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import {
  type ControlBit,
  ControlState,
  FAILURE_BITS,
  WIP_GROUPS,
  type WipGroup,
} from './control-bits.ts';
import { PacketRing } from './packet-ring.ts';
import type { ControlOutcome } from './pf-event.ts';
import type { GtPort, TilePort, VramObject } from './ports.ts';
import { SaveMarks } from './save-marks.ts';

/** The memory that a VF was given, as the control of it needs to know. */
export interface VfResources {
  /** The VF's part of a tile's GGTT, bytes; undefined when it has none. */
  ggtt(vfid: number, tileId: number): { readonly start: number; readonly size: number } | undefined;
  /** The VF's VRAM on a tile, undefined when it has none. */
  vram(vfid: number, tileId: number): VramObject | undefined;
  /** Clears both after a function-level reset. @throws {Fault} */
  sanitize(vfid: number, tileId: number): void;
}

/** What the control of a VF on one GT reaches beyond itself. */
export interface ControlSurroundings {
  readonly tile: TilePort;
  readonly gt: GtPort;
  readonly clock: Clock;
  readonly resources: VfResources;
  /** Puts the VF at the end of the worker's list. */
  queue(vf: VfControl): void;
  /** Lets the GTs of a VF past the reset checkpoint when all have reached it. */
  syncFlr(vfid: number): void;
  /** Forgets what the VF's driver agreed on with the PF service. */
  resetService(vfid: number): void;
  /** Ends the VF's migration session: sleepers wake and get `reason`. */
  endSession(vfid: number, reason: Fault): void;
  /** Tells the VF's migration session that a packet or a state moved. */
  wakeSession(vfid: number): void;
  report(vfid: number, outcome: ControlOutcome, cause?: Fault): void;
  reportSkipped(vfid: number, packetType: number): void;
}

/** One VF on one GT. */
export class VfControl {
  readonly vfid: number;
  readonly around: ControlSurroundings;
  readonly state = new ControlState();
  readonly ring = new PacketRing();
  readonly marks = new SaveMarks();
  /** Why the last operation failed. */
  failure: Fault | undefined;
  #done = new Completion();

  constructor(vfid: number, around: ControlSurroundings) {
    this.vfid = vfid;
    this.around = around;
  }

  has(bit: ControlBit): boolean {
    return this.state.has(bit);
  }

  /** Enters a state that the VF must not be in already; a mismatch otherwise. */
  enterNew(bit: ControlBit): void {
    if (!this.state.enter(bit)) this.mismatch(`${bit} was entered twice`);
  }

  /** Enters a state with work for the worker. */
  enterAndQueue(bit: ControlBit): void {
    this.enterNew(bit);
    this.around.queue(this);
  }

  /** Begins a kind of work. @returns false when it is in progress already */
  beginWork(group: WipGroup): boolean {
    if (!this.state.enter(group)) return false;
    if (this.state.enter('WIP')) this.#done = new Completion();
    return true;
  }

  /**
   * Ends a kind of work, and with it all others, and wakes who waits. A reset in progress goes on
   * whatever else ends: Linux drops it when a late PAUSE, RESUME or STOP ends meanwhile.
   */
  endWork(group: WipGroup): void {
    if (group !== 'FLR_WIP' && this.has('FLR_WIP')) this.#leave(group);
    else this.endAllWork();
  }

  /** Ends everything in progress and wakes who waits. */
  endAllWork(): void {
    if (!this.state.exit('WIP')) return;
    for (const group of Object.keys(WIP_GROUPS) as WipGroup[]) this.#leave(group);
    this.#done.complete();
  }

  /** Notes that PF and firmware disagree about the VF. */
  mismatch(reason: string): void {
    if (this.state.enter('MISMATCH'))
      this.around.report(this.vfid, 'mismatch', new Fault('EPROTO', reason));
  }

  /** A success wipes out mismatch and failures. */
  clearFailures(): void {
    this.state.exit('MISMATCH');
    for (const bit of FAILURE_BITS) this.state.exit(bit);
  }

  /** Notes that work failed, ends it and wakes who waits. */
  fail(bit: (typeof FAILURE_BITS)[number], group: WipGroup, cause: Fault): void {
    this.state.enter(bit);
    this.failure = cause;
    this.around.report(this.vfid, 'failed', cause);
    this.endWork(group);
  }

  /** Makes the VF as new: no state, no failure, nothing in progress. */
  ready(): void {
    for (const bit of ['PAUSED', 'STOPPED', 'RESUMED', 'SAVED', 'RESTORED'] as const)
      this.state.exit(bit);
    this.clearFailures();
    this.endAllWork();
  }

  /** Resolves to false when work is still in progress after `timeoutMs`. */
  waitForWork(timeoutMs: number): Promise<boolean> {
    if (!this.has('WIP')) return Promise.resolve(true);
    return this.#done.wait(this.around.clock, timeoutMs);
  }

  #leave(group: WipGroup): void {
    if (!this.state.exit(group)) return;
    if (group === 'SAVE_WIP' || group === 'RESTORE_WIP') this.ring.clear();
    for (const bit of WIP_GROUPS[group]) this.state.exit(bit);
    if (group === 'FLR_WIP') this.around.syncFlr(this.vfid);
  }
}
