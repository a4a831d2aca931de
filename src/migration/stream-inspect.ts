/** Lists the packets of a stream, as far as it goes. */
import { PACKET_TYPE, type PacketHeader, packetTypeName } from '../xe/migration-packet.ts';
import { type DescriptorKlv, decodeDescriptor } from './descriptor.ts';
import type { PacketHandler } from './packet-parser.ts';
import { countZeros } from './zero-count.ts';

/** One packet of a stream. */
export interface PacketRow {
  /** 0-based index. */
  readonly packet: number;
  /** Of the header in the stream, bytes. */
  readonly offset: number;
  readonly version: number;
  /** Name of the type. */
  readonly type: string;
  readonly tile: number;
  readonly gt: number;
  readonly flags: number;
  /** Where the payload belongs in its resource, bytes; `null` when above 2^53-1. */
  readonly resourceOffset: number | null;
  /** Bytes of payload that the header says; `null` when above 2^53-1. */
  readonly size: number | null;
  /** Bytes of the payload that are there. */
  readonly present: number;
  /** How many of those are zero. */
  readonly zeros: number;
}

/** A descriptor and its KLVs. */
export interface InspectedDescriptor {
  readonly packet: number;
  readonly klvs: readonly DescriptorKlv[];
}

/** Descriptors that are taken apart; only a hostile stream has more than a few. */
const DESCRIPTORS_MAX = 16;
/** A descriptor above this is not taken apart: the rules refuse it. */
const DESCRIPTOR_MAX_SIZE = 2 ** 20;

/** The row of a header, nothing of whose payload is in yet. */
export function packetRow(header: PacketHeader, packet: number, offset: number): PacketRow {
  const finite = (value: number) => (Number.isFinite(value) ? value : null);
  return {
    packet,
    offset,
    version: header.version,
    type: packetTypeName(header.type),
    tile: header.tile,
    gt: header.gt,
    flags: header.flags,
    resourceOffset: finite(header.offset),
    size: finite(header.size),
    present: 0,
    zeros: 0,
  };
}

/** Collects the first packets of a stream as it is parsed, and counts the others. */
export class PacketCollector implements PacketHandler {
  readonly #rowsMax: number;
  readonly #rows: PacketRow[] = [];
  readonly #descriptors: InspectedDescriptor[] = [];
  #packets = 0;
  #row: PacketRow | undefined;
  #present = 0;
  #zeros = 0;
  #descriptor: Uint8Array | undefined;

  /** @param rowsMax packets that are listed */
  constructor(rowsMax: number) {
    this.#rowsMax = rowsMax;
  }

  /** The first packets; the last one may be cut or refused. */
  get rows(): readonly PacketRow[] {
    this.#settle();
    return this.#rows;
  }

  /** Packets that came but are not listed. */
  get omitted(): number {
    return this.#packets - this.rows.length;
  }

  /** The descriptors that are whole. */
  get descriptors(): readonly InspectedDescriptor[] {
    return this.#descriptors;
  }

  header(header: PacketHeader, offset: number): void {
    this.#settle();
    const packet = this.#packets++;
    this.#present = 0;
    this.#zeros = 0;
    this.#row = this.#rows.length < this.#rowsMax ? packetRow(header, packet, offset) : undefined;
    const wanted =
      header.type === PACKET_TYPE.DESCRIPTOR &&
      header.size <= DESCRIPTOR_MAX_SIZE &&
      this.#descriptors.length < DESCRIPTORS_MAX;
    this.#descriptor = wanted ? new Uint8Array(header.size) : undefined;
  }

  payload(bytes: Uint8Array, at: number): void {
    this.#descriptor?.set(bytes, at);
    if (this.#row === undefined) return;
    this.#present += bytes.length;
    this.#zeros += countZeros(bytes);
  }

  end(): void {
    this.#settle();
    if (this.#descriptor === undefined) return;
    const klvs = decodeDescriptor(this.#descriptor);
    this.#descriptors.push({ packet: this.#packets - 1, klvs });
    this.#descriptor = undefined;
  }

  #settle(): void {
    if (this.#row === undefined) return;
    this.#rows.push({ ...this.#row, present: this.#present, zeros: this.#zeros });
    this.#row = undefined;
  }
}
