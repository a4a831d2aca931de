import type { PacketHeader } from '../xe/migration-packet.ts';

/** Packets that wait at most between a GT and the stream (XE_GT_SRIOV_PF_MIGRATION_RING_SIZE). */
const PACKET_RING_SIZE = 5;

/** A migration packet on its way; its payload lies where the state lies, where that is possible. */
export interface VfPacket {
  readonly header: PacketHeader;
  readonly payload: Uint8Array;
}

/**
 * The bounded queue of packets of one VF between one GT and the stream.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_migration.c (struct ptr_ring).
 */
export class PacketRing {
  #packets: VfPacket[] = [];

  get empty(): boolean {
    return this.#packets.length === 0;
  }

  get full(): boolean {
    return this.#packets.length >= PACKET_RING_SIZE;
  }

  /** @throws {RangeError} when full: the producer must ask first */
  push(packet: VfPacket): void {
    if (this.full) throw new RangeError('the packet ring is full');
    this.#packets.push(packet);
  }

  /** The oldest packet, undefined when there is none. */
  shift(): VfPacket | undefined {
    return this.#packets.shift();
  }

  clear(): void {
    this.#packets = [];
  }
}
