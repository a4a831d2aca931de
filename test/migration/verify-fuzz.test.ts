/** Broken streams by the ten thousands: never a crash, never a wrong verdict. */
import { describe, expect, it } from 'vitest';
import { StreamFault } from '../../src/base/fault.ts';
import { StreamVerifier } from '../../src/migration/stream-verify.ts';
import { SeededRandom } from '../support/random.ts';
import {
  bmgPackets,
  goldenBytes,
  goldenTarget,
  manifest,
  packetBytes,
  pattern,
  type TestPacket,
} from '../support/stream-builder.ts';
import { isAcceptable, type OracleVf } from '../support/stream-oracle.ts';

const PTL = goldenTarget('ptl');
/** As the golden one, with less VRAM, so that thousands of streams fit into the time. */
const BMG = { ...goldenTarget('bmg'), vramSize: 256 };

interface Subject {
  readonly vf: OracleVf;
  readonly packets: readonly Uint8Array[];
}

const SUBJECTS: readonly Subject[] = [
  ...manifest.vectors
    .filter(({ bytes }) => bytes < 5000)
    .map((vector) => ({
      vf: vector.device === 'ptl' ? PTL : BMG,
      packets: cutIntoPackets(Buffer.from(goldenBytes(vector))),
    })),
  ...[[256], [128, 128], [100, 28, 64, 64]].map((chunks) => ({
    vf: BMG,
    packets: bmgPackets(chunks).map(packetBytes),
  })),
];

/** Values that lie next to some limit. */
const U64 = [
  0n,
  1n,
  15n,
  16n,
  255n,
  256n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n,
  2n ** 53n,
  2n ** 64n - 1n,
];

type Mutation = (packets: Buffer[], random: SeededRandom) => void;

const MUTATIONS: readonly Mutation[] = [
  // One bit.
  (packets, random) => {
    const packet = random.pick(packets);
    if (packet.length === 0) return;
    const at = random.below(packet.length);
    packet.writeUInt8(packet.readUInt8(at) ^ (1 << random.below(8)), at);
  },
  // A byte of a header, where most of what is judged lies.
  (packets, random) => {
    const packet = random.pick(packets);
    if (packet.length >= 24)
      packet.writeUInt8(random.pick([0, 1, 2, 3, 6, 7, 255]), random.below(4));
  },
  // A size or an offset.
  (packets, random) => {
    const packet = random.pick(packets);
    if (packet.length >= 24) packet.writeBigUInt64LE(random.pick(U64), random.pick([8, 16]));
  },
  // A packet of another size that says so.
  (packets, random) => {
    const at = random.below(packets.length);
    const packet = packets[at];
    if (packet === undefined || packet.length < 24) return;
    const payload = pattern(random.pick([0, 4, 8, 16, 32, 64, 128, 256]), random.below(99));
    const bytes = Buffer.concat([packet.subarray(0, 24), payload]);
    bytes.writeBigUInt64LE(BigInt(payload.length), 16);
    packets[at] = bytes;
  },
  // A packet is lost, comes twice, or changes its place.
  (packets, random) => void packets.splice(random.below(packets.length), 1),
  (packets, random) => void packets.push(Buffer.from(random.pick(packets))),
  (packets, random) => {
    const [packet] = packets.splice(random.below(packets.length), 1);
    if (packet !== undefined) packets.splice(random.below(packets.length + 1), 0, packet);
  },
  // A packet of some kind is put in.
  (packets, random) => {
    const packet: TestPacket = {
      type: random.below(9),
      gt: random.below(2),
      offset: random.pick([0, 0, 128, 255]),
      payload: pattern(random.pick([0, 1, 16, 32, 64, 128]), random.below(99)),
    };
    packets.splice(random.below(packets.length + 1), 0, Buffer.from(packetBytes(packet)));
  },
  // Bytes are lost or put in, so that nothing after them is where it was.
  (packets, random) => {
    const at = random.below(packets.length);
    const packet = packets[at];
    if (packet === undefined || packet.length === 0) return;
    const cut = random.below(packet.length);
    packets[at] = Buffer.concat([
      packet.subarray(0, cut),
      packet.subarray(cut + 1 + random.below(8)),
    ]);
  },
  (packets, random) =>
    void packets.push(Buffer.from(pattern(1 + random.below(60), random.below(99)))),
];

describe('verify of broken streams', () => {
  it('agrees with a second opinion on 100,000 of them', { timeout: 60_000 }, () => {
    const random = new SeededRandom(0x5eed);
    const counts = { accepted: 0, refused: 0 };
    const errnos = new Set<string>();
    for (let run = 0; run < 100_000; run++) {
      const { vf, packets } = random.pick(SUBJECTS);
      const mutated = packets.map((packet) => Buffer.from(packet));
      for (let times = random.below(4); times > 0 && mutated.length > 0; times--)
        random.pick(MUTATIONS)(mutated, random);
      let stream = Buffer.concat(mutated);
      if (random.below(8) === 0) stream = stream.subarray(0, random.below(stream.length + 1));
      const fault = verdict(stream, vf, random);
      if (fault === undefined) counts.accepted++;
      else {
        counts.refused++;
        errnos.add(fault.code);
        if (fault.offset > stream.length || fault.packet < 0) report(run, stream, 'its place');
      }
      if ((fault === undefined) !== isAcceptable(stream, vf)) report(run, stream, fault?.message);
    }
    // Both verdicts must have been common, or the mutations test nothing.
    expect(counts.accepted).toBeGreaterThan(5_000);
    expect(counts.refused).toBeGreaterThan(50_000);
    expect([...errnos].sort()).toEqual(
      [
        'EINVAL',
        'EIO',
        'ENOBUFS',
        'ENODATA',
        'ENODEV',
        'ENOENT',
        'ENOMEM',
        'ENXIO',
        'ETIMEDOUT',
      ].sort(),
    );
  });

  it('never throws anything but a StreamFault when it knows nothing of the device', () => {
    const random = new SeededRandom(0xbeef);
    for (let run = 0; run < 20_000; run++) {
      const length = random.below(200);
      const stream = Buffer.from(Uint8Array.from({ length }, () => random.below(256)));
      // Otherwise nearly all of them end at the first byte.
      if (length > 2) stream.set([1, random.below(8)]);
      if (length >= 24 && random.below(4) > 0)
        stream.writeBigUInt64LE(BigInt(random.below(64)), 16);
      verdict(stream, {}, random);
    }
  });
});

/** Undefined when all of `stream` is accepted; anything but a StreamFault is passed on. */
function verdict(
  stream: Buffer,
  claim: Partial<OracleVf>,
  random: SeededRandom,
): StreamFault | undefined {
  try {
    const verifier = new StreamVerifier(claim);
    const piece = random.pick([1 + random.below(40), stream.length + 1]);
    for (let at = 0; at < stream.length; at += piece)
      verifier.push(stream.subarray(at, at + piece));
    verifier.finish();
    return undefined;
  } catch (error) {
    if (error instanceof StreamFault) return error;
    throw error;
  }
}

function report(run: number, stream: Buffer, said: string | undefined): never {
  throw new Error(`run ${run}: ${said ?? 'accepted'}, wrongly: ${stream.toString('hex')}`);
}

/** The packets of a stream; what is no whole packet is one piece at the end. */
function cutIntoPackets(stream: Buffer): Buffer[] {
  const packets: Buffer[] = [];
  let rest = stream;
  while (rest.length >= 24) {
    const end = Number(rest.readBigUInt64LE(16)) + 24;
    packets.push(rest.subarray(0, end));
    rest = rest.subarray(end);
  }
  return rest.length > 0 || packets.length === 0 ? [...packets, rest] : packets;
}
