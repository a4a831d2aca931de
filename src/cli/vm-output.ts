/** How the move of a VM is shown while it runs and when it is over. */

import type { VmMoveResult } from '../app/vm-move.ts';
import type { VmRestoreResult } from '../app/vm-restore.ts';
import type { VmSaveResult } from '../app/vm-save.ts';
import type { DowntimePart, VmEvent, VmStepOptions } from '../app/vm-steps.ts';
import { formatSize } from '../base/size.ts';
import type { CommandContext } from './command.ts';
import { formatDuration, Progress } from './progress.ts';
import { pauseAt, roundMs } from './session-output.ts';
import { type Column, formatTable } from './table.ts';

/** What a move is given to be shown. */
interface VmView extends VmStepOptions<string> {
  /** Progress of reading a saved VM. */
  readonly onRead: (bytes: number, total: number) => void;
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
  const onRead = (bytes: number, total: number) => progress.update(bytes, total);
  const view = { signal, onEvent, onRead, close: () => progress.close() };
  return beforeStep === undefined ? view : { ...view, beforeStep };
}

/** The lines that tell of a move that succeeded. */
export function vmMoveLines(result: VmMoveResult): string[] {
  const ram = result.sharedMemory
    ? 'RAM stayed in its shared file'
    : `${result.dirtyPages} pages of the VF told`;
  return [
    ...partLines(result.parts),
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

/** The lines that tell of a VM that was saved. */
export function vmSaveLines(result: VmSaveResult): string[] {
  const { ram, vf } = result.manifest;
  return [
    ...partLines(result.parts),
    '',
    `saved: down for ${result.downtimeMs.toFixed(1)} ms, ${formatDuration(result.totalMs)} in all`,
    `${result.path}: ${formatSize(ram.bytes)} of QEMU, ${formatSize(vf.bytes)} of the VF`,
  ];
}

/** A save's result as JSON. */
export function vmSaveDocument(result: VmSaveResult): object {
  const { path, dirtyPages, streamBytes } = result;
  const { ram, vf } = result.manifest;
  return {
    event: 'done',
    ok: true,
    path,
    downtimeMs: roundMs(result.downtimeMs),
    totalMs: roundMs(result.totalMs),
    dirtyPages,
    streamBytes,
    ramBytes: ram.bytes,
    vfBytes: vf.bytes,
    parts: result.parts.map(({ name, ms }) => ({ name, ms: roundMs(ms) })),
  };
}

/** The lines that tell of a VM that was restored. */
export function vmRestoreLines(result: VmRestoreResult): string[] {
  const { createdAt, vm } = result.manifest;
  return [
    `restored: the VM of ${createdAt} (${vm.machine}, ${formatSize(vm.memory)}), ` +
      `${formatDuration(result.totalMs)} in all`,
  ];
}

/** A restore's result as JSON. */
export function vmRestoreDocument(result: VmRestoreResult): object {
  const { createdAt } = result.manifest;
  const { streamBytes } = result;
  return { event: 'done', ok: true, createdAt, totalMs: roundMs(result.totalMs), streamBytes };
}

function partLines(parts: readonly DowntimePart[]): string[] {
  const columns: Column[] = [{ title: 'part of the downtime' }, { title: 'time', align: 'right' }];
  return formatTable(
    columns,
    parts.map(({ name, ms }) => [name, `${ms.toFixed(1)} ms`]),
  );
}

function eventDocument(event: VmEvent): object {
  if (event.type === 'step') return { event: 'step', step: event.step, atMs: roundMs(event.atMs) };
  return { event: 'ram', ...event.progress };
}
