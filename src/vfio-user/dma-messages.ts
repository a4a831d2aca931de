/**
 * DMA_READ and DMA_WRITE: guest memory that a client gave no descriptor for. The device needs its
 * bytes at once, so this waits for the reply; commands that come meanwhile wait in the buffer.
 *
 * Source: QEMU docs/interop/vfio-user.rst, VFIO_USER_DMA_READ, VFIO_USER_DMA_WRITE.
 */
import { ERRNO, knownErrno } from '../base/errno.ts';
import { Fault } from '../base/fault.ts';
import { readU64 } from '../base/int.ts';
import { systemFault } from '../sys/libc.ts';
import { POLL, pollOne } from '../sys/poll.ts';
import { MSG, SocketIo } from '../sys/socket-io.ts';
import type { Channel } from './channel.ts';
import { CODECS } from './codecs.ts';
import type { DmaPort } from './dma-table.ts';
import { HEADER_SIZE, MESSAGE, VFIO_USER } from './protocol.ts';

/** Bytes of a reply before its data. A reply to DMA_WRITE may have a count of only four bytes. */
const ACCESS_SIZE = CODECS.dmaAccess.size;
const WRITE_REPLY_SIZE = ACCESS_SIZE - 4;

/** The way to a client's memory. */
export interface DmaSocket {
  /** Where replies come: the connection's own channel, or that of a twin socket. */
  readonly channel: Channel;
  readonly fd: number;
  /** Finishes sending a reply that is half out. @throws {Fault} ECONNRESET, ETIMEDOUT */
  flush(): void;
  /**
   * Position in the channel's buffer behind the command that is being served; undefined while the
   * stream is in the middle of a body.
   */
  scanFrom(): number | undefined;
  /** Ends the connection: its stream can no longer be understood. */
  fail(reason: string): void;
}

/** Guest memory by messages. */
export class DmaMessages implements DmaPort {
  readonly #socket: DmaSocket;
  readonly #maxChunk: number;
  readonly #timeoutMs: number;
  #io: SocketIo | undefined;
  #nextId = 1;

  /**
   * @param maxChunk greatest count that the client takes, bytes
   * @param timeoutMs how long a client may take to answer
   */
  constructor(socket: DmaSocket, maxChunk: number, timeoutMs: number) {
    this.#socket = socket;
    this.#maxChunk = maxChunk;
    this.#timeoutMs = timeoutMs;
  }

  read(address: number, target: Uint8Array): void {
    for (let done = 0; done < target.length; done += this.#maxChunk) {
      const part = target.subarray(done, done + this.#maxChunk);
      const id = this.#send(VFIO_USER.DMA_READ, address + done, part.length, []);
      this.#receive(VFIO_USER.DMA_READ, id, address + done, part.length, part);
    }
  }

  write(address: number, source: Uint8Array): void {
    for (let done = 0; done < source.length; done += this.#maxChunk) {
      const part = source.subarray(done, done + this.#maxChunk);
      const id = this.#send(VFIO_USER.DMA_WRITE, address + done, part.length, [part]);
      this.#receive(VFIO_USER.DMA_WRITE, id, address + done, part.length, undefined);
    }
  }

  #send(command: number, address: number, count: number, data: readonly Uint8Array[]): number {
    this.#socket.flush();
    this.#io ??= new SocketIo(this.#socket.fd, 4096);
    const id = this.#nextId;
    this.#nextId = (this.#nextId % 0xffff) + 1;
    const head = HEADER_SIZE + ACCESS_SIZE;
    const size = head + (data[0]?.length ?? 0);
    const { txView } = this.#io;
    CODECS.header.write(txView, 0, { id, command, size, flags: MESSAGE.COMMAND, error: 0 });
    CODECS.dmaAccess.write(txView, HEADER_SIZE, { address, count });
    const deadline = performance.now() + this.#timeoutMs;
    for (let sent = 0; sent < size; ) {
      const result = this.#io.sendGather(head, data, sent, 0);
      if (result > 0) sent += result;
      else if (result !== -ERRNO.EAGAIN && result !== -ERRNO.EINTR)
        throw systemFault(-result, 'send a DMA message');
      else this.#checkTime(deadline);
    }
    return id;
  }

  #checkTime(deadline: number): void {
    if (performance.now() < deadline) return;
    this.#socket.fail('the client did not answer a DMA message');
    throw new Fault('ETIMEDOUT', 'the client did not answer a DMA message');
  }

  /** Receives more; undefined bytes are an error of the stream. */
  #more(channel: Channel, deadline: number): void {
    const result = channel.fill(0);
    if (result > 0) return;
    if (result === -ERRNO.EAGAIN || result === -ERRNO.EINTR) {
      this.#checkTime(deadline);
      pollOne(this.#socket.fd, POLL.IN, 10);
      return;
    }
    if (channel.tail === channel.rx.length) {
      this.#socket.fail('too many commands while a DMA reply is awaited');
      throw new Fault('EIO', 'too many commands while a DMA reply is awaited');
    }
    throw new Fault('EIO', 'the client has gone while a DMA reply is awaited');
  }

  #receive(
    command: number,
    id: number,
    address: number,
    count: number,
    target: Uint8Array | undefined,
  ): void {
    const { channel } = this.#socket;
    const start = this.#socket.scanFrom();
    if (start === undefined) throw new Fault('EIO', 'no DMA message fits into the body of another');
    const deadline = performance.now() + this.#timeoutMs;
    let at = start;
    for (;;) {
      while (channel.tail - at < HEADER_SIZE) this.#more(channel, deadline);
      const header = CODECS.header.read(channel.rxView, at);
      const isReply = (header.flags & MESSAGE.TYPE_MASK) === MESSAGE.REPLY;
      const mine = isReply && header.id === id && header.command === command;
      if (mine) break;
      if (isReply || header.size < HEADER_SIZE) {
        this.#socket.fail('a reply that nobody waits for');
        throw new Fault('EIO', 'a reply that nobody waits for');
      }
      // A command: it waits where it lies until this one is done.
      while (channel.tail - at < header.size) this.#more(channel, deadline);
      at += header.size;
    }
    this.#take(at, address, count, target, deadline);
  }

  /** Takes the reply at `at` out of the buffer and judges it. */
  #take(
    at: number,
    address: number,
    count: number,
    target: Uint8Array | undefined,
    deadline: number,
  ): void {
    const { channel } = this.#socket;
    const { size, flags, error } = CODECS.header.read(channel.rxView, at);
    const failed = (flags & MESSAGE.ERROR) !== 0;
    const least = failed ? HEADER_SIZE : HEADER_SIZE + (target ? ACCESS_SIZE : WRITE_REPLY_SIZE);
    const most = HEADER_SIZE + ACCESS_SIZE + (target?.length ?? 0);
    if (size < least || size > most || (!failed && target !== undefined && size !== most)) {
      this.#socket.fail(`a DMA reply of ${size} bytes`);
      throw new Fault('EIO', `a DMA reply of ${size} bytes`);
    }
    const fixed = Math.min(size, HEADER_SIZE + ACCESS_SIZE);
    while (channel.tail - at < fixed) this.#more(channel, deadline);
    const view = channel.rxView;
    const echoed = failed || readU64(view, at + HEADER_SIZE) === address;
    const counted = failed || view.getUint32(at + HEADER_SIZE + 8, true) === count;
    const here = Math.min(size, channel.tail - at);
    if (target !== undefined && !failed) target.set(channel.rx.subarray(at + fixed, at + here));
    channel.cut(at, here);
    if (here < size) this.#rest(at, size - here, target, deadline);
    if (failed) {
      const code = error === 0 ? 'EIO' : knownErrno(error);
      throw new Fault(code, 'the client refused a DMA message');
    }
    if (!echoed || !counted) throw new Fault('EIO', 'a DMA reply for another range');
  }

  /** Receives the `length` last bytes of a reply, which do not fit where others wait. */
  #rest(at: number, length: number, target: Uint8Array | undefined, deadline: number): void {
    const { channel } = this.#socket;
    let left = length;
    while (left > 0) {
      const room = Math.min(left, channel.rx.length - at);
      const result = channel.io.receive(at, room, MSG.WAITALL);
      if (result > 0) {
        target?.set(channel.rx.subarray(at, at + result), target.length - left);
        left -= result;
      } else if (result === -ERRNO.EAGAIN || result === -ERRNO.EINTR) this.#checkTime(deadline);
      else throw new Fault('EIO', 'the client has gone in the middle of a DMA reply');
    }
  }

  /** Idempotent. */
  close(): void {
    this.#io?.close();
    this.#io = undefined;
  }
}
