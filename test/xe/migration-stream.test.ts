/** What the golden streams, which `verify` and restore go through, leave open of the rules. */
import { describe, expect, it } from 'vitest';
import type { PacketHeader } from '../../src/xe/migration-packet.ts';
import { StreamRules, type StreamTarget } from '../../src/xe/migration-stream.ts';

const TARGET: StreamTarget = {
  deviceId: 0xe20b,
  revisionId: 0,
  ggttSize: 65536,
  vramSize: 4096,
  gts: [
    { id: 0, tile: 0, type: 'main', gucStateSize: 64 },
    { id: 1, tile: 0, type: 'media', gucStateSize: 32 },
  ],
};

const header = (fields: Partial<PacketHeader>): PacketHeader => ({
  version: 1,
  type: 2,
  tile: 0,
  gt: 0,
  flags: 0,
  offset: 0,
  size: 0,
  ...fields,
});

const refusal = (code: string, offset: number, packet: number) =>
  expect.objectContaining({ code, offset, packet });

describe('StreamRules', () => {
  it.each<[string, Partial<PacketHeader>, string]>([
    ['a GGTT on the media GT', { type: 3, gt: 1, size: 128 }, 'ENOENT'],
    ['VRAM on the media GT', { type: 6, gt: 1, size: 8 }, 'ENXIO'],
    ['a GuC state above 8 MiB', { type: 5, size: 8 * 2 ** 20 + 4 }, 'ENOBUFS'],
    ['a payload above 2 GiB', { type: 9, size: 2 ** 31 }, 'ENOMEM'],
    ['a descriptor above 1 MiB', { type: 1, size: 2 ** 20 + 4 }, 'ENOMEM'],
    ['a trailer with an offset', { offset: 1 }, 'EINVAL'],
    ['an unknown type for a GT that is not there', { type: 9, gt: 2 }, 'EINVAL'],
    ['VRAM whose end is above 2^53', { type: 6, offset: Infinity, size: 8 }, 'EINVAL'],
  ])('refuses %s', (_, fields, code) => {
    expect(() => new StreamRules(TARGET).header(header(fields))).toThrow(refusal(code, 0, 0));
  });

  it('judges nothing that it does not know', () => {
    const rules = new StreamRules({});
    rules.header(header({ type: 3, tile: 3, gt: 7, size: 8 }));
    rules.header(header({ type: 6, tile: 3, gt: 9, offset: 2 ** 50, size: 2 ** 40 }));
    rules.header(header({}));
    rules.end(3 * 24 + 8 + 2 ** 40);
    expect([rules.ended, rules.packets]).toEqual([true, 3]);
  });

  it('judges by what it learns on the way', () => {
    const rules = new StreamRules({});
    rules.header(header({ type: 9, gt: 5 }));
    rules.retarget(TARGET);
    expect(() => rules.header(header({ type: 9, gt: 5 }))).toThrow(refusal('EINVAL', 24, 1));
  });

  it.each([
    ['nothing', [], 0, 0, 0],
    ['half a header', [], 23, 0, 0],
    ['a packet, whole', [{ type: 4, size: 16 }], 40, 40, 1],
    ['a packet and half a header', [{ type: 4, size: 16 }], 50, 40, 1],
    ['a packet that is cut', [{ type: 4, size: 16 }], 39, 0, 0],
    [
      'two packets, the second cut',
      [
        { type: 4, size: 16 },
        { type: 5, size: 64 },
      ],
      64,
      40,
      1,
    ],
  ])('misses the trailer after %s', (_, packets, length, offset, packet) => {
    const rules = new StreamRules({});
    for (const fields of packets) rules.header(header(fields));
    expect(() => rules.end(length)).toThrow(refusal('ETIMEDOUT', offset, packet));
  });

  it('refuses what comes after the trailer, also less than a header', () => {
    const rules = new StreamRules({});
    rules.header(header({}));
    rules.end(24);
    expect(() => rules.end(25)).toThrow(refusal('EINVAL', 24, 1));
  });

  it('compares every device and revision of a descriptor', () => {
    const klv = (key: number, ...value: number[]) => [((key << 16) | value.length) >>> 0, ...value];
    const judge = (...dwords: number[][]) => {
      const rules = new StreamRules(TARGET);
      const payload = Uint8Array.from(Buffer.from(Uint32Array.from(dwords.flat()).buffer));
      rules.header(header({ type: 1, size: payload.length }));
      rules.descriptor(payload);
    };
    judge(klv(0xf001, 0xe20b), klv(0xf002, 0), klv(0xf0ff), klv(0xf001, 0xe20b, 5));
    expect(() => judge(klv(0xf002, 0), klv(0xf002, 1))).toThrow(refusal('ENODEV', 0, 0));
    expect(() => judge(klv(0xf001))).toThrow(refusal('ENODEV', 0, 0));
    expect(() => judge(klv(0xf001, 0xe20b), [0xf002_0001])).toThrow(refusal('ENODATA', 0, 0));
    // Linux judges the shape of all of it before any value.
    expect(() => judge(klv(0xf001, 1), [0xf002_0001])).toThrow(refusal('ENODATA', 0, 0));
  });
});
