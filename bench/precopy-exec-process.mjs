/**
 * A guest that gives an engine small batches, one after the other, in a process of its own as a VMM
 * is; its VRAM is mapped and full. Told for how long, it answers how many batches a second ran.
 *
 * usage, with an IPC channel: precopy-exec-process.mjs SOCKET VRAM_SIZE
 */
import { BenchGuest } from './guest-driver.mjs';

const MIB = 2 ** 20;
const BAR2 = 2;
const [, , socket, vramSize] = process.argv;
/** The device fills VRAM; a processor that has been at every page is the worst case. */
function mapVram(client) {
  const [area] = client.regionInfo(BAR2).areas;
  const vram = client.mapArea(area);
  const noise = new Uint8Array(MIB).fill(7);
  for (let at = 0; at < Number(vramSize); at += MIB) client.regionWrite(BAR2, at, noise, 0, MIB);
  for (let at = 0; at < vram.size; at += 4096) vram.view(at, 1)[0] = 1;
  return vram.view(0, MIB);
}

const guest = await BenchGuest.boot(socket, 8 * MIB, mapVram);
guest.setBatch([guest.fillCommand(guest.data, 64, 1)]);

/** Between two batches a guest does something else: on two cores one that spins would be measured. */
const pause = new Int32Array(new SharedArrayBuffer(4));

process.on('message', async ({ ms }) => {
  const from = performance.now();
  let batches = 0;
  while (performance.now() - from < ms) {
    await guest.submit();
    while (!guest.isDone) Atomics.wait(pause, 0, 0, 0.05);
    batches++;
  }
  process.send({ perSecond: (batches * 1000) / (performance.now() - from) });
});
process.on('disconnect', () => void guest.close().then(() => process.exit()));
process.send('ready');
