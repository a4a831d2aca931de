/** The twin socket of a client, on which the server's commands come when it was agreed upon. */
import { Fault } from '../base/fault.ts';
import { MSG } from '../sys/socket-io.ts';
import { UnixSocket } from '../sys/unix-socket.ts';
import { Channel } from './channel.ts';
import type { ClientMemory } from './client-memory.ts';
import { HEADER_SIZE } from './protocol.ts';

/** The socket and what lies in its buffer. */
export class ClientTwin {
  readonly #socket: UnixSocket;
  readonly #channel: Channel;
  readonly #memory: ClientMemory;

  /**
   * Takes over descriptor `fd`.
   *
   * @param memory serves the server's commands
   * @param sliceMs how long a blocking receive or send waits at most
   */
  constructor(fd: number, memory: ClientMemory, sliceMs: number) {
    this.#socket = new UnixSocket(fd);
    this.#socket.setReceiveTimeout(sliceMs);
    this.#socket.setSendTimeout(sliceMs);
    this.#channel = new Channel(fd);
    this.#memory = memory;
  }

  /** The descriptor, borrowed. */
  get fd(): number {
    return this.#socket.fd;
  }

  /** Serves what is there. @throws {Fault} ECONNRESET when the server has closed the socket */
  serve(): void {
    const result = this.#channel.fill(MSG.DONTWAIT);
    if (result === 0) throw new Fault('ECONNRESET', 'the server closed the twin socket');
    while (this.#channel.available >= HEADER_SIZE)
      this.#memory.serve(this.#channel, this.#socket.fd);
  }

  /** Idempotent. */
  close(): void {
    this.#channel.close();
    this.#socket.close();
  }
}
