import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import {
  CHECKPOINT_FOOTER_LAYOUT,
  CHECKPOINT_FOOTER_SIZE,
  CHECKPOINT_HEADER_LAYOUT,
  CHECKPOINT_HEADER_SIZE,
  type CheckpointFooter,
  decodeCheckpointFooter,
  decodeCheckpointHeader,
  encodeCheckpointFooter,
  encodeCheckpointHeader,
  isCheckpoint,
} from '../../src/migration/checkpoint-format.ts';
import {
  decodeIndex,
  encodeIndex,
  INDEX_ENTRY_LAYOUT,
  INDEX_ENTRY_SIZE,
} from '../../src/migration/checkpoint-index.ts';
import type { VfProfile } from '../../src/migration/vf-profile.ts';

const PROFILE: VfProfile = {
  platform: 'bmg',
  deviceId: 0xe20b,
  revisionId: 0,
  ggttSize: 512 * 2 ** 20,
  vramSize: 4 * 2 ** 30,
  contexts: 1024,
  doorbells: 16,
  gucVersion: { major: 70, minor: 54, patch: 1 },
  capabilities: 0b1011,
};

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u53 = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const profiles = fc.record(
  {
    platform: fc.stringMatching(/^[a-z0-9]{1,16}$/),
    deviceId: u32,
    revisionId: u32,
    ggttSize: u53,
    vramSize: u53,
    contexts: u32,
    doorbells: u32,
    gucVersion: fc.record({ major: u32, minor: u32, patch: u32 }),
    capabilities: u32,
  },
  { requiredKeys: [] },
);

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** The layout's fields follow each other without a hole; returns where the last one ends. */
function checkLayout(layout: readonly { name: string; offset: number; size: number }[]): number {
  let at = 0;
  for (const { name, offset, size } of layout) {
    expect([name, offset]).toEqual([name, at]);
    at = offset + size;
  }
  return at;
}

describe('checkpoint header', () => {
  it('has these bytes', () => {
    const bytes = encodeCheckpointHeader({ profile: PROFILE, createdAt: 1_767_225_600_000 });
    expect(bytes).toHaveLength(CHECKPOINT_HEADER_SIZE);
    expect(hex(bytes.subarray(0, 96))).toBe(
      [
        '89584556460d0a1a', // magic
        '01000000', // format version
        '00100000', // header size
        'ff010000', // known fields
        '0be20000', // device
        '00000000', // revision
        '00040000', // contexts
        '10000000', // doorbells
        '0b000000', // capabilities
        '0000002000000000', // GGTT
        '0000000001000000', // VRAM
        '460000003600000001000000', // GuC version
        '626d6700000000000000000000000000', // platform
        '00000000', // reserved
        '00a8da769b010000', // created
      ].join(''),
    );
    expect(bytes.subarray(96, 4092).every((byte) => byte === 0)).toBe(true);
    expect(hex(bytes.subarray(4092))).toBe('e5494f7f');
  });

  it('is what its layout says', () => {
    const last = CHECKPOINT_HEADER_LAYOUT.at(-1);
    expect(checkLayout(CHECKPOINT_HEADER_LAYOUT.slice(0, -1))).toBeLessThan(last?.offset ?? 0);
    expect((last?.offset ?? 0) + (last?.size ?? 0)).toBe(CHECKPOINT_HEADER_SIZE);
  });

  it('gives back any profile, whatever of it is known', () => {
    fc.assert(
      fc.property(
        profiles,
        fc.option(fc.integer({ min: 1, max: 2 ** 48 })),
        (profile, createdAt) => {
          const header = { profile, createdAt: createdAt ?? undefined };
          expect(decodeCheckpointHeader(encodeCheckpointHeader(header))).toEqual(header);
        },
      ),
    );
  });

  it('finds any bit that was changed, and any cut', () => {
    const bytes = encodeCheckpointHeader({ profile: PROFILE });
    const bit = fc.integer({ min: 0, max: 8 * bytes.length - 1 });
    fc.assert(
      fc.property(bit, (at) => {
        const altered = bytes.slice();
        altered[at >> 3] = (altered[at >> 3] ?? 0) ^ (1 << (at & 7));
        expect(() => decodeCheckpointHeader(altered)).toThrow(Fault);
      }),
    );
    for (const length of [0, 7, 8, 95, 4095])
      expect(() => decodeCheckpointHeader(bytes.subarray(0, length))).toThrow(
        expect.objectContaining({ code: 'EUCLEAN' }),
      );
  });

  it('names another version of the format', () => {
    const bytes = encodeCheckpointHeader({ profile: PROFILE });
    const other = Buffer.from(bytes);
    other.writeUInt32LE(2, 8);
    other.writeUInt32LE(crc(other.subarray(0, 4092)), 4092);
    expect(() => decodeCheckpointHeader(other)).toThrow(
      expect.objectContaining({ code: 'EOPNOTSUPP', message: 'checkpoint format 2 is not 1' }),
    );
  });

  it.each([
    ['a time after the last one', 88],
    ['a GGTT above 2^53', 40],
    ['VRAM above 2^53', 48],
    ['a name that moves the cursor', 68],
  ])('refuses %s, its CRC being right', (_, at) => {
    const bytes = Buffer.from(encodeCheckpointHeader({ profile: PROFILE }));
    bytes.fill(0xff, at, at + 8);
    if (at === 68) bytes.write('\u001b[2J', at);
    bytes.writeUInt32LE(crc(bytes.subarray(0, 4092)), 4092);
    expect(() => decodeCheckpointHeader(bytes)).toThrow(
      expect.objectContaining({ code: 'EUCLEAN' }),
    );
  });

  it('is told from a stream by its first bytes', () => {
    expect(isCheckpoint(encodeCheckpointHeader({ profile: {} }))).toBe(true);
    expect(isCheckpoint(Uint8Array.of(1, 1, 0, 0, 0, 0, 0, 0))).toBe(false);
    expect(isCheckpoint(new Uint8Array())).toBe(false);
  });
});

describe('checkpoint index', () => {
  const entries = [
    { offset: 0, size: 16, crc: 0x01020304, type: 1, tile: 0, gt: 0 },
    { offset: 40, size: 0, crc: 0xa0b0c0d0, type: 2, tile: 1, gt: 3 },
  ];
  const footer = (bytes: Uint8Array): CheckpointFooter => ({
    streamBytes: 64,
    packets: 2,
    indexCrc: crc(bytes),
    sha256: new Uint8Array(32),
  });

  it('has these bytes', () => {
    expect(checkLayout(INDEX_ENTRY_LAYOUT)).toBe(INDEX_ENTRY_SIZE);
    expect(hex(encodeIndex(entries))).toBe(
      '0000000000000000' +
        '1000000000000000' +
        '04030201' +
        '01000000' +
        ('2800000000000000' + '0000000000000000' + 'd0c0b0a0' + '02010300'),
    );
  });

  it('is read back when it covers the stream, and only then', () => {
    const bytes = encodeIndex(entries);
    expect(decodeIndex(bytes, footer(bytes))).toEqual(entries);
    expect(() => decodeIndex(bytes, { ...footer(bytes), indexCrc: 1 })).toThrow(
      expect.objectContaining({ code: 'EBADMSG' }),
    );
    for (const wrong of [{ streamBytes: 65 }, { packets: 3 }])
      expect(() => decodeIndex(bytes, { ...footer(bytes), ...wrong })).toThrow(
        expect.objectContaining({ code: 'EUCLEAN' }),
      );
    const hole = encodeIndex(entries.map((entry, at) => ({ ...entry, offset: at * 41 })));
    expect(() => decodeIndex(hole, footer(hole))).toThrow(
      expect.objectContaining({ code: 'EUCLEAN' }),
    );
  });
});

describe('checkpoint footer', () => {
  const sha256 = Uint8Array.from({ length: 32 }, (_, at) => at);
  const footer = { streamBytes: 440, packets: 7, indexCrc: 0xdeadbeef, sha256 };
  const fileSize = 4096 + 440 + 7 * 24 + 72;

  it('has these bytes', () => {
    expect(checkLayout(CHECKPOINT_FOOTER_LAYOUT)).toBe(CHECKPOINT_FOOTER_SIZE);
    const bytes = encodeCheckpointFooter(footer);
    expect(hex(bytes.subarray(0, 68))).toBe(
      [
        '58455646454e4400', // magic
        'b801000000000000', // bytes of the stream
        '0700000000000000', // packets
        'efbeadde', // CRC of the index
        '48000000', // footer size
        '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f', // SHA-256
        '00000000', // reserved
      ].join(''),
    );
    expect(hex(bytes.subarray(68))).toBe('ce5ce7c8');
  });

  it('is read back for a file of its size', () => {
    const bytes = encodeCheckpointFooter(footer);
    expect(decodeCheckpointFooter(bytes, fileSize)).toEqual(footer);
    for (const size of [fileSize - 1, fileSize + 1, 72])
      expect(() => decodeCheckpointFooter(bytes, size)).toThrow(
        expect.objectContaining({ code: 'EUCLEAN' }),
      );
  });

  it('is found changed in any bit', () => {
    const bytes = encodeCheckpointFooter(footer);
    for (let at = 0; at < 8 * bytes.length; at++) {
      const altered = bytes.slice();
      altered[at >> 3] = (altered[at >> 3] ?? 0) ^ (1 << (at & 7));
      expect(() => decodeCheckpointFooter(altered, fileSize)).toThrow(Fault);
    }
  });
});

/** CRC-32 as in IEEE 802.3, bit by bit, to hold the codec to. */
function crc(bytes: Uint8Array): number {
  let value = 0xffff_ffff;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb8_8320 : 0);
  }
  return (value ^ 0xffff_ffff) >>> 0;
}
