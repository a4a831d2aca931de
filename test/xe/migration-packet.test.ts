import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodePacketHeader,
  encodeDescriptor,
  encodePacketHeader,
  PACKET_HEADER_LAYOUT,
  PACKET_HEADER_SIZE,
  type PacketHeader,
  packetTypeName,
} from '../../src/xe/migration-packet.ts';

const u8 = fc.integer({ min: 0, max: 255 });
const u53 = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const headers: fc.Arbitrary<PacketHeader> = fc.record({
  version: u8,
  type: u8,
  tile: u8,
  gt: u8,
  flags: fc.integer({ min: 0, max: 0xffff_ffff }),
  offset: u53,
  size: u53,
});

function encode(header: PacketHeader): Buffer {
  const bytes = Buffer.alloc(PACKET_HEADER_SIZE);
  encodePacketHeader(header, new DataView(bytes.buffer, bytes.byteOffset, bytes.length));
  return bytes;
}

describe('packet header', () => {
  it('has these bytes', () => {
    const header = { version: 1, type: 6, tile: 2, gt: 3, flags: 4, offset: 2 ** 33, size: 0x1234 };
    expect(encode(header).toString('hex')).toBe(
      '01060203' + '04000000' + '0000000002000000' + '3412000000000000',
    );
  });

  it('is read back as it was written, at any place', () => {
    fc.assert(
      fc.property(headers, fc.nat(9), (header, at) => {
        const bytes = Buffer.concat([Buffer.alloc(at, 0xff), encode(header)]);
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
        expect(decodePacketHeader(view, at)).toEqual(header);
      }),
    );
  });

  it('is what its layout says', () => {
    const names = { tile_id: 'tile', gt_id: 'gt' } as Readonly<Record<string, keyof PacketHeader>>;
    fc.assert(
      fc.property(headers, (header) => {
        const bytes = encode(header);
        let next = 0;
        for (const { name, offset, size } of PACKET_HEADER_LAYOUT) {
          expect(offset).toBe(next);
          next += size;
          const value = BigInt(header[names[name] ?? (name as keyof PacketHeader)]);
          const field = Buffer.alloc(8);
          bytes.copy(field, 0, offset, offset + size);
          expect([name, field.readBigUInt64LE()]).toEqual([name, value]);
        }
        expect(next).toBe(PACKET_HEADER_SIZE);
      }),
    );
  });

  it('gives infinity for what is above 2^53-1', () => {
    const bytes = Buffer.alloc(24, 0xff);
    const { offset, size } = decodePacketHeader(new DataView(bytes.buffer, bytes.byteOffset, 24));
    expect([offset, size]).toEqual([Infinity, Infinity]);
  });
});

describe('packet types and descriptors', () => {
  it('have the names of the kernel', () => {
    expect([1, 2, 3, 4, 5, 6, 0, 7].map(packetTypeName)).toEqual([
      'DESCRIPTOR',
      'TRAILER',
      'GGTT',
      'MMIO',
      'GUC',
      'VRAM',
      'UNKNOWN(0)',
      'UNKNOWN(7)',
    ]);
  });

  it('have the bytes that Linux saves', () => {
    expect(Buffer.from(encodeDescriptor(0xe20b, 4)).toString('hex')).toBe(
      '010001f0' + '0be20000' + '010002f0' + '04000000',
    );
  });
});
