/**
 * Any number of descriptors watched at once, by blocking or from the event loop.
 *
 * The event loop watches only the epoll descriptor: it would make every socket non-blocking, and
 * the hot path of a server blocks.
 *
 * Source: epoll(7).
 */
import { closeFd } from './descriptor.ts';
import { checked, type LoopWatch, libc, watchReadable } from './libc.ts';
import { Mapping, PAGE_SIZE } from './mapping.ts';

const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
/** `struct epoll_event` is packed on x86-64 only. */
const EVENT_SIZE = process.arch === 'x64' ? 12 : 16;
const DATA_AT = EVENT_SIZE - 8;
/** Descriptors that {@link Readiness.wait} tells of at once; a page holds them and an argument. */
export const MAX_EVENTS = 128;
const ARGUMENT_AT = PAGE_SIZE - EVENT_SIZE;

/** A set of descriptors, each with a key that says whose it is. */
export class Readiness implements Disposable {
  #fd: number;
  readonly #page = Mapping.anonymous(PAGE_SIZE);
  readonly #view: DataView;
  #watch: LoopWatch | undefined;
  #armed = false;
  #keepAlive = true;
  #callback: (() => void) | undefined;

  constructor() {
    const bytes = this.#page.view();
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, PAGE_SIZE);
    this.#fd = checked(libc.epoll_create1(EPOLL_CLOEXEC), 'epoll_create1');
  }

  /** Watches `fd` for `events` (bits of `POLL`) under `key` (0 to 2^32-1). */
  add(fd: number, events: number, key: number): void {
    this.#control(EPOLL_CTL_ADD, fd, events, key);
  }

  /** Changes what `fd` is watched for; 0 leaves errors and hang-ups. */
  modify(fd: number, events: number, key: number): void {
    this.#control(EPOLL_CTL_MOD, fd, events, key);
  }

  /** Forgets `fd`; must precede its close. */
  remove(fd: number): void {
    if (this.#fd >= 0) libc.epoll_ctl(this.#fd, EPOLL_CTL_DEL, fd, this.#page.address);
  }

  #control(operation: number, fd: number, events: number, key: number): void {
    this.#view.setUint32(ARGUMENT_AT, events, true);
    this.#view.setUint32(ARGUMENT_AT + DATA_AT, key, true);
    const argument = this.#page.address + ARGUMENT_AT;
    checked(libc.epoll_ctl(this.#fd, operation, fd, argument), `watch descriptor ${fd}`);
  }

  /**
   * Waits for descriptors that are ready.
   *
   * @param timeoutMs 0 does not wait, -1 waits for ever
   * @returns how many; their keys and events stand in {@link key} and {@link events}
   */
  wait(timeoutMs: number): number {
    if (this.#fd < 0) return 0;
    const count = libc.epoll_wait(this.#fd, this.#page.address, MAX_EVENTS, timeoutMs);
    return Math.max(count, 0);
  }

  /** Key of the ready descriptor number `index` of the last {@link wait}. */
  key(index: number): number {
    return this.#view.getUint32(index * EVENT_SIZE + DATA_AT, true);
  }

  /** Bits of `POLL` of the ready descriptor number `index` of the last {@link wait}. */
  events(index: number): number {
    return this.#view.getUint32(index * EVENT_SIZE, true);
  }

  /**
   * Calls `callback` once, as a task of the event loop, when something is ready. To be asked for
   * again each time; a second request before that replaces the first.
   */
  notify(callback: () => void): void {
    if (this.#fd < 0) return;
    this.#callback = callback;
    if (this.#armed) return;
    this.#armed = true;
    if (this.#watch === undefined) this.#watch = watchReadable(this.#fd, this.#ready);
    else this.#watch.start({ readable: true }, this.#ready);
    if (!this.#keepAlive) this.#watch.unref();
  }

  readonly #ready = () => {
    this.#watch?.stop();
    setImmediate(() => {
      this.#armed = false;
      const callback = this.#callback;
      this.#callback = undefined;
      callback?.();
    });
  };

  /** Whether the watch keeps the process alive. */
  keepAlive(on: boolean): void {
    this.#keepAlive = on;
    if (on) this.#watch?.ref();
    else this.#watch?.unref();
  }

  /** Idempotent. */
  close(): void {
    if (this.#fd < 0) return;
    this.#watch?.close();
    this.#watch = undefined;
    closeFd(this.#fd);
    this.#fd = -1;
    this.#page.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
