import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Fault } from '../../../src/base/fault.ts';
import {
  BLOCK_MAX_SIZE,
  decodeFrameHeader,
  encodeFrameHeader,
  encodeMessage,
  FRAME_HEADER_LAYOUT,
  FRAME_HEADER_SIZE,
  FRAME_TYPE,
  type FrameHeader,
  FrameParser,
} from '../../../src/migration/network-frame.ts';
import {
  decodeHello,
  decodeRefuse,
  decodeReply,
  decodeRequest,
  decodeWelcome,
  encodeHello,
  encodeJson,
  encodeReply,
  encodeWelcome,
} from '../../../src/migration/network-messages.ts';
import { decodeEvent, decodeReport, encodeReport } from '../../../src/migration/network-report.ts';

const header: fc.Arbitrary<FrameHeader> = fc
  .record({
    type: fc.constantFrom(...Object.values(FRAME_TYPE)),
    length: fc.nat({ max: 2 ** 16 }),
    offset: fc.nat({ max: 2 ** 50 }),
    crc: fc.nat({ max: 0xffff_ffff }),
    encoding: fc.constant(0),
    file: fc.nat({ max: 255 }),
    rawLength: fc.constant(0),
  })
  .map((value) => ({ ...value, rawLength: value.length }));

function bytesOf(value: FrameHeader): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_SIZE);
  encodeFrameHeader(value, bytes);
  return bytes;
}

describe('the header of a frame', () => {
  test('golden bytes', () => {
    const data = bytesOf({
      type: FRAME_TYPE.DATA,
      encoding: 2,
      file: 3,
      length: 0x1234,
      rawLength: 0x10_0000,
      offset: 0x1_0000_0002,
      crc: 0xdeadbeef,
    });
    expect(Buffer.from(data).toString('hex')).toBe(
      '5856464e' +
        '01' +
        '07' +
        '02' +
        '03' +
        '34120000' +
        '00001000' +
        '0200000001000000' +
        'efbeadde' +
        '640c46b0',
    );
    const ping = encodeMessage(FRAME_TYPE.PING, 7);
    expect(Buffer.from(ping).toString('hex')).toBe(
      '5856464e' +
        '010c0000' +
        '00000000' +
        '00000000' +
        '0700000000000000' +
        '00000000' +
        '71e4d049',
    );
  });

  test('round trip', () => {
    fc.assert(
      fc.property(header, (value) => {
        expect(decodeFrameHeader(bytesOf(value))).toEqual(value);
      }),
    );
  });

  test('has no gap', () => {
    let at = 0;
    for (const { offset, size } of FRAME_HEADER_LAYOUT) {
      expect(offset).toBe(at);
      at += size;
    }
    expect(at).toBe(FRAME_HEADER_SIZE);
  });

  test('any altered byte is found', () => {
    fc.assert(
      fc.property(
        header,
        fc.nat(FRAME_HEADER_SIZE - 1),
        fc.integer({ min: 1, max: 255 }),
        (value, at, mask) => {
          const bytes = bytesOf(value);
          bytes[at] = (bytes[at] as number) ^ mask;
          expect(() => decodeFrameHeader(bytes)).toThrow(Fault);
        },
      ),
    );
  });

  test.each([
    [{ type: 99 }, 'EPROTO'],
    [{ length: BLOCK_MAX_SIZE + 1, rawLength: BLOCK_MAX_SIZE + 1 }, 'EMSGSIZE'],
    [{ type: FRAME_TYPE.HELLO, length: 2 ** 16 + 1, rawLength: 2 ** 16 + 1 }, 'EMSGSIZE'],
    [{ encoding: 4 }, 'EPROTO'],
    [{ type: FRAME_TYPE.ACK, encoding: 2 }, 'EPROTO'],
    [{ length: 4, rawLength: 5 }, 'EPROTO'],
    [{ encoding: 1, length: 4, rawLength: 5 }, 'EPROTO'],
    [{ offset: Number.MAX_SAFE_INTEGER, length: 4, rawLength: 4 }, 'EOVERFLOW'],
  ])('refuses %j with %s', (change, code) => {
    const whole = {
      type: FRAME_TYPE.DATA,
      encoding: 0,
      file: 0,
      length: 0,
      rawLength: 0,
      offset: 0,
      crc: 0,
    };
    expect(() => decodeFrameHeader(bytesOf({ ...whole, ...change }))).toThrow(
      expect.objectContaining({ code }),
    );
  });
});

describe('a parser of frames', () => {
  test('gives the same frames however the bytes are cut', () => {
    const frames = [
      encodeMessage(FRAME_TYPE.PING, 1),
      encodeMessage(FRAME_TYPE.HELLO, 0, Buffer.from('{"a":1}')),
      encodeMessage(FRAME_TYPE.ACK, 2 ** 40),
    ];
    const all = Buffer.concat(frames);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 40 })), (cuts) => {
        const seen: [number, number, string][] = [];
        const parser = new FrameParser(
          ({ type, offset }, payload) => seen.push([type, offset, Buffer.from(payload).toString()]),
          () => new Uint8Array(BLOCK_MAX_SIZE),
        );
        let at = 0;
        for (const cut of [...cuts, all.length]) {
          parser.push(all.subarray(at, at + cut));
          at += cut;
        }
        expect(seen).toEqual([
          [FRAME_TYPE.PING, 1, ''],
          [FRAME_TYPE.HELLO, 0, '{"a":1}'],
          [FRAME_TYPE.ACK, 2 ** 40, ''],
        ]);
      }),
    );
  });

  test('any bytes give frames or a Fault', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, begun) => {
        const parser = new FrameParser(
          () => {},
          () => new Uint8Array(BLOCK_MAX_SIZE),
        );
        const start = begun ? encodeMessage(FRAME_TYPE.PING) : new Uint8Array();
        try {
          parser.push(Buffer.concat([start, bytes]));
        } catch (error) {
          expect(error).toBeInstanceOf(Fault);
        }
      }),
    );
  });
});

describe('the JSON in frames', () => {
  const profile = {
    platform: 'bmg',
    deviceId: 0xe20b,
    gucVersion: { major: 70, minor: 54, patch: 0 },
  };

  test('round trips', () => {
    const hello = {
      kind: 'migrate',
      streams: 4,
      token: 'ab'.repeat(16),
      to: '/b',
      profile,
    } as const;
    expect(decodeHello(encodeHello(hello))).toMatchObject(hello);
    const welcome = {
      token: 'cd'.repeat(16),
      to: '/b',
      profile,
      migrationFlags: 3,
      lastRequest: 7,
      file: 2,
      applied: 100,
      held: [[200, 300]] as const,
      encodings: 7,
    };
    expect(decodeWelcome(encodeWelcome(welcome))).toMatchObject(welcome);
    const fault = new Fault('EBUSY', 'another session owns it');
    expect(decodeReply(encodeReply({ fault }))).toEqual({ fault });
    const request = { op: 'set', state: 4, dataEnd: 12 } as const;
    expect(decodeRequest(encodeJson(request))).toEqual(request);
  });

  test.each([
    { applied: 5, held: [[4, 6]] },
    { held: [[9, 9]] },
    { held: 'no' },
    { token: 'xyz' },
    { applied: -1 },
    { encodings: 'all' },
  ])('refuses a WELCOME with %j', (change) => {
    const told = { token: 'cd'.repeat(16), to: '/b', migrationFlags: 3, lastRequest: 0, file: 0 };
    const payload = encodeJson({ ...told, applied: 0, held: [], encodings: 7, ...change });
    expect(() => decodeWelcome(payload)).toThrow(expect.objectContaining({ code: 'EPROTO' }));
  });

  test('any JSON and any bytes give a value or a Fault', () => {
    const decoders = [
      decodeHello,
      decodeWelcome,
      decodeRequest,
      decodeReply,
      decodeRefuse,
      decodeEvent,
      decodeReport,
    ];
    const payload = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      fc.json().map((text) => Buffer.from(text)),
      fc
        .record(
          {
            kind: fc.constantFrom('migrate', 1),
            streams: fc.integer(),
            held: fc.array(fc.array(fc.integer())),
            token: fc.string(),
            op: fc.constantFrom('set', 'state', null),
            state: fc.integer({ min: -1, max: 9 }),
            result: fc.jsonValue(),
            fault: fc.jsonValue(),
            type: fc.constantFrom('phase', 'progress', 'round'),
            phase: fc.constantFrom('copy', '__proto__'),
          },
          { requiredKeys: [] },
        )
        .map((value) => Buffer.from(JSON.stringify(value))),
    );
    fc.assert(
      fc.property(fc.constantFrom(...decoders), payload, (decode, bytes) => {
        try {
          decode(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(Fault);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test('a report survives', () => {
    const result = {
      streamBytes: 5,
      downtimeMs: 1.5,
      totalMs: 2.5,
      bytesPerSecond: 3,
      phases: [{ name: 'copy', ms: 1, bytes: 5 }] as const,
      rounds: [
        {
          round: 1,
          ms: 2,
          bytes: 3,
          bytesPerSecond: 4,
          dirtyBytes: 5,
          dirtyBytesPerSecond: 6,
          downtimeMs: 7,
        },
      ],
    };
    expect(decodeReport(encodeReport({ result }))).toEqual({ result });
  });
});
