/**
 * Moves the state of one emulated VF into another, in one process, through the library alone.
 *
 * Run it after `npm run build`: node examples/migrate-in-process.mjs
 */
import { EmulatedHost, migrate } from '../dist/index.js';

const host = await EmulatedHost.create({ platform: 'bmg', vfs: 2, vramSize: 64 * 2 ** 20 });
const source = await host.open(1);
const target = await host.open(2);

// Something to move: the first bytes of VRAM, as a VMM reaches them through BAR 2.
const text = new TextEncoder().encode('moved by xe-vfio');
source.regionWrite(2, 0, text, 0, text.length);

const ends = [1, 2].map((vfid) => ({
  device: vfid === 1 ? source : target,
  profile: host.profile(vfid),
}));
const { streamBytes } = await migrate(ends[0], ends[1]);

const found = new Uint8Array(text.length);
target.regionRead(2, 0, found, 0, found.length);
process.stdout.write(`${streamBytes} bytes; VF 2 holds "${new TextDecoder().decode(found)}"\n`);

await source.close();
await target.close();
host.close();
