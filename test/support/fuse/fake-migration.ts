/**
 * `migration_data` of one VF with the manners of Linux 7.3: a packet that is half read or half
 * written stays, errors stick, a sleeper sleeps until a signal. What would crash that kernel is
 * recorded as a hazard.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_pf_migration.c, xe_sriov_packet.c.
 */
import { Fault, toFault } from '../../../src/base/fault.ts';
import type { XePf } from '../../../src/pf/xe-pf.ts';
import {
  decodePacketHeader,
  PACKET_HEADER_SIZE,
  PACKET_TYPE,
  VRAM_CHUNK_MAX_SIZE,
} from '../../../src/xe/migration-packet.ts';

/** What the PF keeps between two reads or writes. */
type Pending =
  | { readonly kind: 'error'; readonly fault: Fault }
  | { readonly kind: 'read'; readonly bytes: Uint8Array; at: number }
  | { readonly kind: 'write'; bytes: Uint8Array; at: number };

/** The migration of one VF as its files have it. */
export class FakeMigration {
  readonly #pf: XePf;
  readonly #vfid: number;
  readonly #hazard: (what: string) => void;
  readonly #gts: readonly { readonly id: number; readonly tile: number }[];
  #pending: Pending | undefined;
  #workerFailed: Fault | undefined;
  #restoring = false;

  constructor(pf: XePf, vfid: number, hazard: (what: string) => void) {
    this.#pf = pf;
    this.#vfid = vfid;
    this.#hazard = hazard;
    this.#gts = pf.control
      .vf(vfid)
      .map(({ around }) => ({ id: around.gt.id, tile: around.tile.id }));
  }

  /** True while the PF holds a packet that is not whole. */
  get halfPacket(): boolean {
    return this.#pending !== undefined && this.#pending.kind !== 'error';
  }

  triggerSave(): void {
    this.#pf.migration.beginSave(this.#vfid);
    this.#pending = undefined;
  }

  finishSave(): void {
    this.#pf.migration.finishSave(this.#vfid);
  }

  triggerRestore(): void {
    this.#pf.migration.beginRestore(this.#vfid);
    this.#workerFailed = undefined;
    this.#restoring = true;
  }

  async finishRestore(timeoutMs: number): Promise<void> {
    if (this.#workerFailed !== undefined) throw new Fault('EIO', 'the restore failed');
    try {
      await this.#pf.migration.finishRestore(this.#vfid);
      this.#restoring = false;
    } catch (error) {
      // What the emulated PF knows at once, the kernel learns by waiting.
      if (toFault(error).code === 'ETIMEDOUT')
        await new Promise((resolve) => setTimeout(resolve, timeoutMs));
      throw error;
    }
  }

  /** Fills `max` bytes; fewer only at the end of the stream. */
  async read(max: number, signal: AbortSignal): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    for (let room = max; room > 0; ) {
      this.#pending ??= await this.#consume(signal);
      const pending = this.#pending;
      if (pending === undefined) break;
      if (pending.kind === 'error') throw pending.fault;
      if (pending.kind === 'write') {
        this.#hazard('a read met a packet that is half written');
        throw new Fault('EIO', 'mixed');
      }
      const part = pending.bytes.subarray(pending.at, pending.at + room);
      pending.at += part.length;
      room -= part.length;
      parts.push(part);
      if (pending.at === pending.bytes.length) this.#pending = undefined;
    }
    return Buffer.concat(parts);
  }

  /** Takes all of `bytes`, or fails. */
  async write(bytes: Uint8Array): Promise<number> {
    for (let at = 0; at < bytes.length; ) {
      if (this.#pending === undefined || this.#pending.kind === 'error')
        this.#pending = { kind: 'write', bytes: new Uint8Array(PACKET_HEADER_SIZE), at: 0 };
      const pending = this.#pending;
      if (pending.kind === 'read') {
        this.#hazard('a stream was written into a packet that is half read');
        throw new Fault('EINVAL', 'mixed');
      }
      const count = Math.min(pending.bytes.length - pending.at, bytes.length - at);
      pending.bytes.set(bytes.subarray(at, at + count), pending.at);
      pending.at += count;
      at += count;
      if (pending.at === PACKET_HEADER_SIZE) this.#header(pending);
      if (pending.at < pending.bytes.length) continue;
      this.#pending = undefined;
      await this.#produce(pending.bytes);
    }
    return bytes.length;
  }

  /** The next packet of the emulated PF, whole; undefined at the end. */
  async #consume(signal: AbortSignal): Promise<Pending | undefined> {
    try {
      const header = await this.#whole(PACKET_HEADER_SIZE);
      if (header === undefined) return undefined;
      const { size } = decodePacketHeader(new DataView(header.buffer, header.byteOffset));
      const payload = (await this.#whole(size)) ?? new Uint8Array(0);
      return { kind: 'read', bytes: Buffer.concat([header, payload]), at: 0 };
    } catch (error) {
      const fault = toFault(error);
      // No session, or one that a reset ended: the kernel's reader sleeps on, and only a signal
      // wakes it, which it then remembers.
      if (fault.code !== 'ENODEV') return { kind: 'error', fault };
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener('abort', () => resolve());
      });
      return { kind: 'error', fault: new Fault('EINTR', 'a signal came') };
    }
  }

  async #whole(size: number): Promise<Uint8Array | undefined> {
    if (size === 0) return undefined;
    const views = await this.#pf.migration.vf(this.#vfid).read(size);
    return views.length === 0 ? undefined : Buffer.concat(views.map((view) => Buffer.from(view)));
  }

  /** What Linux 7.3 makes of a header, and where it comes to harm. */
  #header(pending: { bytes: Uint8Array; at: number }): void {
    const header = decodePacketHeader(new DataView(pending.bytes.buffer));
    const { version, type, size, gt, tile } = header;
    const place = this.#gts.find(({ id }) => id === gt);
    const frame = type === PACKET_TYPE.DESCRIPTOR || type === PACKET_TYPE.TRAILER;
    const text = `${version}/${type}/${tile}/${gt} of ${size} bytes`;
    if (version !== 1) this.#hazard(`packet version: ${text}`);
    else if (place === undefined) this.#hazard(`packet without GT: ${text}`);
    else if (type === 0) this.#hazard(`packet type 0: ${text}`);
    else if (type > PACKET_TYPE.VRAM) this.#hazard(`unknown packet type: ${text}`);
    else if (!frame && place.tile !== tile) this.#hazard(`packet of another tile: ${text}`);
    else if (type === PACKET_TYPE.VRAM && (size === 0 || size > VRAM_CHUNK_MAX_SIZE))
      this.#hazard(`VRAM packet: ${text}`);
    else if (type !== PACKET_TYPE.VRAM && size > 2 ** 24) this.#hazard(`large packet: ${text}`);
    else {
      const bytes = new Uint8Array(PACKET_HEADER_SIZE + size);
      bytes.set(pending.bytes);
      pending.bytes = bytes;
      return;
    }
    throw new Fault('EINVAL', 'a packet that the kernel does not take');
  }

  /** A whole packet goes to its GT, whose worker's errors come later. */
  async #produce(bytes: Uint8Array): Promise<void> {
    if (!this.#restoring) this.#hazard('a packet was written outside of a restore');
    if (this.#workerFailed !== undefined) throw new Fault('EIO', 'a GT failed earlier');
    const { type } = decodePacketHeader(new DataView(bytes.buffer));
    try {
      await this.#pf.migration.vf(this.#vfid).write(bytes);
    } catch (error) {
      if (type === PACKET_TYPE.DESCRIPTOR || type === PACKET_TYPE.TRAILER) throw error;
      this.#workerFailed = toFault(error);
    }
  }

  /** What a reset does to the session; what is half read or written stays. */
  wasReset(): void {
    this.#restoring = false;
    this.#workerFailed = undefined;
  }
}
