/** A thread that writes VRAM through a mapping of the BAR, as a guest's processor does. */
import { parentPort, workerData } from 'node:worker_threads';
import { Mapping } from '../dist/sys/mapping.js';

const { fd, size, bytesPerSecond, stop } = workerData;
/** Bytes that are written at a time. */
const BLOCK = 64 * 1024;
/** Milliseconds between two bursts. */
const TICK_MS = 5;

const stopped = new Int32Array(stop);
const mapping = Mapping.ofFd(fd, size);
let seed = 12345;
let owed = 0;
let value = 1;
let at = performance.now();
parentPort.postMessage('writing');
while (Atomics.load(stopped, 0) === 0) {
  const now = performance.now();
  owed += ((now - at) / 1000) * bytesPerSecond;
  at = now;
  for (; owed >= BLOCK; owed -= BLOCK) {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    const block = Math.floor((seed / 2 ** 32) * (size / BLOCK));
    value = (value % 255) + 1;
    mapping.view(block * BLOCK, BLOCK).fill(value);
  }
  Atomics.wait(stopped, 0, 0, TICK_MS);
}
mapping.close();
parentPort.postMessage('stopped');
