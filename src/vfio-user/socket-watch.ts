/** What a connection waits for: its next message, or room or bytes in the middle of one. */
import { POLL } from '../sys/poll.ts';
import type { LoopMember, LoopWatch, ServerLoop } from './server-loop.ts';

/** One socket's place in the loop. */
export class SocketWatch {
  readonly #watch: LoopWatch;
  #events: number = POLL.IN;
  #removed = false;
  #wake: (() => void) | undefined;

  /** Watches `fd` for messages. */
  constructor(loop: ServerLoop, fd: number, member: LoopMember) {
    this.#watch = loop.watch(fd, POLL.IN, member);
  }

  /** True once nothing is watched any more. */
  get removed(): boolean {
    return this.#removed;
  }

  /** Watches for bits of `POLL`; errors and hang-ups are told in any case. */
  setEvents(events: number): void {
    if (events === this.#events || this.#removed) return;
    this.#events = events;
    this.#watch.setEvents(events);
  }

  /** Resolves at one of `events`, at an error or when the watch is removed. */
  wait(events: number): Promise<void> {
    if (this.#removed) return Promise.resolve();
    this.setEvents(events);
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  /** Ends a {@link wait}. @returns false when nobody waits */
  wake(): boolean {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
    return wake !== undefined;
  }

  /** Watches for nothing until {@link resume}. Idempotent. */
  pause(): void {
    this.#watch.pause();
  }

  /** Idempotent. */
  resume(): void {
    this.#watch.resume();
  }

  /** Watches for nothing more. Idempotent. */
  remove(): void {
    this.#removed = true;
    this.#watch.remove();
    this.wake();
  }
}
