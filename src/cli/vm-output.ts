/** How the move of a VM is shown while it runs and when it is over. */

import type { VmMoveResult } from '../app/vm-move.ts';
import type { VmEvent, VmStepOptions } from '../app/vm-steps.ts';
import type { CommandContext } from './command.ts';
import { formatDuration, Progress } from './progress.ts';
import { pauseAt, roundMs } from './session-output.ts';
import { type Column, formatTable } from './table.ts';

/** What a move is given to be shown. */
interface VmView extends VmStepOptions<string> {
  /** Wipes the progress line. */
  close(): void;
}

/** Shows a move: a line of progress on a terminal, with `--json` an object a line on stdout. */
export function showVm(context: CommandContext): VmView {
  const { output, signal } = context;
  const progress = new Progress(output.stderr);
  const onEvent = (event: VmEvent) => {
    if (output.json) output.result(eventDocument(event), () => []);
    else if (event.type === 'step' && event.step !== 'done') progress.phase(event.step);
    else if (event.type === 'ram')
      progress.update(event.progress.total - event.progress.remaining, event.progress.total);
  };
  const beforeStep = pauseAt(context);
  const view = { signal, onEvent, close: () => progress.close() };
  return beforeStep === undefined ? view : { ...view, beforeStep };
}

/** The lines that tell of a move that succeeded. */
export function vmMoveLines(result: VmMoveResult): string[] {
  const columns: Column[] = [{ title: 'part of the downtime' }, { title: 'time', align: 'right' }];
  const rows = result.parts.map(({ name, ms }) => [name, `${ms.toFixed(1)} ms`]);
  const ram = result.sharedMemory
    ? 'RAM stayed in its shared file'
    : `${result.dirtyPages} pages of the VF told`;
  return [
    ...formatTable(columns, rows),
    '',
    `moved: down for ${result.downtimeMs.toFixed(1)} ms, ${formatDuration(result.totalMs)} in all; ${ram}`,
  ];
}

/** A move's result as JSON. */
export function vmMoveDocument(result: VmMoveResult): object {
  const { sharedMemory, dirtyPages } = result;
  return {
    event: 'done',
    ok: true,
    downtimeMs: roundMs(result.downtimeMs),
    qemuMs: roundMs(result.qemuMs),
    totalMs: roundMs(result.totalMs),
    sharedMemory,
    dirtyPages,
    streamBytes: result.vf.streamBytes,
    parts: result.parts.map(({ name, ms }) => ({ name, ms: roundMs(ms) })),
  };
}

function eventDocument(event: VmEvent): object {
  if (event.type === 'step') return { event: 'step', step: event.step, atMs: roundMs(event.atMs) };
  return { event: 'ram', ...event.progress };
}
