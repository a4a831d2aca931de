/**
 * The commands that the PF sends about a VF, and pause, resume and stop that are made of them.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_control.c.
 */
import { Fault, toFault } from '../base/fault.ts';
import { hxgRequest } from '../xe/guc/hxg.ts';
import { PF2GUC_ACTION, VF_CONTROL_COMMAND, type VfControlCommand } from '../xe/guc/pf-actions.ts';
import {
  CONTROL_TIMEOUT_MS,
  type ControlBit,
  type FAILURE_BITS,
  type WipGroup,
} from './control-bits.ts';
import type { VfControl } from './vf-control.ts';

/** What a step of the worker leaves behind. */
export type StepResult =
  /** The VF has, or may have, more to do. */
  | 'more'
  /** The VF waits for somebody else. */
  | 'idle'
  /** Firmware asked to try again. */
  | 'busy';

/** A command on its way: the bit that asks for it, and what its outcomes do. */
interface Command {
  readonly command: VfControlCommand;
  readonly send: ControlBit;
  /** State while firmware's event is awaited; it may come before the answer. */
  readonly wait?: ControlBit;
  readonly failed: (typeof FAILURE_BITS)[number];
  readonly group: WipGroup;
  readonly accepted: (vf: VfControl) => void;
}

const COMMANDS = {
  PAUSE: {
    command: 'PAUSE',
    send: 'PAUSE_SEND_PAUSE',
    wait: 'PAUSE_WAIT_GUC',
    failed: 'PAUSE_FAILED',
    group: 'PAUSE_WIP',
    accepted: (vf) => vf.clearFailures(),
  },
  RESUME: {
    command: 'RESUME',
    send: 'RESUME_SEND_RESUME',
    failed: 'RESUME_FAILED',
    group: 'RESUME_WIP',
    accepted: resumed,
  },
  STOP: {
    command: 'STOP',
    send: 'STOP_SEND_STOP',
    failed: 'STOP_FAILED',
    group: 'STOP_WIP',
    accepted: stopped,
  },
  FLR_START: {
    command: 'FLR_START',
    send: 'FLR_SEND_START',
    wait: 'FLR_WAIT_GUC',
    failed: 'FLR_FAILED',
    group: 'FLR_WIP',
    accepted: (vf) => vf.clearFailures(),
  },
  FLR_FINISH: {
    command: 'FLR_FINISH',
    send: 'FLR_SEND_FINISH',
    failed: 'FLR_FAILED',
    group: 'FLR_WIP',
    accepted(vf) {
      vf.ready();
      vf.around.report(vf.vfid, 'flr-done');
    },
  },
} as const satisfies Record<VfControlCommand, Command>;

/** The worker's step that sends a command; its asking bit was just left. */
export function sendCommand(vf: VfControl, name: VfControlCommand): StepResult {
  const command: Command = COMMANDS[name];
  if (command.wait !== undefined) vf.enterNew(command.wait);
  try {
    transmit(vf, name);
  } catch (error) {
    if (command.wait !== undefined) vf.state.exit(command.wait);
    return notAccepted(vf, command, toFault(error));
  }
  command.accepted(vf);
  return 'more';
}

function transmit(vf: VfControl, name: VfControlCommand): void {
  const { gt } = vf.around;
  const action = hxgRequest(PF2GUC_ACTION.VF_CONTROL.action);
  const value = gt.guc.send([action, vf.vfid, VF_CONTROL_COMMAND[name]]);
  if (value !== 0) throw new Fault('EPROTO', `firmware answered ${name} with ${value}`);
}

function notAccepted(vf: VfControl, command: Command, cause: Fault): StepResult {
  if (cause.code === 'EBUSY') {
    vf.enterNew(command.send);
    return 'busy';
  }
  const reason = `GT${vf.around.gt.id} refused ${command.command} of VF${vf.vfid}`;
  if (cause.code === 'EIO') vf.mismatch(reason);
  vf.fail(command.failed, command.group, new Fault(cause.code, reason, { cause }));
  return 'more';
}

/** The worker's step after firmware's PAUSE_DONE. */
export function paused(vf: VfControl): StepResult {
  vf.enterNew('PAUSED');
  vf.state.exit('RESUMED');
  vf.clearFailures();
  vf.endWork('PAUSE_WIP');
  vf.around.report(vf.vfid, 'paused');
  return 'more';
}

function resumed(vf: VfControl): void {
  vf.state.enter('RESUMED');
  for (const bit of ['PAUSED', 'SAVED', 'RESTORED'] as const) vf.state.exit(bit);
  vf.clearFailures();
  vf.endWork('RESUME_WIP');
  vf.around.report(vf.vfid, 'resumed');
}

function stopped(vf: VfControl): void {
  vf.enterNew('STOPPED');
  for (const bit of ['RESUMED', 'PAUSED', 'SAVED', 'RESTORED'] as const) vf.state.exit(bit);
  vf.clearFailures();
  vf.endWork('STOP_WIP');
  vf.around.endSession(vf.vfid, new Fault('ENODEV', `VF${vf.vfid} was stopped`));
  vf.around.report(vf.vfid, 'stopped');
}

/** An operation that a caller waits for. */
interface Operation {
  readonly what: string;
  readonly group: keyof typeof CONTROL_TIMEOUT_MS;
  readonly send: ControlBit;
  readonly reached: ControlBit;
  readonly failed: ControlBit;
  /** Why the VF cannot do it now. */
  readonly refusal: (vf: VfControl) => Fault | undefined;
}

const OPERATIONS = {
  pause: {
    what: 'pause',
    group: 'PAUSE_WIP',
    send: 'PAUSE_SEND_PAUSE',
    reached: 'PAUSED',
    failed: 'PAUSE_FAILED',
    refusal(vf) {
      if (vf.has('STOPPED')) return refused(vf, 'EPERM', 'is stopped');
      if (vf.has('PAUSED')) return refused(vf, 'ESTALE', 'is paused already');
      if (vf.has('PAUSE_WIP')) return refused(vf, 'EALREADY', 'is being paused');
      return undefined;
    },
  },
  resume: {
    what: 'resume',
    group: 'RESUME_WIP',
    send: 'RESUME_SEND_RESUME',
    reached: 'RESUMED',
    failed: 'RESUME_FAILED',
    refusal(vf) {
      if (!vf.has('PAUSED')) return refused(vf, 'EPERM', 'is not paused');
      if (vf.has('SAVE_WIP')) return refused(vf, 'EBUSY', 'is being saved');
      if (vf.has('RESTORE_WIP')) return refused(vf, 'EBUSY', 'is being restored');
      if (vf.has('RESUME_WIP')) return refused(vf, 'EALREADY', 'is being resumed');
      return undefined;
    },
  },
  stop: {
    what: 'stop',
    group: 'STOP_WIP',
    send: 'STOP_SEND_STOP',
    reached: 'STOPPED',
    failed: 'STOP_FAILED',
    refusal(vf) {
      if (vf.has('STOPPED')) return refused(vf, 'ESTALE', 'is stopped already');
      if (vf.has('STOP_WIP')) return refused(vf, 'EALREADY', 'is being stopped');
      return undefined;
    },
  },
} as const satisfies Record<string, Operation>;

/** An operation that a caller waits for, by name. */
export type OperationName = keyof typeof OPERATIONS;

/** The fault of a VF that is in the wrong state for what was asked. */
export function refused(
  vf: VfControl,
  code: 'EPERM' | 'EBUSY' | 'EALREADY' | 'ESTALE' | 'EIO',
  state: string,
): Fault {
  return new Fault(code, `VF${vf.vfid} ${state} on GT${vf.around.gt.id}`);
}

/** Why a VF cannot do an operation now, undefined when it can. */
export function refusal(vf: VfControl, name: OperationName): Fault | undefined {
  return OPERATIONS[name].refusal(vf);
}

/**
 * Pauses, resumes or stops a VF on one GT and waits for it.
 * @throws {Fault} the refusal; ETIMEDOUT; EIO when firmware refused; ECANCELED when a reset or a
 * stop won
 */
export async function operate(vf: VfControl, name: OperationName): Promise<void> {
  const op: Operation = OPERATIONS[name];
  const refusal = op.refusal(vf);
  if (refusal !== undefined) throw refusal;
  vf.beginWork(op.group);
  vf.enterAndQueue(op.send);
  const where = `${op.what} of VF${vf.vfid} on GT${vf.around.gt.id}`;
  const timeoutMs = CONTROL_TIMEOUT_MS[op.group];
  if (!(await vf.waitForWork(timeoutMs)))
    throw new Fault('ETIMEDOUT', `${where} took more than ${timeoutMs} ms`);
  if (vf.has(op.reached)) return;
  if (vf.has(op.failed)) throw new Fault('EIO', `${where} failed`, { cause: vf.failure });
  throw new Fault('ECANCELED', `${where} was cancelled`);
}

/**
 * Gives up a pause that was not answered in time: forgets it and, where firmware took the command,
 * tells it to resume the VF, whatever became of the pause.
 * @throws {Fault} what firmware says
 */
export function cancelPause(vf: VfControl): void {
  const taken = vf.has('PAUSE_WAIT_GUC') || vf.has('PAUSE_GUC_DONE');
  vf.endWork('PAUSE_WIP');
  if (taken) transmit(vf, 'RESUME');
}
