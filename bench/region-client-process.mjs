/**
 * The client half of the region-access benchmark, a process of its own so that it can be held on a
 * core: prints nanoseconds per round trip of 4-byte reads and writes.
 *
 * usage: region-client-process.mjs SOCKET ROUNDS POLL_US
 */
import { VfioUserClient } from '../dist/vfio-user/client.js';
import { REGISTERS } from './registers.mjs';

const [socket, rounds, pollUs] = [
  process.argv[2],
  Number(process.argv[3]),
  Number(process.argv[4]),
];
const client = await VfioUserClient.connect(socket, { pollUs });
const bytes = new Uint8Array(4);

/** Memory decoding on, as a VMM leaves it. */
client.regionWrite(7, 4, new Uint8Array([0x06, 0x00]), 0, 2);

function measure(access) {
  for (let round = 0; round < rounds / 10; round++) access();
  const from = process.hrtime.bigint();
  for (let round = 0; round < rounds; round++) access();
  return Number(process.hrtime.bigint() - from) / rounds;
}

const read = measure(() => client.regionRead(0, REGISTERS.VF_CAP_REG, bytes, 0, 4));
const write = measure(() => client.regionWrite(0, REGISTERS.DUMMY, bytes, 0, 4));
process.stdout.write(`${JSON.stringify({ read, write })}\n`);
await client.close();
