import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import type { Codec } from '../../src/vfio-user/codec.ts';
import { CODECS, decode } from '../../src/vfio-user/codecs.ts';
import { LAYOUTS, type Layout, type LayoutName } from '../../src/vfio-user/layouts.ts';

const NAMES = Object.keys(LAYOUTS) as LayoutName[];

function codecOf(name: LayoutName): Codec<LayoutName> {
  return CODECS[name] as unknown as Codec<LayoutName>;
}

function layoutOf(name: LayoutName): Layout {
  return LAYOUTS[name];
}

/** Any value of a structure. */
function anyValue(name: LayoutName): fc.Arbitrary<Record<string, number>> {
  const arbitraries: Record<string, fc.Arbitrary<number>> = {};
  for (const [field, [, size]] of Object.entries(layoutOf(name).fields))
    arbitraries[field] = fc.nat({
      max: size === 8 ? Number.MAX_SAFE_INTEGER : 2 ** (size * 8) - 1,
    });
  return fc.record(arbitraries);
}

/** A field's value as its place in the bytes says it. */
function fieldAt(bytes: Uint8Array, at: number, size: number): bigint {
  let value = 0n;
  for (let index = size - 1; index >= 0; index--)
    value = (value << 8n) | BigInt(bytes[at + index] as number);
  return value;
}

describe.each(NAMES)('%s', (name) => {
  const codec = codecOf(name);
  const layout = layoutOf(name);

  test('the layout has no holes and no overlaps', () => {
    const fields = Object.values(layout.fields).sort(([a], [b]) => a - b);
    let end = 0;
    for (const [offset, size] of fields) {
      expect(offset).toBe(end);
      end = offset + size;
    }
    expect(end).toBe(layout.size);
    expect(codec.size).toBe(layout.size);
  });

  test('what is written is where the layout says, and is read again', () => {
    fc.assert(
      fc.property(anyValue(name), fc.nat({ max: 9 }), (value, at) => {
        const bytes = new Uint8Array(at + codec.size + 3);
        const view = new DataView(bytes.buffer);
        codec.write(view, at, value as never);
        for (const [field, [offset, size]] of Object.entries(layout.fields))
          expect(fieldAt(bytes, at + offset, size)).toBe(BigInt(value[field] as number));
        expect(codec.read(view, at)).toEqual(value);
        expect(bytes.subarray(0, at).every((byte) => byte === 0)).toBe(true);
        expect(bytes.subarray(at + codec.size).every((byte) => byte === 0)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  test('any bytes give a value or a Fault', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 48 }), (bytes) => {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
        if (bytes.length < layout.size) {
          expect(() => decode(name, view, 0, bytes.length)).toThrow(Fault);
          return;
        }
        const value = decode(name, view, 0, bytes.length) as unknown as Record<string, number>;
        for (const [field, [offset, size]] of Object.entries(layout.fields)) {
          const exact = fieldAt(bytes, offset, size);
          const read = exact <= Number.MAX_SAFE_INTEGER ? Number(exact) : Number.POSITIVE_INFINITY;
          expect(value[field]).toBe(read);
        }
      }),
      { numRuns: 50 },
    );
  });
});

/** Bytes as a C program with the specification's structures lays them out. */
const GOLDEN: Readonly<Record<LayoutName, readonly [Record<string, number>, string]>> = {
  header: [
    { id: 0x1234, command: 16, size: 32, flags: 0x21, error: 22 },
    '3412 1000 20000000 21000000 16000000',
  ],
  version: [{ major: 0, minor: 1 }, '0000 0100'],
  dmaMap: [
    { argsz: 32, flags: 3, offset: 0x1000, address: 0x1_0000_0000, size: 0x20_0000 },
    '20000000 03000000 0010000000000000 0000000001000000 0000200000000000',
  ],
  dmaUnmap: [
    { argsz: 24, flags: 2, address: 0x1_0000_0000, size: 0x20_0000 },
    '18000000 02000000 0000000001000000 0000200000000000',
  ],
  deviceInfo: [
    { argsz: 16, flags: 3, numRegions: 9, numIrqs: 5 },
    '10000000 03000000 09000000 05000000',
  ],
  regionInfo: [
    { argsz: 64, flags: 15, index: 2, capOffset: 32, size: 0x1000_0000, offset: 0x8000 },
    '40000000 0f000000 02000000 20000000 0000001000000000 0080000000000000',
  ],
  capHeader: [{ id: 1, version: 1, next: 0 }, '0100 0100 00000000'],
  sparseMmap: [{ nrAreas: 2, reserved: 0 }, '02000000 00000000'],
  sparseArea: [{ offset: 0x80_0000, size: 0x80_0000 }, '0000800000000000 0000800000000000'],
  regionIoFds: [
    { argsz: 4096, flags: 0, index: 1, count: 0 },
    '00100000 00000000 01000000 00000000',
  ],
  irqInfo: [{ argsz: 16, flags: 9, index: 1, count: 32 }, '10000000 09000000 01000000 20000000'],
  irqSet: [
    { argsz: 20, flags: 0x24, index: 1, start: 2, count: 3 },
    '14000000 24000000 01000000 02000000 03000000',
  ],
  regionAccess: [{ offset: 0x19_0240, region: 0, count: 4 }, '4002190000000000 00000000 04000000'],
  dmaAccess: [{ address: 0xfedc_ba98_7000, count: 4096 }, '007098badcfe0000 0010000000000000'],
  writeMulti: [{ wrCnt: 2 }, '0200000000000000'],
  singleWrite: [
    { offset: 4, region: 7, count: 2, data: 0x0406 },
    '0400000000000000 07000000 02000000 0604000000000000',
  ],
  feature: [{ argsz: 16, flags: 0x2_0002 }, '10000000 02000200'],
  featureMigration: [{ flags: 3 }, '0300000000000000'],
  featureDeviceState: [{ deviceState: 3, dataFd: 0xffff_ffff }, '03000000 ffffffff'],
  featureDataSize: [{ stopCopyLength: 0x1_0000_0040 }, '4000000001000000'],
  featureLogControl: [
    { pageSize: 4096, numRanges: 1, reserved: 0 },
    '0010000000000000 01000000 00000000',
  ],
  featureLogRange: [{ iova: 0x1000, length: 0x4000 }, '0010000000000000 0040000000000000'],
  featureLogReport: [
    { iova: 0x1000, length: 0x4000, pageSize: 4096 },
    '0010000000000000 0040000000000000 0010000000000000',
  ],
  precopyInfo: [
    { argsz: 32, flags: 1, initialBytes: 0x1_0000, dirtyBytes: 0x2_0000_0000 },
    '20000000 01000000 0000010000000000 0000000002000000',
  ],
  precopyStop: [{ stopUs: 1500, staleUs: 0x1_0000 }, 'dc05000000000000 0000010000000000'],
  migData: [{ argsz: 1048584, size: 1048576 }, '08001000 00001000'],
};

test.each(NAMES)('the bytes of %s', (name) => {
  const [value, hex] = GOLDEN[name];
  const codec = codecOf(name);
  const bytes = new Uint8Array(codec.size);
  codec.write(new DataView(bytes.buffer), 0, value as never);
  expect(Buffer.from(bytes).toString('hex')).toBe(hex.replaceAll(' ', ''));
});
