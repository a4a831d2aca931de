/** Reads the stream of a file in order and, in a checkpoint, checks every byte of it on the way. */
import { createHash, type Hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { StreamFault } from '../base/fault.ts';
import { PACKET_HEADER_SIZE, packetTypeName } from '../xe/migration-packet.ts';
import { type CheckpointFooter, encodeFooterHead } from './checkpoint-format.ts';
import type { IndexEntry } from './checkpoint-index.ts';
import type { StreamFile } from './stream-file.ts';

/** Bytes read at once by {@link StreamReader.chunks}. */
const CHUNK_SIZE = 4 * 2 ** 20;

/**
 * A reader of one pass over a stream.
 *
 * In a checkpoint whose index is whole, a packet that was altered is found when its last byte is
 * read, and the last bytes of the stream are only handed out when all of the file was found to be as
 * it was written: whoever restores from here never sees the trailer of a damaged checkpoint.
 */
export class StreamReader {
  readonly #file: StreamFile;
  readonly #index: readonly IndexEntry[] | undefined;
  readonly #footer: CheckpointFooter | undefined;
  readonly #hash: Hash | undefined;
  #position = 0;
  #packet = 0;
  #crc = 0;
  /** The first fault, kept: whoever reads on gets it again. */
  #fault: StreamFault | undefined;

  constructor(file: StreamFile) {
    this.#file = file;
    const { checkpoint } = file;
    if (checkpoint?.index === undefined) return;
    this.#index = checkpoint.index;
    this.#footer = checkpoint.footer;
    this.#hash = createHash('sha256').update(checkpoint.headerBytes);
  }

  /** Bytes of the stream read so far. */
  get position(): number {
    return this.#position;
  }

  /**
   * Reads the next bytes of the stream into `into`.
   * @returns how many; fewer than asked for only at the end of the stream, 0 after it
   * @throws {StreamFault} EBADMSG with the place of a packet that was altered
   * @throws {Fault} EIO when the file cannot be read
   */
  async read(into: Uint8Array): Promise<number> {
    const count = await this.#file.readAt(into, this.#position);
    if (this.#fault !== undefined) throw this.#fault;
    if (this.#index !== undefined && count > 0) this.#check(into.subarray(0, count), this.#index);
    this.#position += count;
    return count;
  }

  /**
   * The rest of the stream, piece by piece; each piece is valid until the next one is asked for.
   * @param size bytes of a piece
   * @throws {StreamFault} EBADMSG with the place of a packet that was altered
   * @throws {Fault} EIO when the file cannot be read
   */
  async *chunks(size: number = CHUNK_SIZE): AsyncGenerator<Uint8Array, void, void> {
    const buffer = new Uint8Array(Math.max(Math.min(size, this.#file.streamBytes), 1));
    for (;;) {
      const count = await this.read(buffer);
      if (count === 0) return;
      yield buffer.subarray(0, count);
    }
  }

  #check(bytes: Uint8Array, index: readonly IndexEntry[]): void {
    this.#hash?.update(bytes);
    for (let at = 0; at < bytes.length; ) {
      const entry = index[this.#packet];
      if (entry === undefined) throw new RangeError('the index ends before the stream');
      const end = entry.offset + PACKET_HEADER_SIZE + entry.size;
      const taken = Math.min(end - (this.#position + at), bytes.length - at);
      this.#crc = crc32(bytes.subarray(at, at + taken), this.#crc);
      at += taken;
      if (this.#position + at < end) return;
      if (this.#crc !== entry.crc)
        this.#altered(entry, `the ${packetTypeName(entry.type)} packet of GT ${entry.gt}`);
      this.#packet++;
      this.#crc = 0;
      if (this.#packet === index.length) this.#checkAll(entry);
    }
  }

  #checkAll(last: IndexEntry): void {
    const { checkpoint } = this.#file;
    if (this.#footer === undefined || checkpoint === undefined) return;
    const sha256 = this.#hash
      ?.update(checkpoint.indexBytes)
      .update(encodeFooterHead(this.#footer))
      .digest();
    if (sha256?.equals(this.#footer.sha256) === true) return;
    this.#altered(last, 'the checkpoint', 'SHA-256');
  }

  #altered({ offset }: IndexEntry, what: string, check = 'CRC'): never {
    this.#fault = new StreamFault(
      'EBADMSG',
      `${what} was altered after it was saved: its ${check} does not match`,
      { offset, packet: this.#packet },
      { hint: 'restore from another copy of the checkpoint' },
    );
    throw this.#fault;
  }
}
