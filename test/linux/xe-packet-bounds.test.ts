import fc from 'fast-check';
import { expect, test } from 'vitest';
import { PacketBounds } from '../../src/linux/xe-packet-bounds.ts';
import { packetBytes } from '../support/stream-builder.ts';

test('knows in any cut of a stream how far its packet goes', () => {
  const sizes = fc.array(fc.nat(300), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(sizes, fc.array(fc.integer({ min: 1, max: 200 })), (lengths, cuts) => {
      const packets = lengths.map((size) =>
        packetBytes({ type: 6, payload: new Uint8Array(size).fill(255) }),
      );
      const stream = Buffer.concat(packets);
      const ends = packets.map((_, n) => Buffer.concat(packets.slice(0, n + 1)).length);
      const seen: number[] = [];
      const bounds = new PacketBounds(({ size }) => seen.push(size));
      let at = 0;
      for (const cut of [...cuts, stream.length]) {
        bounds.take(stream.subarray(at, at + cut));
        at = Math.min(at + cut, stream.length);
        const start = [0, ...ends].filter((end) => end <= at).at(-1) ?? 0;
        const end = ends.find((one) => one > at) ?? stream.length;
        const inHeader = at - start < 24;
        if (at === start) expect(bounds.left).toBe(0);
        else expect(bounds.left).toBe(inHeader ? 24 - (at - start) : end - at);
      }
      expect(seen).toEqual(lengths);
    }),
  );
});
