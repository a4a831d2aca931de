/** Writes the state of a VF to a file: a checkpoint, or the plain Linux stream. */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { Fault } from '../base/fault.ts';
import type { PacketHeader } from '../xe/migration-packet.ts';
import { StreamRules } from '../xe/migration-stream.ts';
import { AtomicFile, type OpenFile } from './atomic-file.ts';
import {
  type CheckpointHeader,
  encodeCheckpointFooter,
  encodeCheckpointHeader,
  encodeFooterHead,
} from './checkpoint-format.ts';
import { encodeIndex, INDEX_MAX_PACKETS, type IndexEntry } from './checkpoint-index.ts';
import { PacketParser } from './packet-parser.ts';

/** What was written. */
export interface CheckpointSummary {
  readonly path: string;
  /** Bytes of the file. */
  readonly fileBytes: number;
  /** Bytes of the stream in it. */
  readonly streamBytes: number;
  readonly packets: number;
  /** Hex digits; of a checkpoint's bytes in front of the digest, or of the whole plain stream. */
  readonly sha256: string;
}

/** How to write. */
export interface CheckpointWriterOptions {
  /** True for the plain Linux stream, without header and index. */
  readonly raw?: boolean | undefined;
  /** True for a plain stream of another driver than xe's, whose form is not known: kept unexamined. */
  readonly opaque?: boolean | undefined;
  /** How files are opened. */
  readonly open?: OpenFile | undefined;
}

/**
 * A checkpoint on its way to disk. Until {@link finish} nothing is under its name, and what was there
 * before stays.
 *
 * @example
 * const writer = await CheckpointWriter.create('vm.xevf', { profile });
 * for await (const bytes of stream) await writer.write(bytes);
 * await writer.finish();
 */
export class CheckpointWriter {
  readonly #file: AtomicFile;
  readonly #raw: boolean;
  readonly #opaque: boolean;
  readonly #hash = createHash('sha256');
  readonly #index: IndexEntry[] = [];
  readonly #rules = new StreamRules({});
  readonly #parser: PacketParser;
  #header: PacketHeader | undefined;
  #headerOffset = 0;
  #crc = 0;

  private constructor(file: AtomicFile, raw: boolean, opaque: boolean) {
    this.#file = file;
    this.#raw = raw || opaque;
    this.#opaque = opaque;
    this.#parser = new PacketParser({
      header: (header, offset, bytes) => this.#begin(header, offset, bytes),
      payload: (bytes) => {
        if (!this.#raw) this.#crc = crc32(bytes, this.#crc);
      },
      end: () => this.#end(),
    });
  }

  /**
   * Begins a file.
   * @throws {Fault} EEXIST when the name is that of a device, directory or pipe; ENOENT, EACCES,
   * ENOSPC ... as opening gives
   */
  static async create(
    path: string,
    header: CheckpointHeader,
    { raw = false, opaque = false, open }: CheckpointWriterOptions = {},
  ): Promise<CheckpointWriter> {
    const writer = new CheckpointWriter(await AtomicFile.create(path, open), raw, opaque);
    if (!writer.#raw) await writer.#put(encodeCheckpointHeader(header));
    return writer;
  }

  /** Bytes of the stream taken so far. */
  get streamBytes(): number {
    return this.#opaque ? this.#file.length : this.#parser.length;
  }

  /**
   * Takes the next bytes of the stream, cut anywhere.
   * @throws {StreamFault} when they are no stream
   * @throws {Fault} E2BIG for too many packets, ENOSPC, EDQUOT, EIO ...
   * Whatever is thrown, what was written is removed.
   */
  async write(bytes: Uint8Array): Promise<void> {
    try {
      if (!this.#opaque) this.#parser.push(bytes);
    } catch (error) {
      await this.abort();
      throw error;
    }
    await this.#put(bytes);
  }

  /**
   * Completes the file: index, footer, everything on disk, and only then its name.
   * @throws {StreamFault} ETIMEDOUT when the trailer is missing
   * @throws {Fault} ENOSPC, EIO ...
   * Whatever is thrown, what was written is removed.
   */
  async finish(): Promise<CheckpointSummary> {
    try {
      if (!this.#opaque) this.#rules.end(this.#parser.length);
    } catch (error) {
      await this.abort();
      throw error;
    }
    const sha256 = this.#raw ? this.#hash.digest() : await this.#finishIndex();
    await this.#file.finish();
    return {
      path: this.#file.path,
      fileBytes: this.#file.length,
      streamBytes: this.streamBytes,
      packets: this.#rules.packets,
      sha256: sha256.toString('hex'),
    };
  }

  /** Removes what was written; does nothing after {@link finish}. Idempotent. */
  async abort(): Promise<void> {
    await this.#file.abort();
  }

  async #finishIndex(): Promise<Buffer> {
    const index = encodeIndex(this.#index);
    await this.#put(index);
    const footer = {
      streamBytes: this.#parser.length,
      packets: this.#index.length,
      indexCrc: crc32(index),
    };
    const sha256 = this.#hash.update(encodeFooterHead(footer)).digest();
    await this.#file.write(encodeCheckpointFooter({ ...footer, sha256 }));
    return sha256;
  }

  async #put(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes);
    await this.#file.write(bytes);
  }

  #begin(header: PacketHeader, offset: number, bytes: Uint8Array): void {
    this.#rules.header(header);
    if (!this.#raw && this.#index.length === INDEX_MAX_PACKETS)
      throw new Fault('E2BIG', `the stream has more than ${INDEX_MAX_PACKETS} packets`, {
        hint: 'save it with --raw',
      });
    this.#header = header;
    this.#headerOffset = offset;
    this.#crc = crc32(bytes);
  }

  #end(): void {
    if (this.#raw || this.#header === undefined) return;
    const { size, type, tile, gt } = this.#header;
    this.#index.push({ offset: this.#headerOffset, size, crc: this.#crc, type, tile, gt });
  }
}
