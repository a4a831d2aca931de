/**
 * Writing the state of a VF to the PF's `migration_data`.
 *
 * Two things protect the PF driver of Linux 7.3. Every header is judged before the PF sees it: some
 * that it should refuse make it crash. And only whole packets are written, by one write(2) each:
 * half a packet would stay in the PF over a reset and spoil the next session, whereas a writer may
 * be killed between two at any time. VRAM, which comes in packets of up to 512 MiB, is passed on in
 * packets of 8 MiB; the PF applies each where its header says.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_pf_migration.c (xe_sriov_pf_migration_write),
 * xe_sriov_packet.c (xe_sriov_packet_write_single, pkt_hdr_write).
 */
import { type Fault, toFault } from '../base/fault.ts';
import { dataView } from '../base/int.ts';
import {
  decodePacketHeader,
  encodePacketHeader,
  PACKET_HEADER_SIZE,
  PACKET_TYPE,
  type PacketHeader,
} from '../xe/migration-packet.ts';
import { StreamRules, type StreamTarget } from '../xe/migration-stream.ts';
import type { BlockingFiles } from './sysfs-files.ts';

/** The greatest piece of VRAM that is written as a packet of its own. */
const PIECE_SIZE = 8 * 2 ** 20;
/** The payload lies on a page of the shared memory, its header right before it. */
const PAYLOAD_AT = 4096;
const HEADER_AT = PAYLOAD_AT - PACKET_HEADER_SIZE;

/** The packet that comes in. */
interface Arriving {
  readonly header: PacketHeader;
  /** Unknown types are skipped by Linux; they do not go to the PF. */
  readonly skipped: boolean;
  /** Bytes of its payload that were passed on, and that are collected since. */
  passed: number;
  collected: number;
}

/** One restoring of one VF, from its beginning to its end. */
export class XeRestoreStream {
  readonly #files: BlockingFiles;
  readonly #rules: StreamRules;
  readonly #stallMs: number;
  readonly #header = new Uint8Array(PACKET_HEADER_SIZE);
  #headerReceived = 0;
  #arriving: Arriving | undefined;
  #total = 0;
  #over: Fault | undefined;
  #busy = false;

  /** @param stallMs a write that takes longer means that the PF takes nothing any more */
  constructor(files: BlockingFiles, target: StreamTarget, stallMs: number) {
    this.#files = files;
    this.#rules = new StreamRules(target);
    this.#stallMs = stallMs;
  }

  /** Ends the session: whoever writes now or later gets `reason`. */
  end(reason: Fault): void {
    this.#over ??= reason;
  }

  /**
   * Takes the next bytes of the stream.
   * @throws {StreamFault} the first error of the stream, at this and every later call
   */
  async write(source: Uint8Array): Promise<void> {
    await this.#guarded(async () => {
      for (let at = 0; at < source.length; ) {
        at +=
          this.#arriving === undefined
            ? this.#takeHeader(source, at)
            : this.#takePayload(this.#arriving, source, at);
        await this.#pass();
      }
    });
  }

  /** Where the next bytes of a payload belong, at most `max`; undefined inside of a header. */
  window(max: number): Uint8Array | undefined {
    const arriving = this.#arriving;
    if (arriving === undefined || arriving.skipped || this.#busy || this.#over !== undefined)
      return undefined;
    const left = pieceLeft(arriving);
    return left === 0
      ? undefined
      : this.#files.shared(PAYLOAD_AT + arriving.collected, Math.min(left, max));
  }

  /**
   * Notes that `length` bytes of the last window are in.
   * @throws {StreamFault} as {@link write}
   */
  async commit(length: number): Promise<void> {
    await this.#guarded(async () => {
      const arriving = this.#arriving;
      if (arriving === undefined || length > pieceLeft(arriving))
        throw new RangeError(`${length} bytes are more than the window`);
      arriving.collected += length;
      this.#total += length;
      await this.#pass();
    });
  }

  /**
   * Judges the end of the data.
   * @throws {StreamFault} the first error of the stream, ETIMEDOUT when its trailer is missing
   */
  finish(): void {
    if (this.#over !== undefined) throw this.#over;
    this.#rules.end(this.#total);
  }

  /** The fault of the PF that refused at the end, with the place where the stream was. */
  refusal(cause: Fault): Fault {
    return this.#rules.fault(cause.code, `the PF did not load the state: ${cause.message}`, cause);
  }

  async #guarded(action: () => Promise<void>): Promise<void> {
    if (this.#over !== undefined) throw this.#over;
    this.#busy = true;
    try {
      await action();
    } catch (error) {
      if (error instanceof RangeError) throw error;
      this.end(toFault(error));
      throw this.#over;
    } finally {
      this.#busy = false;
    }
  }

  #takeHeader(source: Uint8Array, at: number): number {
    const count = Math.min(PACKET_HEADER_SIZE - this.#headerReceived, source.length - at);
    this.#header.set(source.subarray(at, at + count), this.#headerReceived);
    this.#headerReceived += count;
    this.#total += count;
    if (this.#headerReceived < PACKET_HEADER_SIZE) return count;
    this.#headerReceived = 0;
    const header = decodePacketHeader(dataView(this.#header));
    this.#rules.header(header);
    const skipped = !Object.values<number>(PACKET_TYPE).includes(header.type);
    this.#arriving = { header, skipped, passed: 0, collected: 0 };
    return count;
  }

  #takePayload(arriving: Arriving, source: Uint8Array, at: number): number {
    const count = Math.min(pieceLeft(arriving), source.length - at);
    if (!arriving.skipped)
      this.#files
        .shared(PAYLOAD_AT + arriving.collected, count)
        .set(source.subarray(at, at + count));
    arriving.collected += count;
    this.#total += count;
    return count;
  }

  /** Passes on what is collected when it is a packet, or a piece of VRAM. */
  async #pass(): Promise<void> {
    const arriving = this.#arriving;
    if (arriving === undefined || pieceLeft(arriving) > 0) return;
    const { header, skipped, passed, collected } = arriving;
    if (header.type === PACKET_TYPE.DESCRIPTOR)
      this.#rules.descriptor(this.#files.shared(PAYLOAD_AT, collected));
    if (!skipped) {
      const offset = header.type === PACKET_TYPE.VRAM ? header.offset + passed : header.offset;
      await this.#push({ ...header, offset, size: collected });
    }
    arriving.passed += collected;
    arriving.collected = 0;
    if (arriving.passed === header.size) this.#arriving = undefined;
  }

  async #push(header: PacketHeader): Promise<void> {
    const length = PACKET_HEADER_SIZE + header.size;
    encodePacketHeader(header, dataView(this.#files.shared(HEADER_AT, PACKET_HEADER_SIZE)));
    this.#files.shared(HEADER_AT, length);
    try {
      // Linux takes all of it or answers an error; a file system in between may take it in parts.
      for (let done = 0; done < length; )
        done += await this.#files.push(HEADER_AT + done, length - done, this.#stallMs);
    } catch (error) {
      const cause = toFault(error);
      throw this.#rules.fault(cause.code, `the PF refuses the stream: ${cause.message}`, cause);
    }
  }
}

/** Bytes that are missing of the packet, or of the piece of VRAM that is collected. */
function pieceLeft({ header, skipped, passed, collected }: Arriving): number {
  const left = header.size - passed - collected;
  const split = skipped || header.type === PACKET_TYPE.VRAM;
  return split ? Math.min(left, PIECE_SIZE - collected) : left;
}
