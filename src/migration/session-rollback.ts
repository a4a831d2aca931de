/** The way back of a session that failed: the source runs again, the target is reset. */
import {
  type Fault,
  type MigrationEndState,
  MigrationFault,
  type MigrationRole,
  toFault,
} from '../base/fault.ts';
import { MIG_STATE } from '../vfio/migration-state.ts';
import type { SessionOptions } from './migration-phase.ts';
import { askState, type MigrationEnd, resetTarget, restoreSource } from './session-end.ts';
import { type SessionRun, StepFailure } from './session-run.ts';
import type { SourceNote } from './session-source.ts';
import type { TargetNote } from './session-target.ts';

/** The ends of a session; a file is none. */
export interface SessionEnds {
  readonly source?: MigrationEnd | undefined;
  readonly target?: MigrationEnd | undefined;
}

/** What a session has touched. */
export type Touched = SourceNote & TargetNote;

/**
 * Undoes what a session did, as far as that is safe, and makes the fault that tells all of it.
 *
 * The source goes first: its guest is waiting. When the target was asked to run and nobody can say
 * that it does not, nothing is undone: the source stays in STOP with its state.
 */
export async function rollBack(
  run: SessionRun,
  error: unknown,
  ends: SessionEnds,
  touched: Touched,
  options: SessionOptions,
): Promise<MigrationFault> {
  const { role, fault } =
    error instanceof StepFailure ? error : { role: 'tool' as const, fault: toFault(error) };
  const left = await undo(ends, touched);
  const hint = hintOf(left) ?? fault.hint;
  const told = new MigrationFault(
    fault.code,
    reasonOf(role, run.phase, fault),
    { phase: run.phase, role, ends: left },
    { ...(hint === undefined ? {} : { hint }), cause: fault },
  );
  options.onEvent?.({ type: 'rollback', fault: told });
  return told;
}

async function undo(ends: SessionEnds, touched: Touched): Promise<MigrationFault['ends']> {
  const { source, target } = ends;
  if (target !== undefined && touched.target?.started === true) {
    const state = await askState(target);
    if (state === 'unknown') return { source: 'stopped', target: 'unknown' };
    if (state === MIG_STATE.RUNNING) return { source: 'stopped', target: 'running' };
  }
  let sourceLeft: MigrationEndState = 'untouched';
  let targetLeft: MigrationEndState = 'untouched';
  if (source !== undefined && touched.source !== undefined)
    sourceLeft = await restoreSource(source, touched.source.found, touched.source.data);
  if (target !== undefined && touched.target !== undefined)
    targetLeft = await resetTarget(target, touched.target.data);
  return { source: sourceLeft, target: targetLeft };
}

function reasonOf(role: MigrationRole, phase: string, fault: Fault): string {
  return role === 'tool' ? `${phase}: ${fault.message}` : `${phase}, ${role}: ${fault.message}`;
}

/** What a person has to know first about the ends; undefined when both are well. */
function hintOf({ source, target }: MigrationFault['ends']): string | undefined {
  if (target === 'unknown' && source === 'stopped')
    return 'the target may run: find out, and set the source to run only if it does not';
  if (source === 'gone') return 'the server of the source is gone, and the state with it';
  if (source === 'unknown') return 'the source did not come back: look into the log of its server';
  if (target === 'gone') return 'the source runs on; start the server of the target again';
  if (target === 'unknown') return 'the source runs on; reset the target before it is used again';
  return undefined;
}
