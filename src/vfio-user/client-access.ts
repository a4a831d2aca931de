/**
 * Region access by messages: one send and one receive, and nothing allocated for a register.
 *
 * Source: QEMU docs/interop/vfio-user.rst, Read and Write Operations.
 */
import { Fault } from '../base/fault.ts';
import { writeU64 } from '../base/int.ts';
import type { ClientLink } from './client-link.ts';
import { CODECS } from './codecs.ts';
import { LAYOUTS } from './layouts.ts';
import { HEADER_SIZE, VFIO_USER } from './protocol.ts';

const FIXED = CODECS.regionAccess.size;
const REGION_AT = HEADER_SIZE + LAYOUTS.regionAccess.fields.region[0];
const COUNT_AT = HEADER_SIZE + LAYOUTS.regionAccess.fields.count[0];
const DATA_AT = HEADER_SIZE + FIXED;
/** Greatest part of an access in one message: fits the buffers with both fixed parts. */
const MAX_PART = 32768;
/** Up to so many bytes a loop is quicker than a view. */
const FEW = 16;
const SINGLE = CODECS.singleWrite.size;
const SINGLE_DATA_AT = LAYOUTS.singleWrite.fields.data[0];

/** One of several writes in a message. */
export interface SingleWrite {
  readonly region: number;
  readonly offset: number;
  /** 1 to 8 bytes. */
  readonly data: Uint8Array;
}

/** The region access of one connection. */
export class ClientAccess {
  readonly #link: ClientLink;
  readonly #maxPart: number;

  /** @param maxCount greatest count that the server takes, bytes */
  constructor(link: ClientLink, maxCount: number) {
    this.#link = link;
    this.#maxPart = Math.min(maxCount, MAX_PART);
  }

  #begin(region: number, offset: number, count: number): void {
    this.#link.begin();
    const view = this.#link.channel.txView;
    writeU64(view, HEADER_SIZE, offset);
    view.setUint32(REGION_AT, region, true);
    view.setUint32(COUNT_AT, count, true);
  }

  /** @throws {Fault} EINVAL and what else the server says; EPROTO, ETIMEDOUT, ECONNRESET */
  read(region: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    const link = this.#link;
    for (let done = 0; done < count; ) {
      const part = Math.min(count - done, this.#maxPart);
      this.#begin(region, offset + done, part);
      link.call(VFIO_USER.REGION_READ, FIXED);
      if (link.reply.length !== FIXED + part)
        throw new Fault('EPROTO', `${link.reply.length} bytes in reply to a read of ${part}`);
      const { rx } = link.channel;
      const from = link.reply.at + FIXED;
      const to = at + done;
      if (part > FEW) bytes.set(rx.subarray(from, from + part), to);
      else
        for (let index = 0; index < part; index++) bytes[to + index] = rx[from + index] as number;
      done += part;
    }
  }

  #beginWrite(region: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    this.#begin(region, offset, count);
    const { tx } = this.#link.channel;
    if (count > FEW) tx.set(bytes.subarray(at, at + count), DATA_AT);
    else
      for (let index = 0; index < count; index++) tx[DATA_AT + index] = bytes[at + index] as number;
  }

  /** @throws {Fault} EINVAL and what else the server says; ETIMEDOUT, ECONNRESET */
  write(region: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    for (let done = 0; done < count; done += this.#maxPart) {
      const part = Math.min(count - done, this.#maxPart);
      this.#beginWrite(region, offset + done, bytes, at + done, part);
      this.#link.call(VFIO_USER.REGION_WRITE, FIXED + part);
    }
  }

  /** Writes without asking for a reply. @throws {Fault} ECONNRESET, ENOTCONN */
  post(region: number, offset: number, bytes: Uint8Array, at: number, count: number): void {
    for (let done = 0; done < count; done += this.#maxPart) {
      const part = Math.min(count - done, this.#maxPart);
      this.#beginWrite(region, offset + done, bytes, at + done, part);
      this.#link.post(VFIO_USER.REGION_WRITE, FIXED + part);
    }
  }

  /** @throws {Fault} EIO when only some writes were done; what the server says of the first */
  writeMulti(writes: readonly SingleWrite[]): void {
    const most = Math.floor(this.#maxPart / SINGLE);
    for (let first = 0; first < writes.length; first += most)
      this.#writeSome(writes.slice(first, first + most));
  }

  #writeSome(writes: readonly SingleWrite[]): void {
    const link = this.#link;
    link.begin();
    const { tx, txView } = link.channel;
    CODECS.writeMulti.write(txView, HEADER_SIZE, { wrCnt: writes.length });
    let at = HEADER_SIZE + CODECS.writeMulti.size;
    for (const { region, offset, data } of writes) {
      if (data.length > 8) throw new RangeError(`a single write of ${data.length} bytes`);
      CODECS.singleWrite.write(txView, at, { offset, region, count: data.length, data: 0 });
      tx.set(data, at + SINGLE_DATA_AT);
      at += SINGLE;
    }
    link.call(VFIO_USER.REGION_WRITE_MULTI, at - HEADER_SIZE);
    if (link.reply.length !== CODECS.writeMulti.size)
      throw new Fault('EPROTO', `${link.reply.length} bytes in reply to several writes`);
    const { wrCnt } = CODECS.writeMulti.read(link.channel.rxView, link.reply.at);
    if (wrCnt !== writes.length)
      throw new Fault('EIO', `${wrCnt} of ${writes.length} writes were done`);
  }
}
