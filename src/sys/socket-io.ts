/**
 * Sending and receiving on a stream socket without allocation: message headers, buffers and
 * control data of one connection in one anonymous mapping.
 *
 * Results are byte counts, or a negative errno: a full or empty socket is no exception.
 *
 * Source: sendmsg(2), recvmsg(2), cmsg(3), unix(7).
 */
import { alignUp, writeU64 } from '../base/int.ts';
import { closeFd } from './descriptor.ts';
import { lastErrno, libc } from './libc.ts';
import { addressOf, Mapping, PAGE_SIZE } from './mapping.ts';

/** `MSG_*` flags. */
export const MSG = { DONTWAIT: 0x40, WAITALL: 0x100 } as const;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;

/** Greatest number of descriptors in one message, SCM_MAX_FD. */
const MAX_FDS = 253;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const CMSG_HEADER = 16;
const CONTROL_SIZE = CMSG_HEADER + MAX_FDS * 4 + 4;
/** Parts of one gathered or scattered message. */
const MAX_PARTS = 64;

// struct msghdr on 64-bit machines.
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;

/**
 * Offsets of one direction's structures; its buffer follows them, so that a small message touches
 * a single page: after a switch from another process each page costs a walk through the page
 * tables.
 */
const SIDE = {
  MSGHDR: 0,
  IOV: 64,
  CONTROL: 64 + MAX_PARTS * 16,
  BUFFER: 64 + MAX_PARTS * 16 + Math.ceil(CONTROL_SIZE / 64) * 64,
} as const;

/** One connection's buffers and the calls on them. */
export class SocketIo implements Disposable {
  readonly #fd: number;
  readonly #mapping: Mapping;
  readonly #words: DataView;
  /** Addresses of the receiving side's structures and of its buffer. */
  readonly #rxSide: number;
  readonly #rxAddress: number;
  /** Where the sending side's structures begin in the mapping, their address, the buffer's. */
  readonly #txAt: number;
  readonly #txSide: number;
  readonly #txAddress: number;
  /** The part that the receiving side's iovec describes. */
  #partAddress = 0;
  #partLength = 0;
  #fdsPending = false;
  /** Received bytes. */
  readonly rx: Uint8Array<ArrayBuffer>;
  readonly rxView: DataView;
  /** Bytes to be sent. */
  readonly tx: Uint8Array<ArrayBuffer>;
  readonly txView: DataView;

  /** @param fd a connected stream socket, borrowed */
  constructor(fd: number, rxSize = 65536, txSize = 65536) {
    this.#fd = fd;
    this.#txAt = alignUp(SIDE.BUFFER + rxSize, PAGE_SIZE);
    this.#mapping = Mapping.low(this.#txAt + SIDE.BUFFER + txSize);
    this.#rxSide = this.#mapping.address;
    this.#rxAddress = this.#rxSide + SIDE.BUFFER;
    this.#txSide = this.#rxSide + this.#txAt;
    this.#txAddress = this.#txSide + SIDE.BUFFER;
    const { buffer, byteOffset } = this.#mapping.view();
    this.#words = new DataView(buffer, byteOffset, this.#txAt + SIDE.BUFFER);
    this.rxView = new DataView(buffer, byteOffset + SIDE.BUFFER, rxSize);
    this.rx = new Uint8Array(buffer, this.rxView.byteOffset, rxSize);
    this.txView = new DataView(buffer, byteOffset + this.#txAt + SIDE.BUFFER, txSize);
    this.tx = new Uint8Array(buffer, this.txView.byteOffset, txSize);
    for (const side of [0, this.#txAt]) {
      writeU64(this.#words, side + SIDE.MSGHDR + MSG_IOV, this.#rxSide + side + SIDE.IOV);
      writeU64(this.#words, side + SIDE.MSGHDR + MSG_IOVLEN, 1);
    }
    writeU64(this.#words, MSG_CONTROL, this.#rxSide + SIDE.CONTROL);
  }

  #setPart(side: number, index: number, address: number, length: number): void {
    const at = side + SIDE.IOV + index * 16;
    writeU64(this.#words, at, address);
    writeU64(this.#words, at + 8, length);
  }

  /**
   * Receives at most `length` bytes into {@link rx} from position `at`.
   *
   * @returns bytes, 0 at the end of the stream, or a negative errno
   */
  receive(at: number, length: number, flags: number): number {
    return this.receiveTo(this.#rxAddress + at, length, flags);
  }

  /**
   * As {@link receive}, where no descriptors can come: the kernel closes those that do, and has
   * less to look at.
   */
  receiveBytes(at: number, length: number, flags: number): number {
    const result = libc.recv(this.#fd, this.#rxAddress + at, length, flags);
    return result < 0 ? -lastErrno() : result;
  }

  /** Receives at most `length` bytes to native address `address`. */
  receiveTo(address: number, length: number, flags: number): number {
    if (address !== this.#partAddress || length !== this.#partLength) {
      this.#setPart(0, 0, address, length);
      this.#partAddress = address;
      this.#partLength = length;
    }
    this.#words.setUint32(MSG_CONTROLLEN, CONTROL_SIZE, true);
    const result = libc.recvmsg(this.#fd, this.#rxSide, flags | MSG_CMSG_CLOEXEC);
    if (result < 0) return -lastErrno();
    if (this.#words.getUint32(MSG_CONTROLLEN, true) !== 0) this.#fdsPending = true;
    return result;
  }

  /** True when descriptors came with the last received bytes. */
  get hasFds(): boolean {
    return this.#fdsPending;
  }

  /** The descriptors that came with the last received bytes; the caller's to close, once. */
  takeFds(): number[] {
    if (!this.#fdsPending) return [];
    this.#fdsPending = false;
    const fds: number[] = [];
    const end = SIDE.CONTROL + this.#words.getUint32(MSG_CONTROLLEN, true);
    let at: number = SIDE.CONTROL;
    while (at + CMSG_HEADER <= end) {
      const length = this.#words.getUint32(at, true);
      if (length < CMSG_HEADER) break;
      const isRights =
        this.#words.getInt32(at + 8, true) === SOL_SOCKET &&
        this.#words.getInt32(at + 12, true) === SCM_RIGHTS;
      for (let fd = at + CMSG_HEADER; isRights && fd + 4 <= at + length; fd += 4)
        fds.push(this.#words.getInt32(fd, true));
      at += Math.ceil(length / 8) * 8;
    }
    return fds;
  }

  /** Sends the first `length` bytes of {@link tx}, with `fds` beside them. */
  send(length: number, flags: number, fds?: readonly number[]): number {
    if (fds === undefined || fds.length === 0) {
      const result = libc.send(this.#fd, this.#txAddress, length, flags | MSG_NOSIGNAL);
      return result < 0 ? -lastErrno() : result;
    }
    this.#setPart(this.#txAt, 0, this.#txAddress, length);
    return this.#sendParts(1, flags, fds);
  }

  /**
   * Sends the first `head` bytes of {@link tx} and then `views`, leaving out the first `skip` bytes
   * of all that; views over a mapping go out from where they lie, others through the rest of `tx`.
   * `fds` go beside the first byte.
   *
   * @returns bytes sent, fewer than all when the socket took no more or the parts were too many
   */
  sendGather(
    head: number,
    views: readonly Uint8Array[],
    skip: number,
    flags: number,
    fds?: readonly number[],
  ): number {
    let parts = 0;
    let rest = skip;
    let room = head;
    if (rest < head) {
      this.#setPart(this.#txAt, parts++, this.#txAddress + rest, head - rest);
      rest = 0;
    } else rest -= head;
    for (const view of views) {
      if (rest >= view.length) {
        rest -= view.length;
        continue;
      }
      if (parts === MAX_PARTS) break;
      const native = addressOf(view);
      if (native !== undefined) {
        this.#setPart(this.#txAt, parts++, native + rest, view.length - rest);
      } else {
        const copied = Math.min(view.length - rest, this.tx.length - room);
        if (copied === 0) break;
        this.tx.set(view.subarray(rest, rest + copied), room);
        this.#setPart(this.#txAt, parts++, this.#txAddress + room, copied);
        room += copied;
        if (copied < view.length - rest) break;
      }
      rest = 0;
    }
    return this.#sendParts(parts, flags, fds);
  }

  #sendParts(parts: number, flags: number, fds: readonly number[] | undefined): number {
    this.#words.setUint32(this.#txAt + MSG_IOVLEN, parts, true);
    if (fds !== undefined && fds.length > 0) this.#setFds(fds);
    else this.#words.setUint32(this.#txAt + MSG_CONTROLLEN, 0, true);
    const result = libc.sendmsg(this.#fd, this.#txSide, flags | MSG_NOSIGNAL);
    return result < 0 ? -lastErrno() : result;
  }

  #setFds(fds: readonly number[]): void {
    if (fds.length > MAX_FDS) throw new RangeError(`${fds.length} descriptors in one message`);
    const at = this.#txAt + SIDE.CONTROL;
    const length = CMSG_HEADER + fds.length * 4;
    writeU64(this.#words, at, length);
    this.#words.setInt32(at + 8, SOL_SOCKET, true);
    this.#words.setInt32(at + 12, SCM_RIGHTS, true);
    fds.forEach((fd, index) => {
      this.#words.setInt32(at + CMSG_HEADER + index * 4, fd, true);
    });
    writeU64(this.#words, this.#txAt + MSG_CONTROL, this.#rxSide + at);
    writeU64(this.#words, this.#txAt + MSG_CONTROLLEN, Math.ceil(length / 8) * 8);
  }

  /** Closes descriptors that nobody took and lets go of the buffers. Idempotent. */
  close(): void {
    for (const fd of this.takeFds()) closeFd(fd);
    this.#mapping.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
