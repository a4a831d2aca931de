/** Walks over the packets of a file from header to header, without reading the payloads. */
import { dataView } from '../base/int.ts';
import {
  decodePacketHeader,
  PACKET_HEADER_SIZE,
  type PacketHeader,
} from '../xe/migration-packet.ts';
import { StreamRules } from '../xe/migration-stream.ts';
import type { StreamFile } from './stream-file.ts';

/** A packet and where it lies in the stream. */
export interface PlacedPacket {
  readonly header: PacketHeader;
  /** 0-based index. */
  readonly packet: number;
  /** Of the header, bytes. */
  readonly offset: number;
}

/** Small packets that follow each other are read together. */
const WINDOW_SIZE = 64 * 1024;

/**
 * The packets of a stream up to its trailer.
 *
 * @param rules what the headers are judged by
 * @throws {StreamFault} as `StreamRules.header`; ETIMEDOUT when the stream is cut or has no trailer
 * @throws {Fault} EIO when the file cannot be read
 */
export async function* walkPackets(
  file: StreamFile,
  rules: StreamRules = new StreamRules({}),
): AsyncGenerator<PlacedPacket, void, void> {
  const window = new Uint8Array(WINDOW_SIZE);
  const view = dataView(window);
  let [start, end] = [0, 0];
  let offset = 0;
  while (!rules.ended) {
    if (offset + PACKET_HEADER_SIZE > end) {
      start = offset;
      end = offset + (await file.readAt(window, offset));
    }
    if (offset + PACKET_HEADER_SIZE > end) rules.end(end);
    const header = decodePacketHeader(view, offset - start);
    rules.header(header);
    yield { header, packet: rules.packets - 1, offset };
    offset += PACKET_HEADER_SIZE + header.size;
    if (offset > file.streamBytes) rules.end(file.streamBytes);
  }
  // In a checkpoint without its footer, what follows the trailer is the rest of an index.
  const known = file.checkpoint === undefined || file.checkpoint.footer !== undefined;
  if (known) rules.end(file.streamBytes);
}
