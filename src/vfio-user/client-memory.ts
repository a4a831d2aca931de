/**
 * The memory that a client offers to the server's device, as far as it is reached by messages:
 * answers to DMA_READ and DMA_WRITE.
 *
 * Source: QEMU docs/interop/vfio-user.rst, VFIO_USER_DMA_READ, VFIO_USER_DMA_WRITE.
 */
import { ERRNO } from '../base/errno.ts';
import { Fault, toFault } from '../base/fault.ts';
import { systemFault } from '../sys/libc.ts';
import { POLL, pollOne } from '../sys/poll.ts';
import { SocketIo } from '../sys/socket-io.ts';
import type { DmaMapping } from '../vfio/vfio-device.ts';
import type { Channel } from './channel.ts';
import { CODECS } from './codecs.ts';
import { HEADER_SIZE, MESSAGE, VFIO_USER } from './protocol.ts';

const FIXED = CODECS.dmaAccess.size;
/** How long a server may take to take an answer, or to finish a message. */
const PATIENCE_MS = 5000;

/** The mappings of a client. */
export class ClientMemory {
  readonly #mappings = new Map<number, DmaMapping>();
  readonly #maxCount: number;

  /** @param maxCount greatest count that was announced, bytes */
  constructor(maxCount: number) {
    this.#maxCount = maxCount;
  }

  add(mapping: DmaMapping): void {
    this.#mappings.set(mapping.iova, mapping);
  }

  delete(iova: number): void {
    this.#mappings.delete(iova);
  }

  /** A copy of the list. */
  mappings(): DmaMapping[] {
    return [...this.#mappings.values()];
  }

  clear(): void {
    this.#mappings.clear();
  }

  #find(address: number, count: number): DmaMapping {
    for (const mapping of this.#mappings.values())
      if (address >= mapping.iova && address + count <= mapping.iova + mapping.size) return mapping;
    throw new Fault('EFAULT', `${address}+${count} is not mapped`);
  }

  #read(address: number, count: number): Uint8Array {
    const mapping = this.#find(address, count);
    const data = new Uint8Array(count);
    mapping.memory.read(address - mapping.iova, data);
    return data;
  }

  #write(address: number, data: Uint8Array): void {
    const mapping = this.#find(address, data.length);
    mapping.memory.write(address - mapping.iova, data);
  }

  /**
   * Answers the command at the head of `channel`, whose header is there; takes it out.
   *
   * @param fd the channel's socket
   * @throws {Fault} EPROTO when the stream makes no sense, ECONNRESET, ETIMEDOUT
   */
  serve(channel: Channel, fd: number): void {
    const { id, command, size, flags } = CODECS.header.read(channel.rxView, channel.head);
    const isWrite = command === VFIO_USER.DMA_WRITE;
    if (size > HEADER_SIZE + FIXED + (isWrite ? this.#maxCount : 0))
      throw new Fault('EPROTO', `the server sent a command of ${size} bytes`);
    const payload = collect(channel, fd, size);
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    let data = new Uint8Array(0) as Uint8Array;
    let error = 0;
    try {
      data = this.#perform(command, payload, view);
    } catch (cause) {
      error = toFault(cause).errno;
    }
    if ((flags & MESSAGE.NO_REPLY) !== 0) return;
    const head = error === 0 ? HEADER_SIZE + FIXED : HEADER_SIZE;
    const replyFlags = error === 0 ? MESSAGE.REPLY : MESSAGE.REPLY | MESSAGE.ERROR;
    using io = new SocketIo(fd, 4096);
    const total = head + data.length;
    CODECS.header.write(io.txView, 0, { id, command, size: total, flags: replyFlags, error });
    if (error === 0) io.tx.set(payload.subarray(0, FIXED), HEADER_SIZE);
    sendAll(io, fd, head, data);
  }

  /** @returns the data of the reply */
  #perform(command: number, payload: Uint8Array, view: DataView): Uint8Array {
    if (payload.length < FIXED) throw new Fault('EINVAL', 'a short DMA message');
    const { address, count } = CODECS.dmaAccess.read(view, 0);
    if (count > this.#maxCount) throw new Fault('EINVAL', `a count of ${count}`);
    if (command === VFIO_USER.DMA_READ) return this.#read(address, count);
    if (command !== VFIO_USER.DMA_WRITE) throw new Fault('EINVAL', `command ${command}`);
    if (payload.length !== FIXED + count) throw new Fault('EINVAL', 'a count that does not fit');
    this.#write(address, payload.subarray(FIXED));
    return new Uint8Array(0);
  }
}

/** Takes the message of `size` bytes at the head out of the channel, waiting for the rest of it. */
function collect(channel: Channel, fd: number, size: number): Uint8Array {
  const message = new Uint8Array(size);
  const deadline = performance.now() + PATIENCE_MS;
  let done = 0;
  while (done < size) {
    if (channel.available === 0) {
      const result = channel.receiveBody(size - done, undefined, 0);
      const wait = result === -ERRNO.EAGAIN || result === -ERRNO.EINTR;
      if (wait && performance.now() < deadline) pollOne(fd, POLL.IN, 20);
      else if (wait) throw new Fault('ETIMEDOUT', 'the server does not finish a message');
      else if (result <= 0) throw new Fault('ECONNRESET', 'the server has gone');
    }
    const count = Math.min(channel.available, size - done);
    message.set(channel.rx.subarray(channel.head, channel.head + count), done);
    channel.head += count;
    done += count;
  }
  return message.subarray(HEADER_SIZE);
}

function sendAll(io: SocketIo, fd: number, head: number, data: Uint8Array): void {
  const deadline = performance.now() + PATIENCE_MS;
  for (let sent = 0; sent < head + data.length; ) {
    const result = io.sendGather(head, [data], sent, 0);
    if (result > 0) sent += result;
    else if (result !== -ERRNO.EAGAIN && result !== -ERRNO.EINTR)
      throw systemFault(-result, 'answer a DMA message');
    else if (performance.now() > deadline)
      throw new Fault('ETIMEDOUT', 'the server does not take the answer to a DMA message');
    else pollOne(fd, POLL.OUT, 20);
  }
}
