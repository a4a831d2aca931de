/**
 * Migration data to another process over loopback TCP, with 1, 2 and 4 data connections, beside a
 * plain copy through node:net and a TCP stream between two C processes; and what compression does on
 * a link of 1 Gbit/s, for content that gets smaller and for content that does not.
 */
import { fork } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';
import { NetworkLink } from '../dist/migration/network-link.js';
import { encodeReport } from '../dist/migration/network-report.js';
import { networkTarget } from '../dist/migration/network-target.js';
import { MIG_STATE } from '../dist/vfio/migration-state.js';
import { median } from './yardstick.mjs';

const SINK = fileURLToPath(new URL('network-sink-process.mjs', import.meta.url));
const PIECE = 4 << 20;
const GBIT = 1e9 / 8;

async function startSink(...args) {
  const child = fork(SINK, args, { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
  const port = await new Promise((resolve, reject) => {
    child.stdout.once('data', (text) => resolve(Number(text)));
    child.once('exit', (code) => reject(new Error(`the sink ended with ${code}`)));
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  return {
    port,
    stop: async () => {
      child.disconnect();
      await ended;
    },
  };
}

/** Bytes a second of the stream through a link. */
async function throughLink(port, { source, total, ...options }) {
  const link = await NetworkLink.open({
    address: { scheme: 'tcp', host: '127.0.0.1', port },
    kind: 'migrate',
    streams: 1,
    reconnectMs: 1000,
    ...options,
  });
  const { device } = networkTarget(link);
  const data = await device.setMigrationState(MIG_STATE.RESUMING);
  const from = process.hrtime.bigint();
  for (let sent = 0; sent < total; sent += PIECE) {
    const at = sent % source.length;
    await data.write(source.subarray(at, at + PIECE));
  }
  await device.setMigrationState(MIG_STATE.STOP);
  const rate = total / (Number(process.hrtime.bigint() - from) / 1e9);
  const { counts } = link.sender;
  const result = {
    streamBytes: total,
    downtimeMs: 0,
    totalMs: 0,
    bytesPerSecond: rate,
    phases: [],
  };
  await link.close(encodeReport({ result }));
  return { rate, counts };
}

/** Bytes a second through a plain socket of node:net, the same pieces. */
function throughSocket(port, source, total) {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1' }, () => {
      const from = process.hrtime.bigint();
      let sent = 0;
      const pump = () => {
        while (sent < total) {
          const at = sent % source.length;
          sent += 1 << 20;
          if (!socket.write(source.subarray(at, at + (1 << 20)))) return;
        }
        socket.end();
      };
      socket.on('drain', pump);
      socket.on('data', () => resolve(total / (Number(process.hrtime.bigint() - from) / 1e9)));
      pump();
    });
    socket.on('error', reject);
  });
}

/** Words that look like a program's data: they get about a third of their size. */
function compressible(bytes) {
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length; at += 8) {
    view.setUint32(at, (at * 2654435761) & 0xff00ff, true);
    view.setUint32(at + 4, at >>> 12, true);
  }
  return bytes;
}

/** @returns {Promise<object[]>} one row for each number of connections, and two of compression */
export async function network({ yardsticks, quick }) {
  const total = quick ? 64 << 20 : 1 << 30;
  const limited = quick ? 32 << 20 : 256 << 20;
  const repeats = quick ? 1 : 3;
  const random = randomFillSync(new Uint8Array(64 << 20));
  const small = compressible(new Uint8Array(64 << 20));
  const sink = await startSink();
  const plain = await startSink('plain');
  const many = async (measure) => {
    const rates = [];
    for (let repeat = 0; repeat < repeats; repeat++) rates.push(await measure());
    return median(rates);
  };
  const rows = [];
  try {
    // The first pass faults memory in on both sides.
    await throughLink(sink.port, { source: random, total: 64 << 20 });
    const node = await many(() => throughSocket(plain.port, random, total));
    for (const streams of [1, 2, 4])
      rows.push({
        name: `migration over loopback TCP, ${streams} data connections`,
        unit: 'B/s',
        ours: await many(
          async () => (await throughLink(sink.port, { source: random, total, streams })).rate,
        ),
        yardstick: node,
        yardstickName: 'plain copy through node:net',
        reach: 0.6,
        better: 'higher',
      });
    if (yardsticks)
      rows.push({
        name: 'migration over loopback TCP, beside C',
        unit: 'B/s',
        ours: rows[0].ours,
        yardstick: await many(() => yardsticks.run('tcp', [1 << 20, total])),
        yardstickName: 'TCP stream between two C processes',
        reach: 0.3,
        better: 'higher',
      });
    for (const [what, source, reach] of [
      ['content that gets smaller', small, 1.5],
      ['random content', random, 0.95],
    ]) {
      const options = { source, total: limited, rateLimit: GBIT };
      const none = await throughLink(sink.port, { ...options, compress: false });
      const auto = await throughLink(sink.port, options);
      rows.push({
        name: `at 1 Gbit/s with --compress auto, ${what}`,
        unit: 'B/s',
        ours: auto.rate,
        yardstick: none.rate,
        yardstickName: '--compress none',
        reach,
        better: 'higher',
      });
    }
    const auto = await throughLink(sink.port, { source: random, total });
    const none = await throughLink(sink.port, { source: random, total, compress: false });
    rows.push({
      name: 'without a limit, --compress auto, random content',
      unit: 'B/s',
      ours: auto.rate,
      yardstick: none.rate,
      yardstickName: '--compress none',
      reach: 0.9,
      better: 'higher',
    });
  } finally {
    await sink.stop();
    await plain.stop();
  }
  return rows;
}
