/** The rest of a message that does not fit into the buffer. */
import { ERRNO, knownErrno } from '../base/errno.ts';
import { Fault } from '../base/fault.ts';
import { MSG } from '../sys/socket-io.ts';
import type { Channel } from './channel.ts';

/** A body was not received whole: nobody knows where the next message begins. */
export class BodyLost extends Fault {}

/** Where the body of a message comes from. */
export interface BodySource {
  readonly channel: Channel;
  /** True once the connection is gone: the rest of the body will not come. */
  readonly closed: boolean;
  /** Resolves when there is more to receive, or the connection is gone. */
  readable(): Promise<void>;
}

/**
 * Receives into native memory or, without an address, into the channel's buffer.
 *
 * @returns bytes
 * @throws {BodyLost} ECONNRESET when the stream ends, or its errno
 */
export async function receiveBody(
  source: BodySource,
  length: number,
  address: number | undefined,
): Promise<number> {
  let flags: number = MSG.WAITALL;
  for (;;) {
    if (source.closed) throw new BodyLost('ECONNRESET', 'the client has gone');
    const result = source.channel.receiveBody(length, address, flags);
    if (result > 0) return result;
    if (result === 0)
      throw new BodyLost('ECONNRESET', 'the stream ends in the middle of a message');
    if (result !== -ERRNO.EAGAIN && result !== -ERRNO.EINTR)
      throw new BodyLost(knownErrno(-result), 'the body of a message cannot be received');
    await source.readable();
    // A client that lets us wait gets no second chance to hold the thread.
    flags = MSG.DONTWAIT;
  }
}
