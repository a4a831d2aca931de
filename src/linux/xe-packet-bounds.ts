/** Where the packets of a stream that flows by end. */
import { dataView } from '../base/int.ts';
import {
  decodePacketHeader,
  PACKET_HEADER_SIZE,
  type PacketHeader,
} from '../xe/migration-packet.ts';

/** Follows a stream of packets; nothing is judged. */
export class PacketBounds {
  readonly #header = new Uint8Array(PACKET_HEADER_SIZE);
  readonly #onHeader: ((header: PacketHeader) => void) | undefined;
  #received = 0;
  #payload = 0;

  /** @param onHeader is told of every header */
  constructor(onHeader?: (header: PacketHeader) => void) {
    this.#onHeader = onHeader;
  }

  /** Bytes to the end of what is known of the current packet: 0 between two packets. */
  get left(): number {
    if (this.#payload > 0) return this.#payload;
    return this.#received === 0 ? 0 : PACKET_HEADER_SIZE - this.#received;
  }

  /** Takes the next bytes of the stream. */
  take(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#payload > 0) {
        const count = Math.min(this.#payload, bytes.length - at);
        this.#payload -= count;
        at += count;
        continue;
      }
      const count = Math.min(PACKET_HEADER_SIZE - this.#received, bytes.length - at);
      this.#header.set(bytes.subarray(at, at + count), this.#received);
      this.#received += count;
      at += count;
      if (this.#received < PACKET_HEADER_SIZE) return;
      this.#received = 0;
      const header = decodePacketHeader(dataView(this.#header));
      this.#payload = header.size;
      this.#onHeader?.(header);
    }
  }
}
