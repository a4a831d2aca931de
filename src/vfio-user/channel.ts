/**
 * Messages on a stream socket: one receive brings a header and a small body together, what belongs
 * to the next message is kept, and descriptors find the message they were sent with.
 */
import { closeFd } from '../sys/descriptor.ts';
import { SocketIo } from '../sys/socket-io.ts';
import { HEADER_SIZE } from './protocol.ts';

/** Descriptors and the stream position where the message begins that they belong to. */
interface Batch {
  readonly position: number;
  readonly fds: number[];
}

/** Bytes of messages that nobody has served yet. */
export interface UnreadBytes {
  readonly bytes: Uint8Array;
  /** Descriptors and the position in `bytes` of the message that they belong to. */
  readonly batches: readonly { readonly at: number; readonly fds: readonly number[] }[];
}

const NO_FDS: number[] = [];

/** The buffers of one connection and what lies in them. */
export class Channel {
  readonly io: SocketIo;
  /** Received bytes, of which {@link head} to {@link tail} are not yet used up. */
  readonly rx: Uint8Array<ArrayBuffer>;
  readonly rxView: DataView;
  readonly tx: Uint8Array<ArrayBuffer>;
  readonly txView: DataView;
  head = 0;
  tail = 0;
  /** Position in the stream of `rx[0]`. */
  #origin = 0;
  #batches: Batch[] = [];

  /** @param fd a connected stream socket, borrowed */
  constructor(fd: number, bufferSize = 65536) {
    this.io = new SocketIo(fd, bufferSize, bufferSize);
    this.rx = this.io.rx;
    this.rxView = this.io.rxView;
    this.tx = this.io.tx;
    this.txView = this.io.txView;
  }

  /** Bytes that are here. */
  get available(): number {
    return this.tail - this.head;
  }

  /** Starts again at the front of the buffer when nothing is here. */
  rewind(): void {
    if (this.head !== this.tail) return;
    this.#origin += this.head;
    this.head = 0;
    this.tail = 0;
  }

  /** Moves what is here to the start of the buffer; nobody may look at it meanwhile. */
  compact(): void {
    if (this.head === 0) return;
    this.rx.copyWithin(0, this.head, this.tail);
    this.#origin += this.head;
    this.tail -= this.head;
    this.head = 0;
  }

  /**
   * Receives behind what is here.
   *
   * @param limit at most so many bytes
   * @returns bytes, 0 at the end of the stream (or when there is no room), or a negative errno
   */
  fill(flags: number, limit = this.rx.length): number {
    this.rewind();
    const room = Math.min(limit, this.rx.length - this.tail);
    const result = this.io.receive(this.tail, room, flags);
    if (result > 0) {
      this.tail += result;
      if (this.io.hasFds) this.#file();
    }
    return result;
  }

  /**
   * As {@link fill} with room for everything, where no descriptors can come; those that come
   * nevertheless are closed.
   */
  fillBytes(flags: number): number {
    this.rewind();
    const result = this.io.receiveBytes(this.tail, this.rx.length - this.tail, flags);
    if (result > 0) this.tail += result;
    return result;
  }

  /**
   * Files the descriptors that came with the last bytes: they belong to the last message that
   * begins in them, or to the one that these bytes continue.
   */
  #file(): void {
    let start = this.head;
    while (start + HEADER_SIZE <= this.tail) {
      const size = this.rxView.getUint32(start + 4, true);
      if (size < HEADER_SIZE || start + size >= this.tail) break;
      start += size;
    }
    this.#batches.push({ position: this.#origin + start, fds: this.io.takeFds() });
  }

  /** The descriptors of the message of `size` bytes at the head; the caller's to close. */
  takeFds(size: number): number[] {
    if (this.#batches.length === 0) return NO_FDS;
    const end = this.#origin + this.head + size;
    const mine = this.#batches.filter((batch) => batch.position < end);
    if (mine.length === 0) return NO_FDS;
    this.#batches = this.#batches.filter((batch) => batch.position >= end);
    return mine.flatMap((batch) => batch.fds);
  }

  /**
   * Cuts `length` bytes at `at` out of the buffer: a reply that came between commands that must
   * wait. Bytes before `at` stay where they are.
   */
  cut(at: number, length: number): void {
    this.rx.copyWithin(at, at + length, this.tail);
    this.tail -= length;
    const from = this.#origin + at;
    const end = from + length;
    const batches = this.#batches;
    this.#batches = [];
    for (const { position, fds } of batches) {
      if (position < from) this.#batches.push({ position, fds });
      else if (position >= end) this.#batches.push({ position: position - length, fds });
      else for (const fd of fds) closeFd(fd);
    }
  }

  /**
   * Receives a part of the body of the message that was begun, past everything that is here, which
   * must be nothing. Descriptors have no business in a body and are closed.
   *
   * @param address native memory, or undefined to receive into the buffer
   * @returns bytes, 0 at the end of the stream, or a negative errno
   */
  receiveBody(length: number, address: number | undefined, flags: number): number {
    const direct = address !== undefined;
    if (!direct) this.rewind();
    const result = direct
      ? this.io.receiveTo(address, length, flags)
      : this.io.receive(0, Math.min(length, this.rx.length), flags);
    if (!direct && result > 0) this.tail = result;
    if (this.io.hasFds) for (const fd of this.io.takeFds()) closeFd(fd);
    return result;
  }

  /** What was received and not used up, with the descriptors that came with it: both borrowed. */
  unread(): UnreadBytes {
    const from = this.#origin + this.head;
    const batches = this.#batches.map(({ position, fds }) => ({ at: position - from, fds }));
    return { bytes: this.rx.slice(this.head, this.tail), batches };
  }

  /** Begins with what another process received and did not use up; its descriptors are taken over. */
  takeUnread({ bytes, batches }: UnreadBytes): void {
    this.rx.set(bytes, this.tail);
    const from = this.#origin + this.tail;
    this.tail += bytes.length;
    for (const { at, fds } of batches) this.#batches.push({ position: from + at, fds: [...fds] });
  }

  /** Closes descriptors that no message claimed and lets go of the buffers. Idempotent. */
  close(): void {
    for (const batch of this.#batches) for (const fd of batch.fds) closeFd(fd);
    this.#batches = [];
    this.io.close();
  }
}
