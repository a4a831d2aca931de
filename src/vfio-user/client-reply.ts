/** The reply that a synchronous call waits for, and then reads where it lies. */
import type { Fault } from '../base/fault.ts';
import { closeFd } from '../sys/descriptor.ts';
import type { Channel } from './channel.ts';
import { refusal } from './client-faults.ts';
import { HEADER_SIZE, MESSAGE } from './protocol.ts';

/** One reply at a time. */
export class SyncReply {
  #id = -1;
  /** End of the reply in the buffer; -1 while none lies there. */
  #end = -1;
  /** Why the server refused, undefined when it did not. */
  fault: Fault | undefined;
  /** Whether the reply may bring descriptors; others are closed. */
  wantsFds = false;
  /** Where the payload begins in the channel's buffer. */
  at = 0;
  /** Bytes of the payload. */
  length = 0;

  /** Waits for the reply to request `id`. */
  expect(id: number): void {
    this.fault = undefined;
    this.#id = id;
  }

  /** Waits for it no longer. */
  forget(): void {
    this.#id = -1;
  }

  /** The request whose reply is awaited, -1 for none. */
  get awaited(): number {
    return this.#id;
  }

  /** True while the reply lies in the buffer. */
  get here(): boolean {
    return this.#end >= 0;
  }

  /** Takes the reply to `command`, which lies whole at `at` of the channel's buffer. */
  take(channel: Channel, command: number, at: number, size: number): void {
    this.#id = -1;
    this.at = at + HEADER_SIZE;
    this.length = size - HEADER_SIZE;
    this.#end = at + size;
    const failed = (channel.rxView.getUint32(at + 8, true) & MESSAGE.ERROR) !== 0;
    if (failed) this.fault = refusal(command, channel.rxView.getUint32(at + 12, true));
    if (failed || !this.wantsFds) for (const fd of channel.takeFds(size)) closeFd(fd);
  }

  /** Gives the reply's place in the buffer back. */
  drop(channel: Channel): void {
    if (this.#end < 0) return;
    channel.head = this.#end;
    this.#end = -1;
  }
}
