/**
 * The source's way to a receiver: connections that are made again when they are cut, requests that
 * are carried out once, whatever happens to the connections.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault, toFault } from '../base/fault.ts';
import { BlockPool } from './block-pool.ts';
import { chooseCompressor } from './network-compression.ts';
import type { NetworkConnection } from './network-connection.ts';
import { checkPayload, FRAME_TYPE, type FrameHeader, type FrameType } from './network-frame.ts';
import {
  type HandshakeOptions,
  type OpenConnections,
  openConnections,
} from './network-handshake.ts';
import {
  decodeRefuse,
  decodeReply,
  encodeJson,
  type Reply,
  type Request,
  type Welcome,
} from './network-messages.ts';
import { NetworkSender } from './network-sender.ts';
import { TokenBucket } from './token-bucket.ts';

/** A handshake takes no longer. */
const HANDSHAKE_MS = 5000;
/** Pauses between attempts to connect again. */
const RETRY_MIN_MS = 50;
const RETRY_MAX_MS = 1000;
/** So often the connections may be cut without anything having got through in between. */
const CUTS_MAX = 8;
/** How long a last look takes at most when the way was given up. */
const REVIVE_MS = 2000;

/** How to reach a receiver. */
export interface LinkOptions extends Omit<HandshakeOptions, 'token'> {
  /** Bytes a second that go out at most. */
  readonly rateLimit?: number | undefined;
  readonly compress?: boolean | undefined;
  /** How long a cut connection is tried again before the session fails. */
  readonly reconnectMs: number;
  /** Ends the trying; not once the target was asked to run. */
  readonly signal?: AbortSignal | undefined;
}

interface Outstanding {
  readonly number: number;
  readonly payload: Uint8Array;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (fault: Fault) => void;
}

/** The way to one receiver, for one session. */
export class NetworkLink {
  readonly sender: NetworkSender;
  readonly #options: LinkOptions;
  readonly #pool = new BlockPool();
  readonly #limit: TokenBucket | undefined;
  #control: NetworkConnection | undefined;
  #data: readonly NetworkConnection[] = [];
  #welcome: Welcome | undefined;
  #requests = 0;
  #outstanding: Outstanding | undefined;
  #dead: Fault | undefined;
  #remote: Fault | undefined;
  #reconnecting = false;
  #cuts = 0;
  #held = false;
  #revived = false;
  #onFill: (number: number) => void = () => {};
  /** Times that the connections were made again. */
  resumptions = 0;

  private constructor(options: LinkOptions) {
    this.#options = options;
    const { rateLimit } = options;
    this.#limit = rateLimit === undefined ? undefined : new TokenBucket(rateLimit);
    this.sender = new NetworkSender({ pool: this.#pool, limit: this.#limit });
  }

  /**
   * Connects to a receiver and opens a session.
   *
   * @throws {Fault} ECONNREFUSED, EHOSTUNREACH, ETIMEDOUT, EKEYREJECTED ...; EBUSY when the receiver has
   * a session; ENOENT when it offers another VF; EPROTO when it is none
   */
  static async open(options: LinkOptions): Promise<NetworkLink> {
    const link = new NetworkLink(options);
    await link.#establish(HANDSHAKE_MS);
    return link;
  }

  /** What the receiver said when it was met first. */
  get welcome(): Welcome {
    if (this.#welcome === undefined) throw new TypeError('the link is not open');
    return this.#welcome;
  }

  /** The data connections, while they are there. */
  get data(): readonly NetworkConnection[] {
    return this.#data;
  }

  /** The rate limit that all data connections share. */
  get limit(): TokenBucket | undefined {
    return this.#limit;
  }

  /** Hears of every FILL_ACK. */
  set onFill(listener: (number: number) => void) {
    this.#onFill = listener;
  }

  /** From now on the way is tried to the end of its time: the source cannot go back by itself. */
  holdOn(): void {
    this.#held = true;
  }

  /**
   * Has a request carried out at the receiver, once, after all earlier ones.
   *
   * @throws {Fault} what the receiver answered; ETIMEDOUT, ECANCELED ... when the way to it is lost
   */
  async request(request: Request): Promise<Exclude<Reply, { fault: Fault }>> {
    if (this.#dead !== undefined) throw this.#dead;
    if (this.#remote !== undefined && request.op === 'set') throw this.#remote;
    const reply = await new Promise<Reply>((resolve, reject) => {
      this.#requests++;
      const payload = encodeJson(request);
      this.#outstanding = { number: this.#requests, payload, resolve, reject };
      this.#control?.message(FRAME_TYPE.REQUEST, this.#requests, payload);
    });
    if ('fault' in reply) throw reply.fault;
    return reply;
  }

  /** Tells something that is lost when the connection is: progress. */
  tell(type: FrameType, payload: Uint8Array): void {
    this.#control?.message(type, 0, payload);
  }

  /**
   * Connects once more after the way was given up, to ask what became of the target. Whatever an
   * older connection still carries is void from then on.
   *
   * @throws {Fault} when the receiver cannot be reached or has forgotten the session
   */
  async revive(): Promise<void> {
    if (this.#dead === undefined) return;
    if (this.#revived || this.#welcome === undefined) throw this.#dead;
    this.#revived = true;
    await this.#establish(REVIVE_MS);
    this.#dead = undefined;
    this.#revived = false;
  }

  /** Tells the end of the session and closes the connections. Idempotent. */
  async close(report?: Uint8Array): Promise<void> {
    const control = this.#control;
    if (this.#dead === undefined && control !== undefined && report !== undefined) {
      control.message(FRAME_TYPE.REPORT, 0, report);
      control.finish();
      // The receiver closes when it has read it.
      for (let waited = 0; waited < REVIVE_MS && !control.closed; waited += 5) await sleep(5);
    }
    this.#die(new Fault('ECONNABORTED', 'the session is over'));
  }

  async #establish(timeoutMs: number): Promise<void> {
    const opened: NetworkConnection[] = [];
    try {
      const token = this.#welcome?.token;
      const found = await openConnections(
        { ...this.#options, token },
        this.#pool,
        timeoutMs,
        opened,
        {
          onFrame: (header, payload) => this.#hear(header, payload),
          onClose: (fault, connection) => this.#cut(fault, connection),
          onDrain: () => this.sender.pump(),
        },
      );
      if (this.#dead !== undefined && !this.#revived) throw this.#dead;
      this.#go(found);
    } catch (error) {
      for (const connection of opened) connection.close();
      throw error;
    }
  }

  /** The connections are there: what was under way goes on. */
  #go({ control, data, welcome }: OpenConnections): void {
    this.#control = control;
    this.#data = data;
    if (this.#welcome === undefined) this.#welcome = welcome;
    else {
      this.resumptions++;
      if (this.#dead !== undefined) this.#requests = welcome.lastRequest;
      this.sender.resume(welcome);
    }
    const compressor =
      this.#options.compress === false ? undefined : chooseCompressor(welcome.encodings);
    this.sender.attach(data, compressor);
    const waiting = this.#outstanding;
    if (waiting !== undefined) control.message(FRAME_TYPE.REQUEST, waiting.number, waiting.payload);
  }

  #hear(header: FrameHeader, payload: Uint8Array): void {
    checkPayload(header, payload);
    switch (header.type) {
      case FRAME_TYPE.REPLY:
        return this.#settle(header.offset, decodeReply(payload));
      case FRAME_TYPE.ACK:
        this.#cuts = 0;
        if (header.offset > this.sender.written)
          throw new Fault('EPROTO', 'more is applied than was sent');
        return this.sender.confirm(header.offset, this.#control?.roundTripMs ?? 0);
      case FRAME_TYPE.FILL_ACK:
        return this.#onFill(header.offset);
      case FRAME_TYPE.FAULT:
        this.#remote = decodeRefuse(payload);
        return this.sender.fail(this.#remote);
      default:
        throw new Fault('EPROTO', `a frame of type ${header.type} from a receiver`);
    }
  }

  #settle(number: number, reply: Reply): void {
    const waiting = this.#outstanding;
    if (waiting?.number !== number) return;
    this.#outstanding = undefined;
    this.#cuts = 0;
    waiting.resolve(reply);
  }

  /** One connection is gone: all are made again, so that both ends know what is where. */
  #cut(fault: Fault, connection: NetworkConnection): void {
    const mine = connection === this.#control || this.#data.includes(connection);
    if (!mine || this.#dead !== undefined) return;
    if (++this.#cuts > CUTS_MAX)
      return this.#die(new Fault(fault.code, `cut again and again: ${fault.message}`));
    this.#disconnect();
    if (!this.#reconnecting) void this.#reconnect(fault);
  }

  #disconnect(): void {
    const connections = [this.#control, ...this.#data];
    this.#control = undefined;
    this.#data = [];
    this.sender.detach();
    for (const connection of connections) connection?.close();
  }

  async #reconnect(cause: Fault): Promise<void> {
    const { reconnectMs, signal } = this.#options;
    this.#reconnecting = true;
    // The source's guest may be waiting: then a handshake is not waited for.
    const callOff = () => {
      const stop = this.#reasonToStop(signal);
      if (stop !== undefined) this.#die(stop);
    };
    signal?.addEventListener('abort', callOff);
    const deadline = performance.now() + reconnectMs;
    let last = cause;
    let pauseMs = RETRY_MIN_MS;
    try {
      for (;;) {
        const stop = this.#reasonToStop(signal);
        if (stop !== undefined) return this.#die(stop);
        const left = deadline - performance.now();
        if (left <= 0)
          return this.#die(
            new Fault('ETIMEDOUT', `the connection was cut: ${last.message}`, { cause: last }),
          );
        try {
          await this.#establish(Math.min(left, HANDSHAKE_MS));
          return;
        } catch (error) {
          last = toFault(error);
          if (last.code === 'ESTALE' || last.code === 'EKEYREJECTED') return this.#die(last);
        }
        await this.#pause(Math.min(pauseMs, Math.max(left, 1)));
        pauseMs = Math.min(pauseMs * 2, RETRY_MAX_MS);
      }
    } finally {
      signal?.removeEventListener('abort', callOff);
      this.#reconnecting = false;
    }
  }

  /** Sleeps, but no longer than until the session is called off. */
  async #pause(ms: number): Promise<void> {
    const signal = this.#held ? undefined : this.#options.signal;
    await sleep(ms, undefined, signal === undefined ? {} : { signal }).catch(() => {});
  }

  #reasonToStop(signal: AbortSignal | undefined): Fault | undefined {
    if (this.#dead !== undefined) return this.#dead;
    if (this.#held || signal?.aborted !== true) return undefined;
    return signal.reason instanceof Fault
      ? signal.reason
      : new Fault('ECANCELED', 'the migration was called off');
  }

  #die(fault: Fault): void {
    this.#dead ??= fault;
    this.#disconnect();
    this.sender.fail(fault);
    const waiting = this.#outstanding;
    this.#outstanding = undefined;
    waiting?.reject(fault);
  }
}
