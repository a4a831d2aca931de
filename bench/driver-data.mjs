/**
 * Migration data out of the driver into the caller's buffer, and from the caller's buffer in,
 * beside memcpy of the same pieces on one core. No socket: the variant driver is in this process.
 */
import { EmulatedHost } from '../dist/app/emulated-host.js';
import { MIG_STATE } from '../dist/vfio/migration-state.js';
import { median } from './yardstick.mjs';

const PIECE = 1 << 20;
/** Pieces at both ends of a stream that may hold something else than VRAM. */
const FRAMED = 8;

/** Reads a whole stream into one buffer of PIECE bytes; returns bytes per second. */
async function readAll(device) {
  const buffer = new Uint8Array(PIECE);
  const data = await device.setMigrationState(MIG_STATE.STOP_COPY);
  const from = process.hrtime.bigint();
  let bytes = 0;
  for (;;) {
    const views = await data.read(PIECE);
    if (views.length === 0) break;
    let at = 0;
    for (const view of views) {
      buffer.set(view, at);
      at += view.length;
    }
    bytes += at;
  }
  const seconds = Number(process.hrtime.bigint() - from) / 1e9;
  data.close();
  await device.setMigrationState(MIG_STATE.RUNNING);
  return bytes / seconds;
}

/** Keeps a whole stream, in pieces as they were read. */
async function keepAll(device) {
  const pieces = [];
  const data = await device.setMigrationState(MIG_STATE.STOP_COPY);
  for (;;) {
    const views = await data.read(PIECE);
    if (views.length === 0) break;
    pieces.push(Buffer.concat(views));
  }
  data.close();
  await device.setMigrationState(MIG_STATE.RUNNING);
  return pieces;
}

/** Writes a stream from one buffer of PIECE bytes; returns bytes per second spent in the driver. */
async function writeAll(device, pieces) {
  const buffer = new Uint8Array(PIECE);
  const data = await device.setMigrationState(MIG_STATE.RESUMING);
  let bytes = 0;
  let ns = 0n;
  for (const [index, piece] of pieces.entries()) {
    // Inside the one VRAM packet any bytes will do: the buffer is filled only where packets begin
    // and end, so that its lines are as clean in the caches as the yardstick's.
    if (index < FRAMED || index >= pieces.length - FRAMED) buffer.set(piece);
    const from = process.hrtime.bigint();
    await data.write(buffer.subarray(0, piece.length));
    ns += process.hrtime.bigint() - from;
    bytes += piece.length;
  }
  data.close();
  await device.setMigrationState(MIG_STATE.RUNNING);
  return bytes / (Number(ns) / 1e9);
}

/** @returns {Promise<object[]>} rows for out and in */
export async function driverData({ yardsticks, quick }) {
  const size = quick ? 64 << 20 : 512 << 20;
  const repeats = quick ? 1 : 5;
  const host = await EmulatedHost.create({ platform: 'bmg', vfs: 2, vramSize: size });
  const ours = { out: [], in: [] };
  const theirs = { out: [], in: [] };
  try {
    const [source, target] = [await host.open(1), await host.open(2)];
    const pieces = await keepAll(source);
    for (let repeat = 0; repeat < repeats; repeat++) {
      // One pass untimed: the yardstick, too, has touched its memory right before it is timed.
      await readAll(source);
      ours.out.push(await readAll(source));
      await writeAll(target, pieces);
      ours.in.push(await writeAll(target, pieces));
      for (const direction of ['out', 'in'])
        if (yardsticks) theirs[direction].push(yardsticks.run('copy', [direction, size, PIECE, 1]));
    }
    await source.close();
    await target.close();
  } finally {
    host.close();
  }
  return ['out', 'in'].map((direction) => ({
    name: `migration data ${direction} of the driver`.replace('in of', 'into'),
    unit: 'B/s',
    ours: median(ours[direction]),
    yardstick: yardsticks ? median(theirs[direction]) : undefined,
    yardstickName: 'memcpy, one core',
    reach: 0.7,
    better: 'higher',
  }));
}
