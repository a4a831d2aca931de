/** Streams for tests, packet by packet. */
import { readFileSync } from 'node:fs';
import {
  encodeDescriptor,
  encodePacketHeader,
  PACKET_TYPE,
} from '../../src/xe/migration-packet.ts';

/** A packet as a test writes it down; what is left out is 0, the size that of the payload. */
export interface TestPacket {
  readonly type: number;
  readonly tile?: number;
  readonly gt?: number;
  readonly version?: number;
  readonly flags?: number;
  readonly offset?: number;
  readonly size?: number;
  readonly payload?: Uint8Array;
}

/** The bytes of one packet. */
export function packetBytes(packet: TestPacket): Uint8Array {
  const payload = packet.payload ?? new Uint8Array();
  const bytes = new Uint8Array(24 + payload.length);
  encodePacketHeader(
    {
      version: packet.version ?? 1,
      type: packet.type,
      tile: packet.tile ?? 0,
      gt: packet.gt ?? 0,
      flags: packet.flags ?? 0,
      offset: packet.offset ?? 0,
      size: packet.size ?? payload.length,
    },
    new DataView(bytes.buffer),
  );
  bytes.set(payload, 24);
  return bytes;
}

/** The bytes of a stream. */
export function streamBytes(packets: readonly TestPacket[]): Uint8Array {
  return Buffer.concat(packets.map(packetBytes));
}

/** `length` bytes that are neither zero nor all the same. */
export function pattern(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => ((at * 7 + seed * 31) % 251) + 1);
}

/** The packets of a Battlemage VF with 64 KiB of GGTT, in save order; VRAM in the given chunks. */
export function bmgPackets(vramChunks: readonly number[] = [4096, 4096]): TestPacket[] {
  let offset = 0;
  const vram = vramChunks.map((size, n): TestPacket => {
    const packet = { type: PACKET_TYPE.VRAM, offset, payload: pattern(size, n) };
    offset += size;
    return packet;
  });
  return [
    { type: PACKET_TYPE.DESCRIPTOR, payload: encodeDescriptor(0xe20b, 0) },
    { type: PACKET_TYPE.GUC, payload: pattern(64) },
    { type: PACKET_TYPE.GGTT, payload: pattern(128) },
    { type: PACKET_TYPE.MMIO, payload: pattern(16) },
    ...vram,
    { type: PACKET_TYPE.GUC, gt: 1, payload: pattern(32) },
    { type: PACKET_TYPE.MMIO, gt: 1, payload: pattern(16) },
    { type: PACKET_TYPE.TRAILER },
  ];
}

/** One of the golden streams. */
export interface GoldenVector {
  readonly name: string;
  readonly file: string;
  readonly device: 'ptl' | 'bmg';
  readonly class: string;
  readonly bytes: number;
}

interface Manifest {
  readonly devices: Readonly<
    Record<
      'ptl' | 'bmg',
      {
        readonly pci_device_id: string;
        readonly pci_revision_id: number;
        readonly vf_ggtt_bytes: number;
        readonly vf_vram_bytes: number;
        readonly guc_state_bytes: Readonly<Record<string, number>>;
      }
    >
  >;
  readonly vectors: readonly GoldenVector[];
}

const GOLDEN = new URL('../fixtures/golden/', import.meta.url);

/** The golden streams with the verdicts of Linux. */
export const manifest = JSON.parse(
  readFileSync(new URL('manifest.json', GOLDEN), 'utf8'),
) as Manifest;

/** The path of a golden stream. */
export function goldenPath({ file }: GoldenVector): string {
  return new URL(file, GOLDEN).pathname;
}

/** The bytes of a golden stream. */
export function goldenBytes(vector: GoldenVector): Uint8Array {
  return readFileSync(goldenPath(vector));
}

/** The VF that a golden stream is restored to. */
export function goldenTarget(name: 'ptl' | 'bmg') {
  const device = manifest.devices[name];
  return {
    deviceId: Number(device.pci_device_id),
    revisionId: device.pci_revision_id,
    ggttSize: device.vf_ggtt_bytes,
    vramSize: device.vf_vram_bytes,
    gucStateSizes: [device.guc_state_bytes['0'] ?? 0, device.guc_state_bytes['1'] ?? 0],
  };
}
