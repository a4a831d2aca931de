/**
 * Opens every VF of a number of emulated PFs and prints what the process then holds in memory.
 *
 * usage: idle-vfs-process.mjs PFS VFS
 */
import { EmulatedHost } from '../dist/app/emulated-host.js';
import { memoryOf } from './server.mjs';

const [pfs, vfs] = [Number(process.argv[2]), Number(process.argv[3])];
const devices = [];
for (let pf = 0; pf < pfs; pf++) {
  const host = await EmulatedHost.create({ platform: pf % 2 === 0 ? 'bmg' : 'ptl', vfs });
  for (let vfid = 1; vfid <= vfs; vfid++) devices.push(await host.open(vfid));
}
const { resident } = memoryOf(process.pid);
process.stdout.write(`${JSON.stringify({ resident, vfs: devices.length })}\n`);
process.exit(0);
