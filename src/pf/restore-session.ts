/**
 * The writing end of restoring a VF: takes a stream in pieces of any size.
 *
 * Every header is judged before anything is allocated or applied. VRAM goes straight to its place;
 * other packets are collected, handed to their GT, and applied before the write returns, so that an
 * error belongs to the write that brought it.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_pf_migration.c (xe_sriov_pf_migration_write),
 * xe_sriov_packet.c (xe_sriov_packet_write_single).
 */
import { type Fault, toFault } from '../base/fault.ts';
import { dataView } from '../base/int.ts';
import {
  decodePacketHeader,
  PACKET_HEADER_SIZE,
  PACKET_TYPE,
  type PacketHeader,
  VRAM_CHUNK_MAX_SIZE,
} from '../xe/migration-packet.ts';
import { StreamRules, type StreamTarget } from '../xe/migration-stream.ts';
import { restoreDataDone, resumeRestoring } from './control-data.ts';
import type { VramObject } from './ports.ts';
import type { VfControl } from './vf-control.ts';
import { VramCoverage } from './vram-coverage.ts';
import type { WaitQueue } from './wait-queue.ts';

/** Where the bytes of the packet in progress go. */
type Sink =
  | { readonly kind: 'memory'; readonly bytes: Uint8Array }
  | { readonly kind: 'vram'; readonly vram: VramObject; readonly offset: number }
  | { readonly kind: 'skip' };

/** The packet in progress. */
interface Arriving {
  readonly header: PacketHeader;
  readonly sink: Sink;
  /** Bytes of payload that have come. */
  received: number;
}

/** One restoring of one VF, from its beginning to its end. */
export class RestoreSession {
  readonly #vfs: readonly VfControl[];
  readonly #wait: WaitQueue;
  readonly #rules: StreamRules;
  readonly #header = new Uint8Array(PACKET_HEADER_SIZE);
  #headerReceived = 0;
  #arriving: Arriving | undefined;
  #total = 0;
  #over: Fault | undefined;
  #busy = false;
  /** What came of the VRAM of each tile. */
  readonly #coverages = new Map<number, VramCoverage>();

  /** @param wait woken whenever a GT applied a packet or failed */
  constructor(vfs: readonly VfControl[], target: StreamTarget, wait: WaitQueue) {
    this.#vfs = vfs;
    this.#wait = wait;
    this.#rules = new StreamRules(target);
  }

  /** Why nothing more is taken: the first error of the stream, or the reason of the end. */
  get over(): Fault | undefined {
    return this.#over;
  }

  /** Ends the session: whoever writes now or later gets `reason`. */
  end(reason: Fault): void {
    this.#over ??= reason;
    this.#arriving = undefined;
  }

  /**
   * Takes the next bytes of the stream.
   * @throws {StreamFault} the first error of the stream, at this and every later call
   */
  async write(source: Uint8Array): Promise<void> {
    if (this.#over !== undefined) throw this.#over;
    this.#busy = true;
    try {
      for (let at = 0; at < source.length; ) {
        at +=
          this.#arriving === undefined
            ? this.#takeHeader(source, at)
            : this.#takePayload(source, at);
        // Awaited only where a packet ends: a write inside one costs no turn of the event loop.
        if (this.#complete()) await this.#finishPacket();
      }
    } catch (error) {
      this.end(toFault(error));
      throw this.#over;
    } finally {
      this.#busy = false;
    }
  }

  /** Where the next bytes belong, at most `max`, when that is VRAM; else undefined. */
  window(max: number): Uint8Array | undefined {
    const arriving = this.#arriving;
    if (this.#busy || arriving?.sink.kind !== 'vram') return undefined;
    const { vram, offset } = arriving.sink;
    const left = arriving.header.size - arriving.received;
    return vram.view(offset + arriving.received, Math.min(left, max, VRAM_CHUNK_MAX_SIZE));
  }

  /**
   * Notes that `length` bytes of the last window are in.
   * @throws {Fault} the reason when the session ended meanwhile
   * @throws {RangeError} when there is no window, or not one of this length
   */
  async commit(length: number): Promise<void> {
    if (this.#over !== undefined) throw this.#over;
    const arriving = this.#arriving;
    if (arriving?.sink.kind !== 'vram') throw new RangeError('there is no window');
    if (length > arriving.header.size - arriving.received)
      throw new RangeError(`${length} bytes are more than the window`);
    arriving.received += length;
    this.#total += length;
    if (this.#complete()) await this.#finishPacket();
  }

  /**
   * Judges the end of the data.
   * @throws {StreamFault} the first error of the stream, ETIMEDOUT when its trailer is missing
   */
  finish(): void {
    if (this.#over !== undefined) throw this.#over;
    try {
      this.#rules.end(this.#total);
    } catch (error) {
      this.end(toFault(error));
      throw error;
    }
  }

  #takeHeader(source: Uint8Array, at: number): number {
    const count = Math.min(PACKET_HEADER_SIZE - this.#headerReceived, source.length - at);
    this.#header.set(source.subarray(at, at + count), this.#headerReceived);
    this.#headerReceived += count;
    this.#total += count;
    if (this.#headerReceived === PACKET_HEADER_SIZE) {
      const header = decodePacketHeader(dataView(this.#header));
      this.#rules.header(header);
      this.#headerReceived = 0;
      this.#arriving = { header, sink: this.#sink(header), received: 0 };
    }
    return count;
  }

  #sink(header: PacketHeader): Sink {
    const { type, size } = header;
    if (type === PACKET_TYPE.VRAM) {
      const vf = this.#vf(header);
      const vram = vf.around.resources.vram(vf.vfid, header.tile);
      if (vram === undefined) throw this.#rules.fault('ENXIO', 'the VF has no VRAM on this tile');
      this.#coverage(header.tile, vram).arriving(header.offset, size);
      return { kind: 'vram', vram, offset: header.offset };
    }
    if (!Object.values<number>(PACKET_TYPE).includes(type)) return { kind: 'skip' };
    return { kind: 'memory', bytes: new Uint8Array(size) };
  }

  #takePayload(source: Uint8Array, at: number): number {
    const { header, sink, received } = this.#arriving as Arriving;
    let count = Math.min(header.size - received, source.length - at);
    if (sink.kind === 'vram') {
      count = Math.min(count, VRAM_CHUNK_MAX_SIZE);
      sink.vram.view(sink.offset + received, count).set(source.subarray(at, at + count));
    } else if (sink.kind === 'memory') {
      sink.bytes.set(source.subarray(at, at + count), received);
    }
    (this.#arriving as Arriving).received += count;
    this.#total += count;
    return count;
  }

  #complete(): boolean {
    return this.#arriving !== undefined && this.#arriving.received === this.#arriving.header.size;
  }

  /** Does with a whole packet what it is for. */
  async #finishPacket(): Promise<void> {
    const { header, sink } = this.#arriving as Arriving;
    this.#arriving = undefined;
    if (header.type === PACKET_TYPE.TRAILER) {
      this.#clearTheRest();
      for (const vf of this.#vfs) restoreDataDone(vf);
    } else if (sink.kind === 'skip') {
      const vf = this.#vf(header);
      vf.around.reportSkipped(vf.vfid, header.type);
    } else if (sink.kind === 'memory') {
      if (header.type === PACKET_TYPE.DESCRIPTOR) this.#rules.descriptor(sink.bytes);
      else await this.#apply(this.#vf(header), header, sink.bytes);
    }
  }

  /** Hands a packet to its GT and waits until it is applied. */
  async #apply(vf: VfControl, header: PacketHeader, payload: Uint8Array): Promise<void> {
    const failed = () => vf.has('RESTORE_FAILED');
    await this.#wait.until(() => this.#over !== undefined || failed() || !vf.ring.full);
    if (this.#over === undefined && !failed()) {
      vf.ring.push({ header, payload });
      resumeRestoring(vf);
      const idle = () => vf.has('RESTORE_WAIT_DATA') || vf.has('RESTORED');
      await this.#wait.until(() => this.#over !== undefined || failed() || idle());
    }
    if (this.#over !== undefined) throw this.#over;
    if (failed()) {
      const cause = vf.failure;
      throw this.#rules.fault(cause?.code ?? 'EIO', cause?.message ?? 'restoring failed', cause);
    }
  }

  #coverage(tile: number, vram: VramObject): VramCoverage {
    let coverage = this.#coverages.get(tile);
    if (coverage === undefined) {
      coverage = new VramCoverage(vram);
      this.#coverages.set(tile, coverage);
    }
    return coverage;
  }

  /** Deviation 10: VRAM that the stream did not bring is zero, whatever the target held before. */
  #clearTheRest(): void {
    for (const { vfid, around } of this.#vfs) {
      const vram = around.resources.vram(vfid, around.tile.id);
      if (vram !== undefined && around.gt.type === 'main')
        this.#coverage(around.tile.id, vram).clearTheRest();
    }
  }

  #vf({ gt }: PacketHeader): VfControl {
    const vf = this.#vfs.find((candidate) => candidate.around.gt.id === gt);
    if (vf === undefined) throw this.#rules.fault('EINVAL', `the device has no GT ${gt}`);
    return vf;
  }
}
