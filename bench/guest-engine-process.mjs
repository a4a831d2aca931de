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
/** Register reads beside a copy. */
const READS = quick ? 200 : 20_000;

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

/** Thread of the server that has run for longest: the one that serves. */
function servingThread() {
  const ran = (thread) =>
    Number(readFileSync(`/proc/${serverPid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  const threads = readdirSync(`/proc/${serverPid}/task`);
  return threads.sort((a, b) => ran(b) - ran(a))[0];
}

const SPACE = 0x20;
const ZERO = 0x30;

/**
 * The time that this thread and the serving one have waited for a CPU, nanoseconds, read without
 * allocating anything. Source: Documentation/scheduler/sched-stats.rst (the second field)
 */
function waitingClock() {
  const files = [
    `/proc/${serverPid}/task/${servingThread()}/schedstat`,
    `/proc/${process.pid}/task/${process.pid}/schedstat`,
  ].map((path) => openSync(path));
  const text = new Uint8Array(100);
  return () => {
    let waited = 0;
    for (const file of files) {
      const length = readSync(file, text, 0, text.length, 0);
      let at = 0;
      while (at < length && text[at] !== SPACE) at++;
      let value = 0;
      for (at++; at < length && text[at] !== SPACE; at++) value = value * 10 + text[at] - ZERO;
      waited += value;
    }
    return waited;
  };
}

/**
 * Time of each register read of `client` while the engine copies. What the two threads had to wait
 * for a CPU is not counted, that is other programs' doing, but told of the longest reads.
 */
async function latencies(client) {
  const waited = waitingClock();
  const bytes = new Uint8Array(4);
  const commands = [];
  const copies = quick ? 32 : 1024;
  for (let n = 0; n < copies; n++) commands.push(guest.copyCommand(data, destination, 16 * MIB));
  guest.setBatch(commands);
  await guest.submit();
  const own = new Float64Array(READS);
  const whole = new Float64Array(READS);
  for (let n = 0; n < READS; n++) {
    if (guest.isDone) await guest.submit();
    const waitedBefore = waited();
    const from = performance.now();
    client.regionRead(0, REGISTERS.VF_CAP_REG, bytes, 0, 4);
    whole[n] = (performance.now() - from) * 1e6;
    own[n] = Math.max(0, whole[n] - (waited() - waitedBefore));
  }
  while (!guest.isDone) Atomics.wait(pause, 0, 0, 1);
  const longest = own.indexOf(Math.max(...own));
  const withWaiting = { whole: whole[longest], longestWhole: Math.max(...whole) };
  own.sort();
  const at = (part) => own[Math.floor(READS * part)];
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: own[READS - 1], ...withWaiting };
}

const copy = await rate((at) => guest.copyCommand(data + at, destination, PIECE));
const fill = await rate((at) => guest.fillCommand(data + at, PIECE, 0x5a));
if (!guest.bytes.subarray(data, data + SOURCE_SIZE).every((byte) => byte === 0x5a))
  throw new Error('the engine did not fill');

const small = [];
for (let n = 0; n < (quick ? 50 : 2000); n++)
  small.push(await timed([guest.fillCommand(destination, 64, n & 0xff)]));

const sameVf = await latencies(guest.client);
const other = await VfioUserClient.connect(otherSocket, { pollUs: 50 });
other.regionWrite(7, 4, new Uint8Array([0x06, 0x00]), 0, 2);
const otherVf = await latencies(other);
await other.close();
await guest.close();
process.stdout.write(`${JSON.stringify({ copy, fill, small: median(small), sameVf, otherVf })}\n`);
