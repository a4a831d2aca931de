/**
 * One thread that serves any number of servers and connections.
 *
 * While nothing happens the thread sleeps in its event loop, where timers and messages of the
 * thread run as usual. While one connection is hot it receives by blocking, which is what makes a
 * round trip short; while several are, it waits for all of them at once. Either way it goes back
 * to the event loop at least every {@link YIELD_AFTER} messages and whenever a device operation
 * takes its time. While somebody has work to do between messages, nothing waits: what is there is
 * served, then the work gets a turn.
 */
import { MAX_EVENTS, Readiness } from '../sys/readiness.ts';
import { LoopTurns, type TurnTicket } from './loop-turns.ts';

/** Messages between two visits to the event loop, about a millisecond and a half of small ones. */
const YIELD_AFTER = 128;
/** Turns of work between two visits to the event loop, about a millisecond. */
const YIELD_AFTER_TURNS = 8;
/** Turns of the microtask queue that a device operation gets before the loop goes to sleep. */
const MICROTASK_TURNS = 8;

/** How a {@link ServerLoop} waits. */
export interface ServerLoopOptions {
  /**
   * Microseconds to spin for the next message of a hot connection before blocking; 0 (unless
   * given) never spins. Stops by itself while it does not pay.
   */
  readonly pollUs?: number;
  /** Milliseconds without a message after which a connection is no longer hot; 4 unless given. */
  readonly quietMs?: number;
}

/** Something with a descriptor that the loop watches. */
export interface LoopMember {
  /** Called with bits of `POLL` when the descriptor is ready. */
  ready(events: number): void;
}

/** A member that can be served by blocking. */
export interface HotMember extends LoopMember {
  /** False while an operation is under way or nobody is connected. */
  readonly canBlock: boolean;
  /**
   * Serves at most `messages`, waiting for each up to the quiet time. The loop does not watch the
   * descriptor from then on: that would make every message of the peer's a little slower.
   *
   * @returns true when the next call may come at once, false when it became quiet, busy or closed
   */
  serveHot(messages: number, pollUs: number): boolean;
  /** Lets the loop watch the descriptor again. Idempotent. */
  cool(): void;
}

/** A member's place in the loop. */
export interface LoopWatch {
  /** Changes what the descriptor is watched for. */
  setEvents(events: number): void;
  /** Stops watching until {@link resume}. Idempotent. */
  pause(): void;
  /** Idempotent. */
  resume(): void;
  /** Stops watching; must precede the close of the descriptor. Idempotent. */
  remove(): void;
}

/** Something that ends with the loop. */
export interface LoopServer {
  close(): Promise<void>;
}

/** The loop; {@link ServerLoop.run} resolves after {@link ServerLoop.stop}. */
export class ServerLoop {
  readonly pollUs: number;
  readonly quietMs: number;
  readonly #readiness = new Readiness();
  readonly #members = new Map<number, LoopMember>();
  /** Key and events of each descriptor that is ready. */
  readonly #ready = new Uint32Array(2 * MAX_EVENTS);
  readonly #hot = new Set<HotMember>();
  /** Who was served by blocking last and may not be watched. */
  #served: HotMember | undefined;
  readonly #servers = new Set<LoopServer>();
  #nextKey = 1;
  #busy = 0;
  #active = false;
  #running: Promise<void> | undefined;
  #stopped = false;
  #nudge: (() => void) | undefined;
  readonly #turns = new LoopTurns(() => this.#nudge?.());

  constructor(options: ServerLoopOptions = {}) {
    this.pollUs = options.pollUs ?? 0;
    this.quietMs = options.quietMs ?? 4;
  }

  /** True once {@link stop} was called. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Ends `server` together with the loop. */
  own(server: LoopServer): void {
    this.#servers.add(server);
  }

  /** Forgets a server that has ended. */
  disown(server: LoopServer): void {
    this.#servers.delete(server);
  }

  /** Watches `fd` on behalf of `member`. */
  watch(fd: number, events: number, member: LoopMember): LoopWatch {
    const key = this.#nextKey++;
    const readiness = this.#readiness;
    let current = events;
    let paused = false;
    this.#members.set(key, member);
    readiness.add(fd, events, key);
    return {
      setEvents: (wanted) => {
        current = wanted;
        if (!paused && this.#members.has(key)) readiness.modify(fd, wanted, key);
      },
      pause: () => {
        if (paused || !this.#members.has(key)) return;
        paused = true;
        readiness.remove(fd);
      },
      resume: () => {
        if (!paused || !this.#members.has(key)) return;
        paused = false;
        readiness.add(fd, current, key);
      },
      remove: () => {
        if (this.#members.delete(key) && !paused) readiness.remove(fd);
      },
    };
  }

  /** Lets a connection be served by blocking while it is the only one. */
  join(member: HotMember): void {
    this.#hot.add(member);
  }

  leave(member: HotMember): void {
    this.#hot.delete(member);
    if (this.#served === member) this.#served = undefined;
  }

  /** Tells that a device operation has begun: the thread must not block until {@link idle}. */
  busy(): void {
    this.#busy++;
  }

  /** Tells that a device operation has ended. */
  idle(): void {
    this.#busy--;
    this.#active = true;
    this.#nudge?.();
  }

  /** Tells that a message was served: more are likely. */
  touch(): void {
    this.#active = true;
  }

  /** True when work wants a turn: whoever serves messages by waiting must return. */
  get isWorkDue(): boolean {
    return this.#turns.isDue;
  }

  /**
   * Has `turn` called between messages: soon, never before this returns, and again after as many
   * milliseconds as it returns, Infinity for not before the next `wake`.
   */
  attach(turn: () => number): TurnTicket {
    return this.#turns.attach(turn);
  }

  /** Serves until {@link stop}. */
  run(): Promise<void> {
    this.#running ??= this.#serve();
    return this.#running;
  }

  async #serve(): Promise<void> {
    let turns = 0;
    while (!this.#stopped) {
      if (this.#busy > 0) await this.#afterMicrotasks();
      if (this.#stopped) break;
      const waitMs = this.#turns.run();
      if (waitMs > 0 && this.#busy === 0 && this.#active) {
        if (!this.#serveActive(waitMs)) this.#active = false;
      } else if (waitMs > 0) {
        await this.#sleep(waitMs);
        this.#dispatch(0);
        continue;
      } else {
        // Work goes on; whoever was served by blocking is served as all others meanwhile.
        this.#cool();
        this.#dispatch(0);
        if (this.#busy === 0 && ++turns < YIELD_AFTER_TURNS) continue;
      }
      turns = 0;
      // Timers, messages from other threads and signals get their turn here.
      await new Promise((resolve) => setImmediate(resolve));
      this.#dispatch(0);
    }
    await Promise.all([...this.#servers].map((server) => server.close()));
    this.#readiness.close();
  }

  async #afterMicrotasks(): Promise<void> {
    for (let turn = 0; turn < MICROTASK_TURNS && this.#busy > 0; turn++) await undefined;
  }

  /** Serves what is hot until work is due; false when it became quiet. */
  #serveActive(workInMs: number): boolean {
    const [only] = this.#hot;
    // A blocking receive lasts for the quiet time.
    const workComes = workInMs < this.quietMs;
    if (only !== undefined && this.#hot.size === 1 && only.canBlock && !workComes) {
      this.#served = only;
      return only.serveHot(YIELD_AFTER, this.pollUs);
    }
    this.#cool();
    const patienceMs = workComes ? Math.ceil(workInMs) : this.quietMs;
    for (let turn = 0; turn < YIELD_AFTER && this.#busy === 0 && !this.isWorkDue; turn++)
      if (!this.#dispatch(patienceMs)) return workComes;
    return true;
  }

  #cool(): void {
    this.#served?.cool();
    this.#served = undefined;
  }

  #dispatch(timeoutMs: number): boolean {
    const count = this.#readiness.wait(timeoutMs);
    // Keys first: a member may close others, or wait on the same page.
    for (let index = 0; index < count; index++) {
      this.#ready[2 * index] = this.#readiness.key(index);
      this.#ready[2 * index + 1] = this.#readiness.events(index);
    }
    for (let index = 0; index < count; index++)
      this.#members
        .get(this.#ready[2 * index] as number)
        ?.ready(this.#ready[2 * index + 1] as number);
    return count > 0;
  }

  #sleep(atMostMs: number): Promise<void> {
    this.#cool();
    return new Promise((resolve) => {
      const isTimed = atMostMs !== Number.POSITIVE_INFINITY;
      const timer = isTimed ? setTimeout(() => this.#nudge?.(), atMostMs) : undefined;
      this.#nudge = () => {
        this.#nudge = undefined;
        clearTimeout(timer);
        resolve();
      };
      this.#readiness.notify(() => this.#nudge?.());
    });
  }

  /** Closes every server and lets {@link run} resolve. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#nudge?.();
    await this.run();
  }
}
