/**
 * The rules of a migration stream, checked header by header, before anything is allocated or
 * applied. The PF's restore and the offline `verify` share them.
 *
 * Linux finds the same faults later, some in a worker whose errno is lost, some by crashing; what
 * it accepts safely (optional or repeated descriptors, unknown packet types and KLVs, any order of
 * the GTs) is accepted here.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_packet.c, xe_sriov_pf_migration.c,
 * xe_gt_sriov_pf_migration.c, xe_ggtt.c:xe_ggtt_node_load.
 */
import type { ErrnoName } from '../base/errno.ts';
import { StreamFault } from '../base/fault.ts';
import { dataView } from '../base/int.ts';
import {
  DESCRIPTOR_KLV,
  GUC_STATE_MAX_SIZE,
  MMIO_PAYLOAD_SIZE,
  PACKET_HEADER_SIZE,
  PACKET_TYPE,
  PACKET_VERSION,
  PAYLOAD_MAX_SIZE,
  type PacketHeader,
  packetTypeName,
} from './migration-packet.ts';

/** One GT of the VF that a stream is for. */
export interface StreamGt {
  readonly id: number;
  readonly tile: number;
  readonly type: 'main' | 'media';
  /** Bytes of GuC state that its firmware takes; undefined when only firmware knows. */
  readonly gucStateSize?: number | undefined;
}

/** The VF that a stream is for; what is undefined is not checked. */
export interface StreamTarget {
  readonly deviceId?: number | undefined;
  readonly revisionId?: number | undefined;
  readonly gts?: readonly StreamGt[] | undefined;
  /** Bytes of GGTT that the VF owns (4 KiB a PTE). */
  readonly ggttSize?: number | undefined;
  /** Bytes of VRAM that the VF owns; 0 on integrated parts. */
  readonly vramSize?: number | undefined;
}

/** Bytes of a PTE and of the page that it maps. */
const PTE_SIZE = 8;
const GGTT_PAGE_SIZE = 4096;
/** No descriptor needs more; Linux would allocate up to INT_MAX. */
const DESCRIPTOR_MAX_SIZE = 2 ** 20;

/** Checks the packets of one stream in the order they come. */
export class StreamRules {
  #target: StreamTarget;
  #offset = 0;
  #packet = -1;
  #nextHeader = 0;
  #ended = false;

  constructor(target: StreamTarget) {
    this.#target = target;
  }

  /** True once the trailer was taken. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Byte offset of the header taken last, and its packet's index. */
  get place(): { readonly offset: number; readonly packet: number } {
    return { offset: this.#offset, packet: Math.max(this.#packet, 0) };
  }

  /** Packets taken so far. */
  get packets(): number {
    return this.#packet + 1;
  }

  /** Judges what follows by another target: one that a descriptor made known. */
  retarget(target: StreamTarget): void {
    this.#target = target;
  }

  /**
   * Judges the header of the next packet.
   * @throws {StreamFault} EINVAL, ENOMEM, ENOENT, ENXIO, ENOBUFS, EIO: see the module's text
   */
  header(header: PacketHeader): void {
    this.#offset = this.#nextHeader;
    this.#packet++;
    const { version, type, size } = header;
    if (this.#ended) this.#refuse('EINVAL', 'the stream goes on after its trailer');
    if (version !== PACKET_VERSION) this.#refuse('EINVAL', `packet version ${version} is not 1`);
    if (type === 0) this.#refuse('EINVAL', 'packet type 0 is reserved');
    const gt = this.#gt(header);
    if (type === PACKET_TYPE.VRAM) {
      if (!Number.isSafeInteger(size)) this.#refuse('EINVAL', 'the VRAM size is above 2^53-1');
    } else if (size > PAYLOAD_MAX_SIZE) {
      this.#refuse('ENOMEM', `a ${packetTypeName(type)} payload above 2 GiB cannot be held`);
    }
    this.#place(header, gt);
    this.#payload(header, gt);
    this.#nextHeader = this.#offset + PACKET_HEADER_SIZE + size;
    if (type === PACKET_TYPE.TRAILER) this.#ended = true;
  }

  /**
   * Judges the payload of a descriptor whose header was taken last.
   * @throws {StreamFault} ENODATA for a KLV that is cut, ENODEV for another device or revision
   */
  descriptor(payload: Uint8Array): void {
    const view = dataView(payload);
    const klvs = [...this.#klvs(view)];
    for (const { key, at, length } of klvs) {
      const name = key === DESCRIPTOR_KLV.DEVID ? 'device' : 'revision';
      const wanted = { device: this.#target.deviceId, revision: this.#target.revisionId }[name];
      if (key !== DESCRIPTOR_KLV.DEVID && key !== DESCRIPTOR_KLV.REVID) continue;
      if (length === 0) this.#refuse('ENODEV', `the descriptor's ${name} KLV has no value`);
      const value = view.getUint32(at, true);
      if (wanted !== undefined && value !== wanted)
        this.#refuse(
          'ENODEV',
          `the stream is of ${name} 0x${value.toString(16)}, the target is 0x${wanted.toString(16)}`,
        );
    }
  }

  /**
   * Judges the end of the data.
   * @param length bytes that came in all
   * @throws {StreamFault} ETIMEDOUT when no trailer came (what Linux answers after 20 s), EINVAL when
   * a part of a header came after it
   */
  end(length: number): void {
    if (this.#ended && length <= this.#nextHeader) return;
    if (this.#ended) {
      this.#offset = this.#nextHeader;
      this.#packet++;
      this.#refuse('EINVAL', 'the stream goes on after its trailer');
    }
    const cut = length !== this.#nextHeader;
    if (length > this.#nextHeader || this.#packet < 0 || !cut) {
      // Whole packets, or a header that is cut: the missing piece begins where the next header is.
      this.#offset = this.#nextHeader;
      this.#packet++;
    }
    this.#refuse('ETIMEDOUT', cut ? 'the stream is cut inside a packet' : 'the trailer is missing');
  }

  /** Makes the fault for the packet taken last. */
  fault(code: ErrnoName, reason: string, cause?: unknown): StreamFault {
    return new StreamFault(code, reason, this.place, cause === undefined ? {} : { cause });
  }

  #refuse(code: ErrnoName, reason: string): never {
    throw this.fault(code, reason);
  }

  #gt(header: PacketHeader): StreamGt | undefined {
    const gt = this.#target.gts?.find(({ id }) => id === header.gt);
    if (this.#target.gts !== undefined && gt === undefined)
      this.#refuse('EINVAL', `the device has no GT ${header.gt}`);
    return gt;
  }

  #place({ type, tile, gt: id, offset }: PacketHeader, gt: StreamGt | undefined): void {
    if (type === PACKET_TYPE.DESCRIPTOR || type === PACKET_TYPE.TRAILER) {
      if (tile !== 0 || id !== 0)
        this.#refuse('EINVAL', `a ${packetTypeName(type)} must name tile 0 and GT 0`);
      if (type === PACKET_TYPE.TRAILER && offset !== 0)
        this.#refuse('EINVAL', 'the trailer has an offset');
    } else if (gt !== undefined && tile !== gt.tile) {
      this.#refuse('EINVAL', `GT ${gt.id} is not on tile ${tile}`);
    }
  }

  #payload(header: PacketHeader, gt: StreamGt | undefined): void {
    const { type, size } = header;
    switch (type) {
      case PACKET_TYPE.DESCRIPTOR:
        if (size % 4 !== 0) this.#refuse('EINVAL', `descriptor size ${size} is not whole dwords`);
        if (size > DESCRIPTOR_MAX_SIZE) this.#refuse('ENOMEM', 'the descriptor is above 1 MiB');
        return;
      case PACKET_TYPE.TRAILER:
        if (size !== 0) this.#refuse('EINVAL', 'the trailer has a payload');
        return;
      case PACKET_TYPE.GGTT:
        return this.#ggtt(size, gt);
      case PACKET_TYPE.MMIO:
        if (size !== MMIO_PAYLOAD_SIZE)
          this.#refuse('EINVAL', `MMIO size ${size} is not ${MMIO_PAYLOAD_SIZE}`);
        return;
      case PACKET_TYPE.GUC:
        return this.#guc(size, gt);
      case PACKET_TYPE.VRAM:
        return this.#vram(header, gt);
    }
  }

  #ggtt(size: number, gt: StreamGt | undefined): void {
    if (gt?.type === 'media') this.#refuse('ENOENT', `GT ${gt.id} has no GGTT of its own`);
    const { ggttSize } = this.#target;
    const wanted = ggttSize === undefined ? undefined : (ggttSize / GGTT_PAGE_SIZE) * PTE_SIZE;
    if (wanted !== undefined && size !== wanted)
      this.#refuse('EINVAL', `GGTT size ${size} is not ${wanted}, ${PTE_SIZE} bytes a page`);
    if (size === 0 || size % PTE_SIZE !== 0)
      this.#refuse('EINVAL', `GGTT size ${size} is not whole PTEs`);
  }

  #guc(size: number, gt: StreamGt | undefined): void {
    if (size === 0) this.#refuse('ENOBUFS', 'the GuC state is empty');
    if (size > GUC_STATE_MAX_SIZE) this.#refuse('ENOBUFS', 'the GuC state is above 8 MiB');
    const wanted = gt?.gucStateSize;
    if (wanted !== undefined && size !== wanted)
      this.#refuse('EIO', `firmware of GT ${gt?.id} takes ${wanted} bytes of state, not ${size}`);
  }

  #vram({ offset, size }: PacketHeader, gt: StreamGt | undefined): void {
    const { vramSize } = this.#target;
    if (gt?.type === 'media') this.#refuse('ENXIO', `GT ${gt.id} has no VRAM of its own`);
    if (vramSize === 0) this.#refuse('ENXIO', 'the VF has no VRAM');
    if (size === 0) this.#refuse('EINVAL', 'the VRAM packet is empty');
    if (!Number.isSafeInteger(offset + size))
      this.#refuse('EINVAL', 'the VRAM offset is above 2^53-1');
    if (vramSize !== undefined && offset + size > vramSize)
      this.#refuse('EINVAL', `VRAM up to ${offset + size} is past the VF's ${vramSize} bytes`);
  }

  /** The KLVs of a descriptor; whole or not at all. */
  *#klvs(view: DataView): Generator<{ key: number; at: number; length: number }> {
    for (let at = 0; at < view.byteLength; ) {
      const header = view.getUint32(at, true);
      const length = (header & 0xffff) * 4;
      if (at + 4 + length > view.byteLength)
        this.#refuse('ENODATA', 'a KLV of the descriptor is longer than what is left');
      yield { key: header >>> 16, at: at + 4, length };
      at += 4 + length;
    }
  }
}
