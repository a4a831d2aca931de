/** Cuts the bytes of a stream into packets as they come, in pieces of any size. */
import { dataView } from '../base/int.ts';
import {
  decodePacketHeader,
  PACKET_HEADER_SIZE,
  PACKET_TYPE,
  type PacketHeader,
} from '../xe/migration-packet.ts';

/** Hears of the packets of a stream, in order; what it throws ends the parsing. */
export interface PacketHandler {
  /**
   * A header is in.
   * @param offset of the header in the stream, bytes
   * @param raw its 24 bytes, valid during the call
   */
  header(header: PacketHeader, offset: number, raw: Uint8Array): void;
  /**
   * The next bytes of the payload, valid during the call.
   * @param at where they lie in the payload
   */
  payload(bytes: Uint8Array, at: number): void;
  /** The payload is complete. */
  end(): void;
}

/** How a parser works. */
export interface PacketParserOptions {
  /** True to take nothing after the trailer: where the end of the stream is not known otherwise. */
  readonly stopAtTrailer?: boolean | undefined;
}

/** A parser that keeps nothing but a header that is cut. */
export class PacketParser {
  readonly #handler: PacketHandler;
  readonly #stopAtTrailer: boolean;
  readonly #header = new Uint8Array(PACKET_HEADER_SIZE);
  readonly #headerView = dataView(this.#header);
  #headerBytes = 0;
  #size = 0;
  #at = 0;
  #length = 0;
  #type = 0;
  #stopped = false;

  constructor(handler: PacketHandler, { stopAtTrailer = false }: PacketParserOptions = {}) {
    this.#handler = handler;
    this.#stopAtTrailer = stopAtTrailer;
  }

  /** True when the trailer is in and nothing more is taken. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Bytes taken so far. */
  get length(): number {
    return this.#length;
  }

  /** Takes the next bytes of the stream. */
  push(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length && !this.#stopped; ) {
      const taken =
        this.#headerBytes < PACKET_HEADER_SIZE
          ? this.#takeHeader(bytes, from)
          : this.#takePayload(bytes, from);
      from += taken;
    }
  }

  #takeHeader(bytes: Uint8Array, from: number): number {
    const taken = Math.min(PACKET_HEADER_SIZE - this.#headerBytes, bytes.length - from);
    this.#header.set(bytes.subarray(from, from + taken), this.#headerBytes);
    this.#headerBytes += taken;
    this.#length += taken;
    if (this.#headerBytes === PACKET_HEADER_SIZE) {
      const header = decodePacketHeader(this.#headerView);
      this.#size = header.size;
      this.#type = header.type;
      this.#at = 0;
      this.#handler.header(header, this.#length - PACKET_HEADER_SIZE, this.#header);
      if (this.#size === 0) this.#endPacket();
    }
    return taken;
  }

  #takePayload(bytes: Uint8Array, from: number): number {
    const taken = Math.min(this.#size - this.#at, bytes.length - from);
    this.#length += taken;
    this.#handler.payload(bytes.subarray(from, from + taken), this.#at);
    this.#at += taken;
    if (this.#at === this.#size) this.#endPacket();
    return taken;
  }

  #endPacket(): void {
    this.#headerBytes = 0;
    this.#handler.end();
    this.#stopped = this.#stopAtTrailer && this.#type === PACKET_TYPE.TRAILER;
  }
}
