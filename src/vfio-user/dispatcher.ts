/** Runs the commands of one negotiated client. */
import { closeFd } from '../sys/descriptor.ts';
import type { Channel } from './channel.ts';
import { checkRole, runCommand } from './commands.ts';
import type { NegotiatedClient } from './negotiation.ts';
import { HEADER_SIZE, VFIO_USER } from './protocol.ts';
import { RegionAccess } from './region-access.ts';
import type { Replies } from './replies.ts';
import { Request } from './request.ts';

/** From a received message to its reply. */
export class Dispatcher {
  readonly #client: NegotiatedClient;
  readonly #channel: Channel;
  readonly #replies: Replies;
  readonly #access: RegionAccess;
  /** True while a MIG_DATA_READ is under way, which may wait for a device that has no more. */
  reading = false;

  /** @param large room for the data of a region read that does not fit into the small buffer */
  constructor(
    client: NegotiatedClient,
    channel: Channel,
    replies: Replies,
    large: (count: number) => Uint8Array,
  ) {
    this.#client = client;
    this.#channel = channel;
    this.#replies = replies;
    this.#access = new RegionAccess(client.server, channel, large);
  }

  /**
   * Runs the command of the message of `size` bytes at `at` of `bytes` and replies to it.
   *
   * @param fds the message's descriptors, handed over
   * @returns a promise when that takes its time
   */
  serve(
    bytes: Uint8Array,
    view: DataView,
    at: number,
    size: number,
    flags: number,
    fds: number[],
  ): void | Promise<void> {
    const header = view.getUint32(at, true);
    const command = header >>> 16;
    const payload = at + HEADER_SIZE;
    const length = size - HEADER_SIZE;
    if (command === VFIO_USER.REGION_READ || command === VFIO_USER.REGION_WRITE) {
      for (const fd of fds) closeFd(fd);
      return this.#region(header, flags, bytes, view, payload, length);
    }
    const { tx, txView } = this.#channel;
    const place = { bytes, view, at: payload, length };
    return this.#run(header, flags, new Request(command, place, fds, { bytes: tx, view: txView }));
  }

  #region(
    header: number,
    flags: number,
    bytes: Uint8Array,
    view: DataView,
    at: number,
    length: number,
  ): void | Promise<void> {
    const command = header >>> 16;
    try {
      if (this.#client.role === 'migration') checkRole('migration', command);
      const result = this.#access.serve(command, bytes, view, at, length);
      if (typeof result === 'number')
        return this.#replies.answer(header, flags, result, this.#access.tail);
      return result.then(
        (count) => this.#replies.answer(header, flags, count),
        (error) => this.#replies.refuse(header, flags, error),
      );
    } catch (error) {
      return this.#replies.refuse(header, flags, error);
    }
  }

  #run(header: number, flags: number, request: Request): void | Promise<void> {
    const answer = (length: number) => {
      this.reading = false;
      request.closeFds();
      return this.#replies.answer(header, flags, length, request.replyTail, request.replyFds);
    };
    const refuse = (error: unknown) => {
      this.reading = false;
      request.closeFds();
      return this.#replies.refuse(header, flags, error);
    };
    this.reading = request.command === VFIO_USER.MIG_DATA_READ;
    try {
      const result = runCommand(request, this.#client);
      return typeof result === 'number' ? answer(result) : result.then(answer, refuse);
    } catch (error) {
      return refuse(error);
    }
  }
}
