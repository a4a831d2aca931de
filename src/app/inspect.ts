/** `inspect`: what is in this file? */
import { Fault, StreamFault } from '../base/fault.ts';
import { dataView } from '../base/int.ts';
import type { CheckpointHeader } from '../migration/checkpoint-format.ts';
import { type DescriptorKlv, decodeDescriptor } from '../migration/descriptor.ts';
import { walkPackets } from '../migration/packet-walk.ts';
import type { StreamFile } from '../migration/stream-file.ts';
import {
  type InspectedDescriptor,
  PacketCollector,
  type PacketRow,
  packetRow,
} from '../migration/stream-inspect.ts';
import type { ResourceTotal } from '../migration/stream-tally.ts';
import { StreamVerifier } from '../migration/stream-verify.ts';
import { decodePacketHeader, PACKET_HEADER_SIZE, PACKET_TYPE } from '../xe/migration-packet.ts';
import {
  formatOf,
  type OfflineOptions,
  readStream,
  type StreamFormat,
  withStreamFile,
} from './offline.ts';

/** Where and why looking at a stream stopped. */
export interface Stopped {
  /** Name of the errno. */
  readonly errno: string;
  /** Byte offset in the stream of the offending packet's header. */
  readonly offset: number;
  readonly packet: number;
  readonly reason: string;
}

/** What is in a file. */
export interface Inspection {
  readonly format: StreamFormat;
  readonly fileBytes: number;
  /** Bytes of the stream that were looked at. */
  readonly bytes: number;
  /** Header of a checkpoint. */
  readonly header: CheckpointHeader | undefined;
  readonly packets: readonly PacketRow[];
  /** Packets that are not listed. */
  readonly omitted: number;
  readonly descriptors: readonly InspectedDescriptor[];
  readonly resources: readonly ResourceTotal[];
  /** Undefined when all of it is there and in order. */
  readonly stopped: Stopped | undefined;
}

/**
 * Lists the packets of a stream or checkpoint, as far as it goes.
 *
 * @param rows packets that are listed; the others are counted
 * @throws {Fault} when the file cannot be read, ECANCELED when called off
 */
export function inspectFile(
  path: string,
  rows: number,
  options: OfflineOptions = {},
): Promise<Inspection> {
  return withStreamFile(path, async (file) => {
    const damage = file.checkpoint?.damage;
    const observer = new PacketCollector(rows);
    const verifier = new StreamVerifier({}, { observer, stopAtTrailer: damage !== undefined });
    let stopped: Stopped | undefined;
    try {
      const take = (bytes: Uint8Array) => {
        verifier.push(bytes);
        return verifier.stopped;
      };
      await readStream(file, take, options);
      verifier.finish();
      if (damage !== undefined) {
        const place = damage.part === 'header' ? [0, 0] : [verifier.length, verifier.packets];
        const [offset = 0, packet = 0] = place;
        throw new StreamFault(damage.fault.code, damage.fault.message, { offset, packet });
      }
    } catch (error) {
      if (!(error instanceof StreamFault)) throw error;
      const { code: errno, offset, packet, message: reason } = error;
      stopped = { errno, offset, packet, reason };
    }
    return {
      format: formatOf(file),
      fileBytes: file.fileBytes,
      bytes: verifier.length,
      header: file.checkpoint?.header,
      packets: observer.rows,
      omitted: observer.omitted,
      descriptors: observer.descriptors,
      resources: verifier.report().resources,
      stopped,
    };
  });
}

/** One packet with its bytes. */
export interface PacketBytes {
  readonly row: Omit<PacketRow, 'present' | 'zeros'>;
  /** KLVs of a descriptor. */
  readonly klvs: readonly DescriptorKlv[] | undefined;
  /** The 24 bytes of the header. */
  readonly header: Uint8Array;
  /** The first bytes of the payload. */
  readonly payload: Uint8Array;
}

/**
 * Reads one packet.
 *
 * @param packet 0-based index
 * @param limit bytes of payload that are read at most
 * @throws {StreamFault} when the stream is broken in front of it
 * @throws {Fault} ENOENT when the stream has fewer packets
 */
export function inspectPacket(path: string, packet: number, limit: number): Promise<PacketBytes> {
  return withStreamFile(path, async (file) => {
    const offset = await locate(file, packet);
    const raw = new Uint8Array(PACKET_HEADER_SIZE);
    await file.readAt(raw, offset);
    const header = decodePacketHeader(dataView(raw));
    const rest = file.streamBytes - offset - PACKET_HEADER_SIZE;
    const bytes = new Uint8Array(Math.min(limit, header.size, rest));
    const count = await file.readAt(bytes, offset + PACKET_HEADER_SIZE);
    const payload = bytes.subarray(0, count);
    const { present: _, zeros: __, ...row } = packetRow(header, packet, offset);
    const isDescriptor = header.type === PACKET_TYPE.DESCRIPTOR;
    const klvs = isDescriptor ? decodeDescriptor(payload) : undefined;
    return { row, klvs, header: raw, payload };
  });
}

/** Where a packet begins; also of one that is refused, when its header is there. */
async function locate(file: StreamFile, wanted: number): Promise<number> {
  let packets = 0;
  try {
    for await (const { packet, offset } of walkPackets(file)) {
      packets++;
      if (packet === wanted) return offset;
    }
  } catch (error) {
    const isIt = error instanceof StreamFault && error.packet === wanted;
    if (isIt && error.offset + PACKET_HEADER_SIZE <= file.streamBytes) return error.offset;
    throw error;
  }
  throw new Fault('ENOENT', `${file.path} has ${packets} packets; there is no packet ${wanted}`, {
    hint: `xe-vfio inspect ${file.path}`,
  });
}
