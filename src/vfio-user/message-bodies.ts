/** Messages of a connection whose bodies do not pass through its small buffer. */
import { closeFd } from '../sys/descriptor.ts';
import { BodyLost, type BodySource } from './body.ts';
import { CODECS } from './codecs.ts';
import { migDataWrite } from './command-migration.ts';
import type { Dispatcher } from './dispatcher.ts';
import { LargeMessage } from './large-message.ts';
import type { NegotiatedClient } from './negotiation.ts';
import { HEADER_SIZE } from './protocol.ts';
import type { Replies } from './replies.ts';

/** Bytes that tell all about a MIG_DATA_WRITE. */
export const MIG_DATA_HEAD = HEADER_SIZE + CODECS.migData.size;

/** The bodies of one connection. */
export class MessageBodies {
  readonly #source: BodySource;
  readonly #replies: Replies;
  #large: LargeMessage | undefined;
  /** True while the rest of a message is on its way: what comes is no message. */
  receiving = false;

  constructor(source: BodySource, replies: Replies) {
    this.#source = source;
    this.#replies = replies;
  }

  /**
   * Room for `count` bytes that are too many for the small buffer.
   *
   * @param limit greatest message of this connection, bytes
   */
  room(count: number, limit: number): Uint8Array {
    return this.#largeMessage(limit).room(count);
  }

  #largeMessage(limit: number): LargeMessage {
    this.#large ??= new LargeMessage(limit);
    return this.#large;
  }

  /**
   * Serves the MIG_DATA_WRITE of `size` bytes at the head of the channel, whose body is on its way.
   *
   * @throws {BodyLost} when the body does not come
   */
  async streamWrite(client: NegotiatedClient, size: number, flags: number): Promise<void> {
    const { channel } = this.#source;
    const { session } = client.server;
    const header = channel.rxView.getUint32(channel.head, true);
    for (const fd of channel.takeFds(HEADER_SIZE)) closeFd(fd);
    channel.head += HEADER_SIZE;
    this.receiving = true;
    try {
      await migDataWrite(this.#source, size - HEADER_SIZE, client.maxDataXferSize, () =>
        session.data(client, 'write'),
      );
      await this.#replies.answer(header, flags, 0);
    } catch (error) {
      if (error instanceof BodyLost) throw error;
      await this.#replies.refuse(header, flags, error);
    }
  }

  /**
   * Serves the message of `size` bytes at the head of the channel, whose buffer is too small for
   * it.
   *
   * @param limit greatest message of this connection, bytes
   * @throws {BodyLost} when it does not come whole
   */
  async serveLarge(
    dispatcher: Dispatcher | undefined,
    size: number,
    flags: number,
    limit: number,
  ): Promise<void> {
    const fds = this.#source.channel.takeFds(size);
    const large = this.#largeMessage(limit);
    this.receiving = true;
    try {
      await large.receive(this.#source, size);
    } catch (error) {
      for (const fd of fds) closeFd(fd);
      throw error;
    }
    this.receiving = false;
    await dispatcher?.serve(large.bytes, large.view, 0, size, flags, fds);
    large.discard();
  }

  /** Idempotent. */
  close(): void {
    this.#large?.close();
  }
}
