/**
 * Checks a stream without a device, in constant memory: would a VF of a given device and quota take
 * all of it, and would anything of the state be lost?
 */
import { PACKET_TYPE, type PacketHeader } from '../xe/migration-packet.ts';
import { StreamRules, type StreamTarget } from '../xe/migration-stream.ts';
import { platformOfDevice } from '../xe/platforms.ts';
import { descriptorDevice } from './descriptor.ts';
import { type PacketHandler, PacketParser, type PacketParserOptions } from './packet-parser.ts';
import { type DeviceClaim, mergeClaims, streamTarget } from './stream-device.ts';
import { type ResourceTotal, StreamTally, type StreamWarning } from './stream-tally.ts';

/** Who says which device the stream is for. */
export type DeviceOrigin = 'caller' | 'checkpoint' | 'descriptor' | 'unknown';

/** What is known about a stream that was accepted. */
export interface VerifyReport {
  readonly packets: number;
  /** Bytes of the stream. */
  readonly bytes: number;
  readonly device: {
    readonly from: DeviceOrigin;
    readonly platform: string | undefined;
    readonly deviceId: number | undefined;
    readonly revisionId: number | undefined;
  };
  readonly resources: readonly ResourceTotal[];
  /** What Linux accepts and yet loses. */
  /** True when the VF ran while its VRAM was saved: what of it did not come is zero. */
  readonly precopied: boolean;
  readonly warnings: readonly StreamWarning[];
  /** What could not be judged, one sentence each. */
  readonly unchecked: readonly string[];
}

/** How a check works. */
export interface VerifyOptions extends PacketParserOptions {
  /** Who claims what is known about the VF. */
  readonly origin?: DeviceOrigin | undefined;
  /** Sees every packet too; a header before it is judged, the last one may be a refused one. */
  readonly observer?: PacketHandler | undefined;
}

/** A check of one stream, fed with its bytes in pieces of any size. */
export class StreamVerifier {
  readonly #claim: DeviceClaim;
  readonly #rules: StreamRules;
  readonly #tally = new StreamTally();
  readonly #parser: PacketParser;
  #target: StreamTarget;
  #from: DeviceOrigin;
  #descriptor: Uint8Array | undefined;
  /** Packets that came before the device was known. */
  #early = 0;

  /**
   * @param claim what is known about the VF; without a device the first descriptor names it
   */
  constructor(claim: DeviceClaim = {}, options: VerifyOptions = {}) {
    this.#claim = claim;
    this.#target = streamTarget(claim);
    this.#from = claim.deviceId === undefined ? 'unknown' : (options.origin ?? 'caller');
    this.#rules = new StreamRules(this.#target);
    const { observer } = options;
    const handler: PacketHandler = {
      header: (header, offset, raw) => {
        observer?.header(header, offset, raw);
        this.#header(header);
      },
      payload: (bytes, at) => {
        observer?.payload(bytes, at);
        this.#descriptor?.set(bytes, at);
      },
      end: () => {
        observer?.end();
        this.#end();
      },
    };
    this.#parser = new PacketParser(handler, options);
  }

  /** True when nothing more is taken, see {@link PacketParserOptions}. */
  get stopped(): boolean {
    return this.#parser.stopped;
  }

  /** Bytes taken so far. */
  get length(): number {
    return this.#parser.length;
  }

  /** Packets whose header was taken so far. */
  get packets(): number {
    return this.#rules.packets;
  }

  /**
   * Takes the next bytes of the stream.
   * @throws {StreamFault} as `StreamRules`, with the place of the first packet that is refused
   */
  push(bytes: Uint8Array): void {
    this.#parser.push(bytes);
  }

  /**
   * Judges the end of the stream.
   * @throws {StreamFault} ETIMEDOUT when the stream is cut or has no trailer
   */
  finish(): VerifyReport {
    this.#rules.end(this.#parser.length);
    return this.report();
  }

  /** What is known so far. */
  report(): VerifyReport {
    const { deviceId, revisionId } = this.#target;
    return {
      packets: this.#rules.packets,
      bytes: this.#parser.length,
      device: {
        from: this.#from,
        platform: deviceId === undefined ? undefined : platformOfDevice(deviceId)?.name,
        deviceId,
        revisionId,
      },
      precopied: this.#tally.precopied,
      resources: this.#tally.totals(),
      warnings: this.#tally.warnings(this.#target),
      unchecked: this.#unchecked(),
    };
  }

  #header(header: PacketHeader): void {
    this.#rules.header(header);
    this.#tally.add(header);
    const { type, size } = header;
    if (type === PACKET_TYPE.DESCRIPTOR) this.#descriptor = new Uint8Array(size);
    else if (this.#from === 'unknown' && type !== PACKET_TYPE.TRAILER) this.#early++;
  }

  #end(): void {
    const payload = this.#descriptor;
    if (payload === undefined) return;
    this.#descriptor = undefined;
    this.#rules.descriptor(payload);
    if (this.#from !== 'unknown') return;
    const { deviceId, revisionId } = descriptorDevice(payload);
    if (deviceId === undefined) return;
    this.#from = 'descriptor';
    this.#target = streamTarget(mergeClaims(this.#claim, { deviceId, revisionId }));
    this.#rules.retarget(this.#target);
    // Once more: what it says first must hold for the rest of it.
    this.#rules.descriptor(payload);
  }

  #unchecked(): string[] {
    const { deviceId, ggttSize, vramSize, gts } = this.#target;
    const unchecked: string[] = [];
    if (deviceId === undefined)
      unchecked.push('the device is not known: tiles, GTs and kinds of memory were not judged');
    else if (gts === undefined)
      unchecked.push(
        `device 0x${deviceId.toString(16)} is none of xe-vfio-pci's: tiles and GTs were not judged`,
      );
    else if (this.#from === 'descriptor' && this.#early > 0)
      unchecked.push(`${this.#early} packets came before the descriptor that names the device`);
    if (ggttSize === undefined) unchecked.push("the target's GGTT size is not known");
    if (vramSize === undefined) unchecked.push("the target's VRAM size is not known");
    if (!this.#tally.vramExact && !this.#tally.precopied)
      unchecked.push('the VRAM came in too many parts to tell whether all of it came');
    if (gts?.every(({ gucStateSize }) => gucStateSize !== undefined) !== true)
      unchecked.push('the GuC state was not judged: its size is the business of firmware');
    return unchecked;
  }
}
