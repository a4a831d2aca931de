/**
 * The control of all VFs on one GT: the worker that takes one step at a time, and firmware's events.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_control.c (pf_process_vf_state_machine,
 * xe_gt_sriov_pf_control_process_guc2pf).
 */
import type { Clock } from '../base/clock.ts';
import { Fault } from '../base/fault.ts';
import { hxgData0 } from '../xe/guc/hxg.ts';
import { GUC2PF_ACTION, PF_NOTIFY, VF_NOTIFY } from '../xe/guc/pf-actions.ts';
import type { ControlBit } from './control-bits.ts';
import { paused, type StepResult, sendCommand } from './control-commands.ts';
import { restoreStep, saveStep } from './control-data.ts';
import { beginFlr, reachCheckpoint, resetConfig, resetData, resetMmio } from './control-flr.ts';
import { type ControlSurroundings, VfControl } from './vf-control.ts';

/** Runs a job soon, after the caller has returned; production: `queueMicrotask`. */
export type Executor = (job: () => void) => void;

/** How long the worker leaves firmware alone that asked to try again, milliseconds. */
const BUSY_RETRY_MS = 1;

type Step = (vf: VfControl) => StepResult;

/**
 * The worker's steps in order; the first whose bit is set is taken, and its bit left. Without a
 * step the VF waits in that state for somebody else.
 */
const STEPS: ReadonlyArray<readonly [ControlBit, Step | undefined]> = [
  ['FLR_SEND_START', (vf) => sendCommand(vf, 'FLR_START')],
  ['FLR_WAIT_GUC', undefined],
  ['FLR_GUC_DONE', reachCheckpoint],
  ['FLR_RESET_CONFIG', resetConfig],
  ['FLR_RESET_DATA', resetData],
  ['FLR_RESET_MMIO', resetMmio],
  ['FLR_SEND_FINISH', (vf) => sendCommand(vf, 'FLR_FINISH')],
  ['STOP_SEND_STOP', (vf) => sendCommand(vf, 'STOP')],
  ['PAUSE_SEND_PAUSE', (vf) => sendCommand(vf, 'PAUSE')],
  // Linux spins here until firmware's PAUSE_DONE; the event queues the VF anyway.
  ['PAUSE_WAIT_GUC', undefined],
  ['PAUSE_GUC_DONE', paused],
  ['SAVE_WAIT_DATA', undefined],
  ['SAVE_PROCESS_DATA', saveStep],
  ['RESTORE_WAIT_DATA', undefined],
  ['RESTORE_PROCESS_DATA', restoreStep],
  ['RESUME_SEND_RESUME', (vf) => sendCommand(vf, 'RESUME')],
];

function takeStep(vf: VfControl): StepResult {
  for (const [bit, step] of STEPS) {
    if (!vf.has(bit)) continue;
    if (step === undefined) return 'idle';
    vf.state.exit(bit);
    return step(vf);
  }
  return 'idle';
}

/** What a {@link GtControl} gets from the device it belongs to. */
export type GtControlOptions = Omit<ControlSurroundings, 'queue'> & {
  readonly executor: Executor;
  readonly totalVfs: number;
};

/** The control of all VFs on one GT. */
export class GtControl {
  readonly #vfs = new Map<number, VfControl>();
  readonly #around: ControlSurroundings;
  readonly #executor: Executor;
  readonly #clock: Clock;
  readonly #totalVfs: number;
  /** VFs with work, the next one first. */
  readonly #list = new Set<VfControl>();
  #queued = false;

  constructor(options: GtControlOptions) {
    const { executor, totalVfs, ...around } = options;
    this.#around = { ...around, queue: (vf) => this.#queueVf(vf) };
    this.#executor = executor;
    this.#clock = options.clock;
    this.#totalVfs = totalVfs;
  }

  /** A VF on this GT; `vfid` is 1 to the device's total. */
  vf(vfid: number): VfControl {
    let vf = this.#vfs.get(vfid);
    if (vf === undefined) {
      vf = new VfControl(vfid, this.#around);
      this.#vfs.set(vfid, vf);
    }
    return vf;
  }

  /**
   * Takes GUC2PF_VF_STATE_NOTIFY.
   * @throws {Fault} EPFNOSUPPORT when a reserved field is set, EPROTO for a wrong length or VF,
   * ENOPKG for an unknown event
   */
  stateNotify(message: readonly number[]): void {
    const [header = 0, vfid = 0, event = 0] = message;
    if (hxgData0(header) !== 0)
      throw new Fault('EPFNOSUPPORT', 'VF_STATE_NOTIFY has a reserved field set');
    if (message.length !== GUC2PF_ACTION.VF_STATE_NOTIFY.dwords)
      throw new Fault('EPROTO', `VF_STATE_NOTIFY of ${message.length} dwords`);
    if (vfid > this.#totalVfs) throw new Fault('EPROTO', `VF_STATE_NOTIFY of VF${vfid}`);
    if (vfid === 0 ? event === PF_NOTIFY.VF_ENABLE : this.#vfNotify(this.vf(vfid), event)) return;
    throw new Fault('ENOPKG', `VF_STATE_NOTIFY with unknown event ${event} of VF${vfid}`);
  }

  #vfNotify(vf: VfControl, event: number): boolean {
    switch (event) {
      case VF_NOTIFY.FLR:
        // Firmware may tell again what is in progress already.
        if (!vf.has('FLR_WIP') || vf.has('FLR_PREPARE')) beginFlr(vf);
        return true;
      case VF_NOTIFY.FLR_DONE:
        if (vf.state.exit('FLR_WAIT_GUC')) vf.enterAndQueue('FLR_GUC_DONE');
        else vf.mismatch(`FLR_DONE of VF${vf.vfid} came out of order`);
        return true;
      case VF_NOTIFY.PAUSE_DONE:
        if (vf.state.exit('PAUSE_WAIT_GUC')) vf.enterAndQueue('PAUSE_GUC_DONE');
        else vf.mismatch(`PAUSE_DONE of VF${vf.vfid} came out of order`);
        return true;
      default:
        return event === VF_NOTIFY.FIXUP_DONE;
    }
  }

  #queueVf(vf: VfControl): void {
    this.#list.delete(vf);
    this.#list.add(vf);
    this.#queueWorker();
  }

  #queueWorker(): void {
    if (this.#queued) return;
    this.#queued = true;
    this.#executor(() => {
      this.#queued = false;
      this.#work();
    });
  }

  /** One step of one VF; the others come first next time. */
  #work(): void {
    const [vf] = this.#list;
    if (vf === undefined) return;
    this.#list.delete(vf);
    const result = takeStep(vf);
    if (result === 'more') this.#queueVf(vf);
    else if (result === 'busy') this.#clock.after(BUSY_RETRY_MS, () => this.#queueVf(vf));
    if (this.#list.size > 0) this.#queueWorker();
  }
}
