/**
 * The client half of the region-access benchmark, a process of its own so that it can be held on a
 * core. A line `read ROUNDS` or `write ROUNDS` on stdin makes it measure that many 4-byte accesses
 * and print nanoseconds per round trip; the end of stdin ends it.
 *
 * usage: region-client-process.mjs SOCKET POLL_US
 */
import { createInterface } from 'node:readline';
import { VfioUserClient } from '../dist/vfio-user/client.js';
import { REGISTERS } from './registers.mjs';

const [socket, pollUs] = [process.argv[2], Number(process.argv[3])];
const client = await VfioUserClient.connect(socket, { pollUs });
const bytes = new Uint8Array(4);

/** Memory decoding on, as a VMM leaves it. */
client.regionWrite(7, 4, new Uint8Array([0x06, 0x00]), 0, 2);

const ACCESS = {
  read: () => client.regionRead(0, REGISTERS.VF_CAP_REG, bytes, 0, 4),
  write: () => client.regionWrite(0, REGISTERS.DUMMY, bytes, 0, 4),
};

function measure(access, rounds) {
  // As the yardstick does: a tenth more, not timed.
  for (let round = 0; round < rounds / 10; round++) access();
  const from = process.hrtime.bigint();
  for (let round = 0; round < rounds; round++) access();
  return Number(process.hrtime.bigint() - from) / rounds;
}

for await (const line of createInterface({ input: process.stdin })) {
  const [access, rounds] = line.split(' ');
  process.stdout.write(`${measure(ACCESS[access], Number(rounds))}\n`);
}
await client.close();
