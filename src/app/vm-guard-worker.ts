/** The process of `vm-guard.ts`: does nothing until the tool is gone. */

import { MigrationFault } from '../base/fault.ts';
import { QmpClient } from './qmp.ts';
import { connectVf, reportRollback } from './vf-connection.ts';
import { vmFacts, vmStatus } from './vm-facts.ts';
import type { GuardedMove, GuardMessage } from './vm-guard.ts';
import { VmSource } from './vm-source.ts';

/** Whether the guest runs at the target, as far as anybody can say. */
type TargetState = 'running' | 'stopped' | 'unknown';

let last: GuardMessage | undefined;
process.on('message', (message: GuardMessage) => {
  last = message;
});
process.once('disconnect', () => {
  if (last === undefined || last.stage === 'over' || last.stage === 'watch') return;
  void putRight(last.move, last.stage === 'cont');
});
process.send?.('ready');

/** The guest runs at the target if it was told to, and else at the source again. */
async function putRight(move: GuardedMove, contSent: boolean): Promise<void> {
  const target = await endTarget(move.to, contSent);
  if (target === 'running') return await endSource(move.from);
  if (target === 'unknown') return;
  const qmp = await QmpClient.connect(move.from);
  const vf = await connectVf(move.fromVf);
  await new VmSource(qmp, await vmFacts(qmp), vf).resume(move.ran);
  await vf.close();
  qmp.close();
  const place = {
    phase: contSent ? 'cont' : 'move',
    role: 'tool' as const,
    ends: { source: 'running' as const, target: 'gone' as const },
  };
  const reason = 'the tool was killed; the guest runs on here';
  await reportRollback(move.fromVf, new MigrationFault('ECANCELED', reason, place));
}

/** Ends the target unless the guest runs there. */
async function endTarget(path: string | undefined, contSent: boolean): Promise<TargetState> {
  if (path === undefined) return 'stopped';
  let qmp: QmpClient;
  try {
    qmp = await QmpClient.connect(path);
  } catch {
    return contSent ? 'unknown' : 'stopped';
  }
  const status = await vmStatus(qmp).catch(() => 'unknown');
  const isRunning = contSent && status !== 'paused';
  if (!isRunning) await qmp.execute('quit').catch(() => {});
  qmp.close();
  return isRunning ? 'running' : 'stopped';
}

async function endSource(path: string): Promise<void> {
  const qmp = await QmpClient.connect(path);
  await qmp.execute('quit').catch(() => {});
  qmp.close();
}
