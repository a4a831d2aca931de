/**
 * The reading end of saving a VF: descriptor, the packets of its GTs, trailer.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_pf_migration.c (xe_sriov_pf_migration_read),
 * xe_sriov_packet.c (xe_sriov_packet_read_single).
 */
import { Fault } from '../base/fault.ts';
import { dataView } from '../base/int.ts';
import {
  encodeDescriptor,
  encodePacketHeader,
  PACKET_HEADER_SIZE,
  PACKET_TYPE,
  PACKET_VERSION,
} from '../xe/migration-packet.ts';
import { resumeSaving } from './control-data.ts';
import type { VfPacket } from './packet-ring.ts';
import type { PrecopySession } from './precopy-session.ts';
import type { VfControl } from './vf-control.ts';
import type { WaitQueue } from './wait-queue.ts';

/** Bytes of the descriptor and the trailer, which every stream has. */
export const STREAM_FRAME_SIZE = 2 * PACKET_HEADER_SIZE + encodeDescriptor(0, 0).length;

function framePacket(type: number, payload: Uint8Array): VfPacket {
  const header = {
    version: PACKET_VERSION,
    type,
    tile: 0,
    gt: 0,
    flags: 0,
    offset: 0,
    size: payload.length,
  };
  return { header, payload };
}

/** One saving of one VF, from its beginning to its end. */
export class SaveSession {
  readonly #vfs: readonly VfControl[];
  readonly #wait: WaitQueue;
  /** What is left of the packet that is read: its header, its payload. */
  #parts: Uint8Array[] = [];
  #descriptor: VfPacket | undefined;
  #trailer: VfPacket | undefined = framePacket(PACKET_TYPE.TRAILER, new Uint8Array(0));
  #over: Fault | undefined;
  /** The VRAM of a VF whose saving began, or begins, while it runs. */
  readonly precopy: PrecopySession | undefined;

  /** @param wait woken whenever a GT made a packet, is done or failed */
  constructor(
    vfs: readonly VfControl[],
    device: { readonly deviceId: number; readonly revisionId: number },
    wait: WaitQueue,
    precopy?: PrecopySession,
  ) {
    this.#vfs = vfs;
    this.#wait = wait;
    this.precopy = precopy;
    const klvs = encodeDescriptor(device.deviceId, device.revisionId);
    this.#descriptor = framePacket(PACKET_TYPE.DESCRIPTOR, klvs);
  }

  /** Ends the session: whoever reads now or later gets `reason`. */
  end(reason: Fault): void {
    this.#over ??= reason;
    this.#parts = [];
    this.precopy?.close();
  }

  /** Bytes of the packets that were taken up and not read yet, and of the descriptor. */
  get pendingBytes(): number {
    const { length } = this.#descriptor?.payload ?? { length: -PACKET_HEADER_SIZE };
    return this.#parts.reduce((total, part) => total + part.length, PACKET_HEADER_SIZE + length);
  }

  /**
   * The next bytes of the stream, at most `max`; while the VF runs, as many as are at hand, else
   * fewer only at the end.
   * @throws {Fault} EIO when a GT failed, again and again; the reason of the session's end; ENOMSG
   * when the VF runs and nothing is known to have changed
   */
  async read(max: number): Promise<Uint8Array[]> {
    const views: Uint8Array[] = [];
    if (this.#parts.length === 0) this.precopy?.rewind();
    for (let room = max; room > 0; ) {
      if (this.#over !== undefined) throw this.#over;
      const part = this.#parts[0];
      if (part === undefined) {
        if (await this.#nextPacket(room)) continue;
        if (views.length === 0 && this.precopy?.stopped === false)
          throw new Fault('ENOMSG', 'no more is known to have changed while the VF runs');
        return views;
      }
      if (part.length > room) {
        views.push(part.subarray(0, room));
        this.#parts[0] = part.subarray(room);
        return views;
      }
      views.push(part);
      this.#parts.shift();
      room -= part.length;
    }
    return views;
  }

  /** Takes up the next packet. @returns false at the end of the stream, perhaps a momentary one */
  async #nextPacket(room: number): Promise<boolean> {
    let next = this.#descriptor ?? this.precopy?.next(room - PACKET_HEADER_SIZE);
    this.#descriptor = undefined;
    if (next === undefined && this.precopy?.stopped === false) return false;
    if (next === undefined) {
      await this.#wait.until(() => this.#over !== undefined || this.#readable());
      if (this.#over !== undefined) throw this.#over;
      next = this.#consume();
    }
    if (next === undefined) {
      next = this.#trailer;
      this.#trailer = undefined;
    }
    if (next === undefined) return false;
    const header = new Uint8Array(PACKET_HEADER_SIZE);
    encodePacketHeader(next.header, dataView(header));
    this.#parts = next.payload.length > 0 ? [header, next.payload] : [header];
    return true;
  }

  /**
   * True when a GT failed, the lowest GT that is not done has a packet, or nothing more will come.
   * Linux takes a packet of any GT, so that its order depends on timing; this is one of its orders.
   */
  #readable(): boolean {
    if (this.#vfs.some((vf) => vf.has('SAVE_FAILED'))) return true;
    const busy = this.#vfs.find((vf) => !vf.ring.empty || !vf.has('SAVE_DATA_DONE'));
    return busy === undefined || !busy.ring.empty;
  }

  /** The next packet in the order of the GTs, undefined when all are done. @throws {Fault} EIO */
  #consume(): VfPacket | undefined {
    for (const vf of this.#vfs) {
      if (vf.has('SAVE_FAILED')) {
        const reason = vf.failure?.message ?? `saving VF${vf.vfid} failed`;
        this.end(new Fault('EIO', reason, { cause: vf.failure }));
        throw this.#over;
      }
      const packet = vf.ring.shift();
      if (packet === undefined) continue;
      resumeSaving(vf);
      return packet;
    }
    return undefined;
  }
}
