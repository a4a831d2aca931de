/** A thread that compares blocks of VRAM with what was sent of them. Entry of a worker. */
import { parentPort, workerData } from 'node:worker_threads';
import { openDigest } from '../../sys/block-digest.ts';
import { stepBack } from '../../sys/thread-priority.ts';
import { BlockTable, CONTROL } from './block-table.ts';
import { BlockScanner } from './scan.ts';
import type { FromScanWorker, ScanWorkerData, ToScanWorker } from './scan-pool.ts';

if (parentPort === null) throw new TypeError('this is the entry of a worker thread');
const port = parentPort;
const { memory, address, fd, key, zero, nice } = workerData as ScanWorkerData;
stepBack(nice);
const table = new BlockTable(memory);
const scanner = new BlockScanner(table, { address, fd }, openDigest(key), zero);

/** Rests after `workMs` of work, so that no more than `percent` of a core is used. */
function rest(workMs: number, percent: number): void {
  Atomics.wait(table.control, CONTROL.STOP, 0, workMs * (100 / percent - 1));
}

port.on('message', (message: ToScanWorker) => {
  if (message.type === 'close') {
    scanner.close();
    port.close();
    return;
  }
  const { order, percent } = message;
  for (;;) {
    const startedAt = performance.now();
    if (!scanner.step(order)) break;
    if (percent < 100) rest(performance.now() - startedAt, percent);
  }
  port.postMessage('done' satisfies FromScanWorker);
});
