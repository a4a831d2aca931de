import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PacketParser, type PacketParserOptions } from '../../src/migration/packet-parser.ts';
import { bmgPackets, packetBytes, streamBytes } from '../support/stream-builder.ts';

/** What a parser says of bytes that come in pieces of the given sizes, over and over. */
function events(bytes: Uint8Array, sizes: readonly number[], options?: PacketParserOptions) {
  const said: string[] = [];
  let payload: number[] = [];
  const parser = new PacketParser(
    {
      header: (header, offset, raw) => {
        payload = [];
        said.push(`${offset} ${header.type} ${header.size} ${raw.length} ${raw[1]}`);
      },
      payload: (piece, at) => {
        expect(at).toBe(payload.length);
        payload.push(...piece);
      },
      end: () => said.push(`end ${payload.join()}`),
    },
    options,
  );
  for (let at = 0, n = 0; at < bytes.length; n++) {
    const size = Math.max(sizes[n % sizes.length] ?? 1, 1);
    parser.push(bytes.subarray(at, at + size));
    at += size;
  }
  return { said, length: parser.length, stopped: parser.stopped };
}

describe('PacketParser', () => {
  const stream = streamBytes(bmgPackets([40, 8]));

  it('says the same however the bytes are cut', () => {
    const whole = events(stream, [stream.length]);
    expect(whole.said).toHaveLength(2 * bmgPackets([40, 8]).length);
    expect(whole.length).toBe(stream.length);
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 20 }),
        (sizes) => {
          expect(events(stream, sizes)).toEqual(whole);
        },
      ),
    );
  });

  it('takes nothing after the trailer when told so', () => {
    const junk = Buffer.concat([stream, Buffer.from('an index, a footer')]);
    for (const size of [1, 24, junk.length]) {
      const { length, stopped } = events(junk, [size], { stopAtTrailer: true });
      expect({ length, stopped }).toEqual({ length: stream.length, stopped: true });
    }
  });

  it('waits for the rest of a header and of a payload', () => {
    const packet = packetBytes({ type: 5, payload: Uint8Array.of(1, 2, 3) });
    expect(events(packet.subarray(0, 23), [5]).said).toEqual([]);
    expect(events(packet.subarray(0, 26), [5]).said).toEqual(['0 5 3 24 5']);
  });
});
