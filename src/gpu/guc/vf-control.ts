/** PF2GUC_VF_CONTROL: pause, resume, stop and reset a VF. Source: abi/guc_actions_sriov_abi.h. */
import { Fault } from '../../base/fault.ts';
import { GUC_RESPONSE } from '../../xe/guc/hxg.ts';
import { VF_CONTROL_COMMAND, VF_NOTIFY } from '../../xe/guc/pf-actions.ts';
import { GUC_INTR } from '../../xe/memirq.ts';
import type { Guc } from './guc.ts';
import { GucError } from './guc-error.ts';
import type { GucVf } from './vf-state.ts';

type Command = (guc: Guc, vf: GucVf) => void;

const COMMANDS: ReadonlyMap<number, Command> = new Map([
  [VF_CONTROL_COMMAND.PAUSE, pause],
  [VF_CONTROL_COMMAND.RESUME, resume],
  [VF_CONTROL_COMMAND.STOP, stop],
  [VF_CONTROL_COMMAND.FLR_START, flrStart],
  [VF_CONTROL_COMMAND.FLR_FINISH, flrFinish],
]);

/**
 * Does one command of VF_CONTROL.
 * @throws {GucError} INVALID_VFID, INVALID_PARAMS, INVALID_STATE
 */
export function controlVf(guc: Guc, message: readonly number[]): number {
  const vf = guc.vf(message[1] ?? 0);
  const number = message[2] ?? 0;
  const command = COMMANDS.get(number);
  if (command === undefined) throw new GucError(GUC_RESPONSE.INVALID_PARAMS, `command ${number}`);
  const { id } = guc.identity.gt;
  const fault = guc.faults.take(
    'vf-control',
    id,
    vf.vfid,
    (candidate) => (candidate.command ?? number) === number,
  );
  if (fault !== undefined)
    throw new Fault(fault.error, `GuC of GT ${id} refused VF_CONTROL ${number} (injected)`);
  command(guc, vf);
  return 0;
}

function needs(vf: GucVf, ...executions: ReadonlyArray<GucVf['execution']>): void {
  if (!executions.includes(vf.execution))
    throw new GucError(GUC_RESPONSE.INVALID_STATE, `VF${vf.vfid} is ${vf.execution}`);
}

function pause(guc: Guc, vf: GucVf): void {
  needs(vf, 'running');
  guc.scheduler.pause(vf.vfid);
  if (vf.existingRuntime !== undefined) {
    const session = guc.session(vf.vfid);
    session.ccs.save(session);
  }
  vf.execution = 'paused';
  guc.notifyPf(vf.vfid, VF_NOTIFY.PAUSE_DONE);
}

function resume(guc: Guc, vf: GucVf): void {
  needs(vf, 'paused');
  vf.execution = 'running';
  const { fixup } = vf;
  if (!fixup.blocked) {
    if (vf.existingRuntime !== undefined) {
      const session = guc.session(vf.vfid);
      session.ccs.restore(session);
      guc.resume(vf.vfid);
    }
  } else if (!fixup.told) {
    // A VF whose driver had begun to talk must be told that it was moved.
    fixup.told = true;
    guc.session(vf.vfid).interrupt(GUC_INTR.SW_INT_0);
  }
  if (vf.existingRuntime?.notified === true) guc.serve(vf.vfid);
}

function stop(guc: Guc, vf: GucVf): void {
  needs(vf, 'running', 'paused', 'stopped');
  guc.scheduler.reset(vf.vfid);
  vf.execution = 'stopped';
}

function flrStart(guc: Guc, vf: GucVf): void {
  vf.execution = 'reset';
  guc.scheduler.reset(vf.vfid);
  vf.resetRuntime();
  guc.notifyPf(vf.vfid, VF_NOTIFY.FLR_DONE);
}

function flrFinish(_guc: Guc, vf: GucVf): void {
  needs(vf, 'reset');
  vf.execution = 'running';
}
