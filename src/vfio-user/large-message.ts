/** The buffer of a connection for what does not fit into the small ones; takes memory only in use. */
import { Mapping } from '../sys/mapping.ts';
import type { BodySource } from './body.ts';
import { receiveBody } from './body.ts';

/** One buffer of the greatest message's size. */
export class LargeMessage {
  readonly #mapping: Mapping;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView;

  /** @param size greatest message, bytes */
  constructor(size: number) {
    this.#mapping = Mapping.anonymous(size);
    this.bytes = this.#mapping.view();
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
  }

  /** The first `count` bytes, as many as there are at most. */
  room(count: number): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(0, count);
  }

  /**
   * Receives a message of `size` bytes, the first of which are in the channel's buffer.
   *
   * @throws {BodyLost} when it does not come whole
   */
  async receive(source: BodySource, size: number): Promise<void> {
    const { channel } = source;
    let count = channel.available;
    this.bytes.set(channel.rx.subarray(channel.head, channel.tail));
    channel.head = channel.tail;
    while (count < size)
      count += await receiveBody(source, size - count, this.#mapping.address + count);
  }

  /** Gives the memory back until the next use. */
  discard(): void {
    this.#mapping.discard(0, this.#mapping.size);
  }

  /** Idempotent. */
  close(): void {
    this.#mapping.close();
  }
}
