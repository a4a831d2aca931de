/** The replies that a client waits for without holding its thread. */
import { ERRNO, errnoName } from '../base/errno.ts';
import { Fault, toFault } from '../base/fault.ts';
import { closeFd } from '../sys/descriptor.ts';
import { MSG } from '../sys/socket-io.ts';
import type { Channel } from './channel.ts';
import { refusal, timedOut } from './client-faults.ts';
import { commandName, HEADER_SIZE, MESSAGE, VFIO_USER } from './protocol.ts';

/** Room for the body of a reply. */
export interface BodyRoom {
  readonly bytes: Uint8Array;
  /** Native address of the first byte. */
  readonly address: number;
}

/** Where the body of a reply goes instead of into the small buffer. */
export interface BodySink {
  /** Bytes of the payload before the body. */
  readonly fixed: number;
  /**
   * Judges the fixed part.
   *
   * @param length bytes of the body
   * @returns room for the body, at least as much
   * @throws {Fault} EPROTO when the reply cannot be right
   */
  begin(view: DataView, at: number, length: number): BodyRoom;
}

/** A reply's payload without its body. */
export interface Reply {
  readonly payload: Uint8Array;
  readonly view: DataView;
  /** Descriptors that came along; the receiver's to close. */
  readonly fds: readonly number[];
}

interface Pending {
  readonly command: number;
  readonly sink: BodySink | undefined;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (fault: Fault) => void;
  readonly timer: NodeJS.Timeout | undefined;
}

interface Incoming {
  readonly pending: Pending;
  readonly reply: Reply;
  readonly room: BodyRoom;
  done: number;
  readonly length: number;
}

const NOBODY = () => {};

/** The replies by id. */
export class PendingReplies {
  readonly #waiting = new Map<number, Pending[]>();
  readonly #onChange: (waiting: boolean) => void;
  #count = 0;
  #bodies = 0;
  #incoming: Incoming | undefined;

  /** @param onChange told whether anybody waits, whenever that changes */
  constructor(onChange: (waiting: boolean) => void) {
    this.#onChange = onChange;
  }

  /** Waits for the reply to request `id`. @param timeoutMs 0 waits for ever */
  add(id: number, command: number, sink: BodySink | undefined, timeoutMs: number): Promise<Reply> {
    const reply = new Promise<Reply>((resolve, reject) => {
      const late = () => {
        reject(timedOut(command, timeoutMs));
      };
      const timer = timeoutMs > 0 ? setTimeout(late, timeoutMs) : undefined;
      this.#push(id, { command, sink, resolve, reject, timer });
    });
    // Whoever gave up on a reply need not hear that it failed.
    reply.catch(NOBODY);
    this.#count++;
    if (this.#count === 1) this.#onChange(true);
    return reply;
  }

  /** Throws the reply to `id` away when it comes. */
  forget(id: number, command: number): void {
    this.#push(id, { command, sink: undefined, resolve: NOBODY, reject: NOBODY, timer: undefined });
    this.#count++;
  }

  #push(id: number, pending: Pending): void {
    if (pending.sink !== undefined) this.#bodies++;
    const same = this.#waiting.get(id);
    if (same === undefined) this.#waiting.set(id, [pending]);
    else same.push(pending);
  }

  #pull(id: number): Pending | undefined {
    const same = this.#waiting.get(id);
    const pending = same?.shift();
    if (same?.length === 0) this.#waiting.delete(id);
    if (pending === undefined) return undefined;
    clearTimeout(pending.timer);
    if (pending.sink !== undefined) this.#bodies--;
    this.#count--;
    if (this.#count === 0) this.#onChange(false);
    return pending;
  }

  /** True while any reply is awaited. */
  get any(): boolean {
    return this.#count > 0;
  }

  /** True while a reply with a body of its own is awaited. */
  get expectsBody(): boolean {
    return this.#bodies > 0;
  }

  /** True while the body of a reply is on its way. */
  get receiving(): boolean {
    return this.#incoming !== undefined;
  }

  /**
   * Takes the reply of `size` bytes at the head of `channel`.
   *
   * @returns false when some of it is still to come
   * @throws {Fault} EPROTO when nobody asked for it or it cannot be right
   */
  take(channel: Channel, id: number, command: number, size: number): boolean {
    const pending = this.#waiting.get(id)?.[0];
    if (pending === undefined || pending.command !== command)
      throw new Fault('EPROTO', `a reply to ${commandName(command)} that nobody waits for`);
    const failed = (channel.rxView.getUint32(channel.head + 8, true) & MESSAGE.ERROR) !== 0;
    const fixed = HEADER_SIZE + (pending.sink?.fixed ?? 0);
    const streamed = pending.sink !== undefined && !failed && size >= fixed;
    const needed = streamed ? fixed : size;
    if (needed > channel.rx.length)
      throw new Fault('EPROTO', `a reply of ${size} bytes to ${commandName(command)}`);
    if (channel.available < needed) return false;
    this.#pull(id);
    const at = channel.head;
    const fds = channel.takeFds(needed);
    const isWanted = command === VFIO_USER.VERSION && !failed;
    if (!isWanted) for (const fd of fds) closeFd(fd);
    const payload = channel.rx.slice(at + HEADER_SIZE, at + needed);
    const reply = { payload, view: new DataView(payload.buffer), fds: isWanted ? fds : [] };
    if (failed) pending.reject(refusal(command, channel.rxView.getUint32(at + 12, true)));
    else if (!streamed || pending.sink === undefined) pending.resolve(reply);
    else {
      const length = size - fixed;
      const room = beginBody(pending, pending.sink, reply.view, length);
      this.#incoming = { pending, reply, room, length, done: 0 };
    }
    channel.head = at + needed;
    return true;
  }

  /**
   * Receives more of the body.
   *
   * @returns false when the socket has no more now
   * @throws {Fault} ECONNRESET
   */
  receiveBody(channel: Channel): boolean {
    const incoming = this.#incoming;
    if (incoming === undefined) return true;
    const { room, length } = incoming;
    while (incoming.done < length) {
      const left = length - incoming.done;
      const here = Math.min(channel.available, left);
      if (here > 0) {
        room.bytes.set(channel.rx.subarray(channel.head, channel.head + here), incoming.done);
        channel.head += here;
        incoming.done += here;
        continue;
      }
      const result = channel.receiveBody(left, room.address + incoming.done, MSG.WAITALL);
      if (result === -ERRNO.EAGAIN || result === -ERRNO.EINTR) return false;
      if (result <= 0) throw new Fault('ECONNRESET', `receive: ${errnoName(-result)}`);
      incoming.done += result;
    }
    this.#incoming = undefined;
    incoming.pending.resolve(incoming.reply);
    return true;
  }

  /** Refuses everybody who waits. */
  fail(fault: Fault): void {
    const all = [...this.#waiting.keys()];
    for (const id of all)
      for (let pending = this.#pull(id); pending !== undefined; pending = this.#pull(id))
        pending.reject(fault);
    this.#incoming?.pending.reject(fault);
    this.#incoming = undefined;
  }
}

/** @throws {Fault} EPROTO, of which the waiter hears as well */
function beginBody(pending: Pending, sink: BodySink, view: DataView, length: number): BodyRoom {
  try {
    return sink.begin(view, 0, length);
  } catch (error) {
    pending.reject(toFault(error));
    throw error;
  }
}
