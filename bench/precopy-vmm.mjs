/**
 * A VMM of the pre-copy benchmark, in a thread of its own: has all of BAR 2 mapped, as VMMs do, and
 * writes it in two ways at given rates. Through the mapping, as a guest's processor does, which
 * nobody is told of; and by messages, which the device knows as it knows what its engines write.
 */
import { randomFillSync } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { VfioUserClient } from '../dist/vfio-user/client.js';

const { socket, control: memory } = workerData;
const BAR2 = 2;
/** Bytes that are written at a time. */
const BLOCK = 64 * 1024;
const MIB = 2 ** 20;
/** Milliseconds between two bursts. */
const TICK_MS = 2;
/** Indices of the control words: 1 while it shall write, 1 while it does. */
const WANTED = 0;
const WRITING = 1;

const control = new Int32Array(memory);
const vmm = await VfioUserClient.connect(socket);
const [area] = vmm.regionInfo(BAR2).areas;
const mapping = vmm.mapArea(area);
const noise = randomFillSync(new Uint8Array(MIB));
let seed = 12345;

/** A block below `bytes`, at random. */
function anyBlock(bytes) {
  seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
  return Math.floor((seed / 2 ** 32) * (bytes / BLOCK)) * BLOCK;
}

/** The device writes all of VRAM, so that no block of it is zero. */
function fill(size) {
  for (let at = 0; at < size; at += MIB) {
    randomFillSync(noise, 0, 4096);
    vmm.regionWrite(BAR2, at, noise, 0, MIB);
  }
}

/** The processor touches the first `bytes`. */
function touch(bytes) {
  for (let at = 0; at < bytes; at += 4096) mapping.view(at, 1)[0] ^= 1;
}

/** Writes until it is told to stop: `processor` bytes a second below `workingSet`, `device` anywhere. */
function write({ size, workingSet, processor, device }) {
  let value = 1;
  let owedByProcessor = 0;
  let owedByDevice = 0;
  let last = performance.now();
  while (Atomics.load(control, WANTED) === 1) {
    const now = performance.now();
    owedByProcessor += ((now - last) / 1000) * processor;
    owedByDevice += ((now - last) / 1000) * device;
    last = now;
    value = (value % 255) + 1;
    for (; owedByProcessor >= BLOCK; owedByProcessor -= BLOCK)
      mapping.view(anyBlock(workingSet), BLOCK).fill(value);
    for (; owedByDevice >= BLOCK; owedByDevice -= BLOCK) {
      noise[0] = value;
      vmm.regionWrite(BAR2, anyBlock(size), noise, 0, BLOCK);
      if (Atomics.load(control, WANTED) === 0) break;
    }
    Atomics.wait(control, WANTED, 1, TICK_MS);
  }
  Atomics.store(control, WRITING, 0);
  Atomics.notify(control, WRITING);
}

parentPort.on('message', (order) => {
  if (order.op === 'fill') fill(order.size);
  else if (order.op === 'touch') touch(order.bytes);
  else if (order.op === 'write') write(order);
  parentPort.postMessage('done');
  if (order.op !== 'close') return;
  mapping.close();
  void vmm.close().then(() => parentPort.close());
});
parentPort.postMessage('ready');
