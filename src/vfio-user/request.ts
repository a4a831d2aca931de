/** One received command, as the handlers see it, and the way to its reply. */

import type { ErrnoName } from '../base/errno.ts';
import { Fault } from '../base/fault.ts';
import { closeFd } from '../sys/descriptor.ts';
import { decode } from './codecs.ts';
import type { Fields, LayoutName } from './layouts.ts';
import { HEADER_SIZE } from './protocol.ts';

/** A command's payload and the room for its reply's. */
export class Request {
  readonly command: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Where the payload begins in {@link bytes} and {@link view}. */
  readonly at: number;
  /** Bytes of the payload. */
  readonly length: number;
  /** Descriptors that came along; closed after the command unless taken. */
  #fds: number[];
  /** The reply's message; its payload begins at {@link replyAt}. */
  readonly reply: DataView;
  readonly replyBytes: Uint8Array;
  readonly replyAt = HEADER_SIZE;
  /** More of the reply's payload, from where it lies. */
  replyTail: readonly Uint8Array[] = [];
  /** Descriptors that go with the reply, borrowed. */
  replyFds: readonly number[] = [];

  constructor(
    command: number,
    payload: { bytes: Uint8Array; view: DataView; at: number; length: number },
    fds: number[],
    reply: { bytes: Uint8Array; view: DataView },
  ) {
    this.command = command;
    this.bytes = payload.bytes;
    this.view = payload.view;
    this.at = payload.at;
    this.length = payload.length;
    this.#fds = fds;
    this.reply = reply.view;
    this.replyBytes = reply.bytes;
  }

  /** Descriptors that came along and were not taken. */
  get fds(): readonly number[] {
    return this.#fds;
  }

  /** Hands the descriptors to the caller, who closes them. */
  takeFds(): number[] {
    const fds = this.#fds;
    this.#fds = [];
    return fds;
  }

  /** Closes the descriptors that nobody took. */
  closeFds(): void {
    for (const fd of this.takeFds()) closeFd(fd);
  }

  /** The payload as structure `name`. @throws {Fault} EINVAL when it is too short */
  decode<Name extends LayoutName>(name: Name): Fields<Name> {
    return decode(name, this.view, this.at, this.length);
  }

  /** Copies `length` bytes from the start of the payload into the reply. */
  echo(length: number): number {
    this.replyBytes.set(this.bytes.subarray(this.at, this.at + length), this.replyAt);
    return length;
  }
}

/** @throws {Fault} `code` (EINVAL unless given) with `reason` unless `condition` holds */
export function demand(
  condition: boolean,
  reason: string,
  code: ErrnoName = 'EINVAL',
): asserts condition {
  if (!condition) throw new Fault(code, reason);
}
