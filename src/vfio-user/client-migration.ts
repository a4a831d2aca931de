/**
 * Migration data of a served device: requests are kept in flight, so that the server works on the
 * next piece while this one is used.
 *
 * Source: QEMU docs/interop/vfio-user.rst, VFIO_USER_MIG_DATA_READ, VFIO_USER_MIG_DATA_WRITE.
 */
import { Fault, toFault } from '../base/fault.ts';
import { Mapping } from '../sys/mapping.ts';
import type { MigrationData } from '../vfio/vfio-device.ts';
import type { ClientLink } from './client-link.ts';
import type { BodyRoom, BodySink, Reply } from './client-pending.ts';
import { CODECS } from './codecs.ts';
import { VFIO_USER } from './protocol.ts';

const FIXED = CODECS.migData.size;
/** Requests kept in flight. */
const DEPTH = 4;

/** A data file whose session has ended, or that was closed. */
function ended(): Fault {
  return new Fault('ENODEV', 'the migration session has ended');
}

/** A piece of the stream on its way. */
class Piece implements BodySink {
  readonly fixed = FIXED;
  readonly #memory: Mapping;
  readonly #bytes: Uint8Array;
  readonly size: number;
  #length = 0;
  #error: Fault | undefined;
  #done: Promise<void> = Promise.resolve();

  constructor(size: number) {
    this.size = size;
    this.#memory = Mapping.anonymous(size);
    this.#bytes = this.#memory.view();
  }

  /** Asks for the next piece of the stream. */
  ask(link: ClientLink, timeoutMs: number): void {
    this.#length = 0;
    this.#error = undefined;
    this.#done = this.#receive(link, timeoutMs);
  }

  async #receive(link: ClientLink, timeoutMs: number): Promise<void> {
    const write = (view: DataView, at: number) => {
      CODECS.migData.write(view, at, { argsz: FIXED + this.size, size: this.size });
      return FIXED;
    };
    try {
      const command = VFIO_USER.MIG_DATA_READ;
      const { reply } = await link.submit(command, write, undefined, this, timeoutMs);
      await reply;
    } catch (error) {
      this.#error = toFault(error);
    }
  }

  begin(view: DataView, at: number, length: number): BodyRoom {
    const { size } = CODECS.migData.read(view, at);
    if (size !== length || size > this.size)
      throw new Fault('EPROTO', `${length} bytes of migration data, said to be ${size}`);
    this.#length = length;
    return { bytes: this.#bytes, address: this.#memory.address };
  }

  /** The bytes, once they are here. @throws {Fault} what the server said */
  async bytes(): Promise<Uint8Array> {
    await this.#done;
    if (this.#error !== undefined) throw this.#error;
    return this.#bytes.subarray(0, this.#length);
  }

  /** Resolves when the reply is here, whatever it is. */
  async settled(): Promise<void> {
    await this.#done;
  }

  close(): void {
    this.#memory.close();
  }
}

/** Reads the stream of a device that is being saved. */
export class ClientMigrationReader implements MigrationData {
  readonly direction = 'read';
  readonly #link: ClientLink;
  readonly #maxPiece: number;
  readonly #timeoutMs: number;
  /** True while the device still runs: a short piece is then not the end, and nothing is prefetched. */
  #precopy: boolean;
  #pieceSize = 0;
  /** Asked for, in the stream's order. */
  readonly #flying: Piece[] = [];
  /** What the views that were handed out lie in. */
  #used: Piece[] = [];
  readonly #spare: Piece[] = [];
  /** The part of the first flying piece that was not handed out yet. */
  #rest: Uint8Array | undefined;
  #atEnd = false;
  /** An error that came behind bytes which were handed out first. */
  #next: unknown;
  #fault: Fault | undefined;

  /** @param maxPiece greatest size of one request, bytes */
  constructor(link: ClientLink, maxPiece: number, timeoutMs: number, precopy: boolean) {
    this.#link = link;
    this.#maxPiece = maxPiece;
    this.#timeoutMs = timeoutMs;
    this.#precopy = precopy;
  }

  /** The device has stopped: the rest of the stream follows. */
  stopped(): void {
    this.#precopy = false;
    this.#atEnd = false;
    // A momentary end of a device that ran is none of one that stands still.
    this.#next = undefined;
  }

  async read(max: number): Promise<readonly Uint8Array[]> {
    if (this.#fault !== undefined) throw this.#fault;
    const next = this.#next;
    this.#next = undefined;
    if (next !== undefined) throw next;
    this.#spare.push(...this.#used.splice(0));
    if (this.#pieceSize === 0) this.#pieceSize = Math.max(1, Math.min(this.#maxPiece, max));
    const views: Uint8Array[] = [];
    try {
      await this.#gather(views, max);
    } catch (error) {
      if (views.length === 0) throw error;
      this.#next = error;
    }
    if (!this.#precopy) this.#askAhead(DEPTH);
    return views;
  }

  async #gather(views: Uint8Array[], max: number): Promise<void> {
    let left = max;
    while (left > 0) {
      const bytes = this.#rest ?? (await this.#nextPiece());
      if (bytes === undefined) return;
      const part = bytes.subarray(0, left);
      views.push(part);
      left -= part.length;
      this.#rest = part.length < bytes.length ? bytes.subarray(part.length) : undefined;
      if (this.#rest !== undefined) return;
      this.#used.push(...this.#flying.splice(0, 1));
      if (this.#precopy && bytes.length < this.#pieceSize) return;
    }
  }

  #askAhead(depth: number): void {
    while (!this.#atEnd && this.#fault === undefined && this.#flying.length < depth) {
      const piece = this.#spare.pop() ?? new Piece(this.#pieceSize);
      piece.ask(this.#link, this.#timeoutMs);
      this.#flying.push(piece);
    }
  }

  /** The bytes of the first flying piece; undefined at the end of the stream. */
  async #nextPiece(): Promise<Uint8Array | undefined> {
    this.#askAhead(this.#precopy ? 1 : DEPTH);
    const [piece] = this.#flying;
    if (piece === undefined) return undefined;
    let bytes: Uint8Array;
    try {
      bytes = await piece.bytes();
    } catch (error) {
      this.#spare.push(...this.#flying.splice(0, 1));
      throw error;
    }
    if (this.#fault !== undefined) throw this.#fault;
    if (bytes.length < piece.size && !this.#precopy) this.#atEnd = true;
    if (bytes.length > 0) return bytes;
    this.#spare.push(...this.#flying.splice(0, 1));
    return undefined;
  }

  write(): Promise<void> {
    return Promise.reject(new Fault('EINVAL', 'a device that is saved takes no data'));
  }

  window(): undefined {
    return undefined;
  }

  commit(): Promise<void> {
    return Promise.reject(new Fault('EINVAL', 'a device that is saved takes no data'));
  }

  /** Waits for what was asked for; nothing more will be. */
  async end(): Promise<void> {
    this.#fault ??= ended();
    await Promise.all(this.#flying.map((piece) => piece.settled()));
    for (const list of [this.#flying, this.#used, this.#spare])
      for (const piece of list.splice(0)) piece.close();
  }

  close(): void {
    void this.end();
  }
}

/** Writes the stream of a device that is being loaded. */
export class ClientMigrationWriter implements MigrationData {
  readonly direction = 'write';
  readonly #link: ClientLink;
  readonly #maxPiece: number;
  readonly #timeoutMs: number;
  readonly #flying: Promise<Reply>[] = [];
  #fault: Fault | undefined;

  /** @param maxPiece greatest size of one request, bytes */
  constructor(link: ClientLink, maxPiece: number, timeoutMs: number) {
    this.#link = link;
    this.#maxPiece = maxPiece;
    this.#timeoutMs = timeoutMs;
  }

  read(): Promise<readonly Uint8Array[]> {
    return Promise.reject(new Fault('EINVAL', 'a device that is loaded gives no data'));
  }

  /**
   * Sends `source`. What the server says of it may come with a later write, or with the change of
   * state that ends the session.
   */
  async write(source: Uint8Array): Promise<void> {
    for (let at = 0; at < source.length; at += this.#maxPiece)
      await this.#send(source.subarray(at, at + this.#maxPiece));
    if (this.#fault !== undefined) throw this.#fault;
  }

  async #send(piece: Uint8Array): Promise<void> {
    while (this.#flying.length >= DEPTH) await this.#settleFirst();
    if (this.#fault !== undefined) throw this.#fault;
    const write = (view: DataView, at: number) => {
      CODECS.migData.write(view, at, { argsz: FIXED + piece.length, size: piece.length });
      return FIXED;
    };
    const command = VFIO_USER.MIG_DATA_WRITE;
    const { reply } = await this.#link.submit(command, write, [piece], undefined, this.#timeoutMs);
    this.#flying.push(reply);
    void reply.catch((error: unknown) => {
      this.#fault ??= toFault(error);
    });
  }

  async #settleFirst(): Promise<void> {
    await this.#flying.shift()?.catch(() => {});
  }

  window(): undefined {
    return undefined;
  }

  commit(): Promise<void> {
    return Promise.reject(new Fault('EINVAL', 'there is no window to commit'));
  }

  /** Waits until the server has dealt with everything that was written. */
  async settle(): Promise<void> {
    while (this.#flying.length > 0) await this.#settleFirst();
  }

  /** Waits for what was written; nothing more will be. */
  async end(): Promise<void> {
    await this.settle();
    this.#fault ??= ended();
  }

  close(): void {
    void this.end();
  }
}
