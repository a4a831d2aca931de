/**
 * The client half of the guest-engine benchmark, a process of its own as a VMM is: prints one JSON
 * document with what it measured.
 *
 * usage: guest-engine-process.mjs SOCKET OTHER_SOCKET SERVER_PID QUICK
 */
import { openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { VfioUserClient } from '../dist/vfio-user/client.js';
import { BenchGuest } from './guest-driver.mjs';
import { REGISTERS } from './registers.mjs';
import { median } from './yardstick.mjs';

const MIB = 2 ** 20;
const PIECE = 2 * MIB;
const [, , socket, otherSocket, serverPid] = process.argv;
const quick = process.argv[5] === '1';
const SOURCE_SIZE = (quick ? 32 : 256) * MIB;
const REPEATS = quick ? 1 : 5;

const guest = await BenchGuest.boot(socket, SOURCE_SIZE + 64 * MIB);
const { data } = guest;
const destination = data + SOURCE_SIZE;
guest.bytes.fill(1, data, data + SOURCE_SIZE + PIECE);

const nanoseconds = () => Number(process.hrtime.bigint());

/** Nanoseconds from the submission of the batch to its end. */
async function timed(commands) {
  guest.setBatch(commands);
  const from = nanoseconds();
  await guest.submit();
  guest.wait();
  return nanoseconds() - from;
}

const pause = new Int32Array(new SharedArrayBuffer(4));

/**
 * Bytes per second of commands for each piece of the source, the best of the repeats as the yardstick
 * has it. This process rests meanwhile: on two cores a third one that spins would be measured too.
 */
async function rate(command) {
  const commands = [];
  for (let at = 0; at < SOURCE_SIZE; at += PIECE) commands.push(command(at));
  guest.setBatch(commands);
  let best = Number.POSITIVE_INFINITY;
  // The first round touches the memory.
  for (let repeat = 0; repeat <= REPEATS; repeat++) {
    const from = nanoseconds();
    await guest.submit();
    while (!guest.isDone) Atomics.wait(pause, 0, 0, 0.1);
    if (repeat > 0) best = Math.min(best, nanoseconds() - from);
  }
  return SOURCE_SIZE / (best / 1e9);
}

/** Nanoseconds that a thread has run, and that it has waited for a CPU. Source: sched-stats.rst */
function schedstat(pid, thread) {
  const [ran, waited] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ');
  return { ran: Number(ran), waited: Number(waited) };
}

/** The time that this thread and the server's busiest one have waited for a CPU, nanoseconds. */
function waitingClock() {
  const threads = readdirSync(`/proc/${serverPid}/task`).map((thread) => ({
    thread,
    ...schedstat(serverPid, thread),
  }));
  const [busiest] = threads.sort((a, b) => b.ran - a.ran);
  const files = [
    `/proc/${serverPid}/task/${busiest.thread}/schedstat`,
    `/proc/${process.pid}/task/${process.pid}/schedstat`,
  ].map((path) => openSync(path));
  const text = Buffer.alloc(100);
  return () => {
    let waited = 0;
    for (const file of files) {
      const length = readSync(file, text, 0, text.length, 0);
      waited += Number(text.toString('latin1', 0, length).split(' ')[1]);
    }
    return waited;
  };
}

/**
 * Time of each register read of `client` while the engine copies, nanoseconds, sorted. What the two
 * threads had to wait for a CPU is not counted: that is other programs' doing.
 */
async function latencies(client) {
  const waited = waitingClock();
  const bytes = new Uint8Array(4);
  const commands = [];
  const copies = quick ? 32 : 1024;
  for (let n = 0; n < copies; n++) commands.push(guest.copyCommand(data, destination, 16 * MIB));
  guest.setBatch(commands);
  await guest.submit();
  const times = [];
  while (!guest.isDone) {
    const waitedBefore = waited();
    const from = nanoseconds();
    client.regionRead(0, REGISTERS.VF_CAP_REG, bytes, 0, 4);
    const elapsed = nanoseconds() - from;
    times.push(Math.max(0, elapsed - (waited() - waitedBefore)));
  }
  return times.sort((a, b) => a - b);
}

const summary = (times) => ({
  count: times.length,
  p99: times[Math.floor(times.length * 0.99)],
  max: times.at(-1),
});

const copy = await rate((at) => guest.copyCommand(data + at, destination, PIECE));
const fill = await rate((at) => guest.fillCommand(data + at, PIECE, 0x5a));
if (!guest.bytes.subarray(data, data + SOURCE_SIZE).every((byte) => byte === 0x5a))
  throw new Error('the engine did not fill');

const small = [];
for (let n = 0; n < (quick ? 50 : 2000); n++)
  small.push(await timed([guest.fillCommand(destination, 64, n & 0xff)]));

const sameVf = summary(await latencies(guest.client));
const other = await VfioUserClient.connect(otherSocket, { pollUs: 50 });
other.regionWrite(7, 4, new Uint8Array([0x06, 0x00]), 0, 2);
const otherVf = summary(await latencies(other));
await other.close();
await guest.close();
process.stdout.write(`${JSON.stringify({ copy, fill, small: median(small), sameVf, otherVf })}\n`);
