/** The process of `vm-guard.ts`: does nothing until the tool is gone. */

import { rm } from 'node:fs/promises';
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
  if (last === undefined || last.stage === 'over') return;
  void (last.stage === 'watch' ? clean(last.move) : putRight(last.move, last.stage === 'cont'));
});
process.send?.('ready');

/** The guest runs at the target if it was told to, and else at the source again. */
async function putRight(move: GuardedMove, contSent: boolean): Promise<void> {
  const { from, fromVf, to } = move;
  await clean(move);
  const isSaved = to === undefined && contSent;
  const target = isSaved ? 'running' : await endTarget(to, contSent);
  if (from === undefined || fromVf === undefined || target === 'unknown') return;
  if (target === 'running') return await endSource(from);
  const qmp = await QmpClient.connect(from);
  const vf = await connectVf(fromVf);
  await new VmSource(qmp, await vmFacts(qmp), vf).resume(move.ran);
  await vf.close();
  qmp.close();
  const place = {
    phase: contSent ? 'cont' : 'move',
    role: 'tool' as const,
    ends: { source: 'running' as const, target: 'gone' as const },
  };
  const reason = 'the tool was killed; the guest runs on here';
  await reportRollback(fromVf, new MigrationFault('ECANCELED', reason, place));
}

/** What is complete has got its name and is not there under this one any more. */
async function clean({ remove }: GuardedMove): Promise<void> {
  if (remove !== undefined) await rm(remove, { recursive: true, force: true });
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
