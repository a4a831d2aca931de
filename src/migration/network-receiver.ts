/** Takes one VF from another host: connections in, the requests of one source, and its report. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { Socket } from 'node:net';
import { Fault, MigrationFault } from '../base/fault.ts';
import { BlockPool } from './block-pool.ts';
import { encodeFault } from './fault-json.ts';
import type { MigrationEvent, MigrationPhase } from './migration-phase.ts';
import { SUPPORTED_ENCODINGS } from './network-compression.ts';
import { NetworkConnection } from './network-connection.ts';
import { checkPayload, FRAME_TYPE, type FrameHeader, type FrameType } from './network-frame.ts';
import { SILENCE_MS } from './network-handshake.ts';
import {
  decodeHello,
  decodeRequest,
  encodeJson,
  encodeWelcome,
  type Hello,
  TOKEN_SIZE,
} from './network-messages.ts';
import { decodeEvent, decodeReport, type SessionReport } from './network-report.ts';
import { TargetSession } from './network-session.ts';
import type { MigrationEnd } from './session-end.ts';

/** The first frame of a connection must be in after this time. */
const FIRST_FRAME_MS = 10_000;

/** What is received, and how. */
export interface ReceiverOptions {
  readonly target: MigrationEnd;
  /** How the receiver's user named the VF. */
  readonly to: string;
  /** How long a source that is cut off may take to come back. */
  readonly reconnectMs: number;
  /** Calls the receiving off, until the target was asked to run. */
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: MigrationEvent) => void) | undefined;
  /** A fault of the target with all that its server knows of it. */
  readonly explain?: ((fault: Fault) => Promise<Fault>) | undefined;
}

/** How the receiving ended well. */
export interface Received {
  /** The source's own report; undefined when the target runs but the source was not heard again. */
  readonly report: SessionReport | undefined;
}

interface Session {
  readonly hello: Hello;
  readonly token: Buffer;
  readonly work: TargetSession;
  control: NetworkConnection | undefined;
  data: NetworkConnection[];
  lost: NodeJS.Timeout | undefined;
  /** The FAULT that was told, for a source that was cut off before it heard it. */
  fault: Uint8Array | undefined;
}

/** One receiver of one VF; it is over with the first session that was meant to move it. */
export class NetworkReceiver {
  readonly #options: ReceiverOptions;
  readonly #pool = new BlockPool();
  readonly #strangers = new Set<NetworkConnection>();
  #session: Session | undefined;
  #phase: MigrationPhase = 'prepare';
  #over = false;
  readonly #onAbort = () => this.#callOff();
  #resolve: (received: Received) => void = () => {};
  #reject: (fault: Fault) => void = () => {};
  /**
   * Settles when the session is over.
   * @throws {MigrationFault} when the VF did not come, with the cause that the source has too
   */
  readonly ended: Promise<Received>;

  constructor(options: ReceiverOptions) {
    this.#options = options;
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // It may be over before anybody waits for it.
    this.ended.catch(() => {});
    const { signal } = options;
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (signal?.aborted === true) this.#callOff();
  }

  /** Takes a connection that came in. */
  accept(socket: Socket): void {
    const timer = setTimeout(() => stranger.close(), FIRST_FRAME_MS);
    const stranger: NetworkConnection = new NetworkConnection(socket, this.#pool, {
      onFrame: (header, payload) => {
        if (!this.#strangers.delete(stranger)) return this.#hear(stranger, header, payload);
        clearTimeout(timer);
        this.#meet(stranger, header, payload);
      },
      onClose: () => {
        clearTimeout(timer);
        this.#strangers.delete(stranger);
        this.#lost(stranger);
      },
    });
    if (this.#over) stranger.close();
    else this.#strangers.add(stranger);
  }

  /** The first frame of a connection says what it is for. */
  #meet(connection: NetworkConnection, header: FrameHeader, payload: Uint8Array): void {
    checkPayload(header, payload);
    if (header.type === FRAME_TYPE.HELLO) {
      const refusal = this.#greet(connection, decodeHello(payload));
      if (refusal === undefined) return;
      connection.message(FRAME_TYPE.REFUSE, 0, encodeJson(encodeFault(refusal)));
      connection.finish();
    } else if (header.type === FRAME_TYPE.ATTACH) this.#attach(connection, payload);
    else throw new Fault('EPROTO', 'the first frame is neither HELLO nor ATTACH');
  }

  /** Begins a session or goes on with it; the reason when it does not. */
  #greet(control: NetworkConnection, hello: Hello): Fault | undefined {
    const { to } = this.#options;
    let session = this.#session;
    if (hello.token !== undefined) {
      if (session === undefined || !isToken(session, Buffer.from(hello.token, 'hex')))
        return new Fault('ESTALE', 'the session has ended here');
      // What older connections still carry is void from here on.
      this.#cut(session);
    } else {
      if (session !== undefined)
        return new Fault('EBUSY', 'another migration is being received here');
      if (hello.to !== undefined && hello.to !== to)
        return new Fault('ENOENT', `the receiver offers ${to}, not ${hello.to}`);
      session = this.#begin(hello);
    }
    clearTimeout(session.lost);
    session.control = control;
    const { work, token } = session;
    const { device, profile } = this.#options.target;
    const payload = encodeWelcome({
      token: token.toString('hex'),
      to,
      profile,
      migrationFlags: device.migrationFlags,
      lastRequest: work.lastRequest,
      ...work.stream,
      encodings: SUPPORTED_ENCODINGS,
    });
    control.message(FRAME_TYPE.WELCOME, 0, payload);
    if (session.fault !== undefined) control.message(FRAME_TYPE.FAULT, 0, session.fault);
    control.watch(SILENCE_MS);
    return undefined;
  }

  /** Tells the source why nothing more will be taken. */
  #tellFault(session: Session, fault: Fault): void {
    session.fault = encodeJson(encodeFault(fault));
    session.control?.message(FRAME_TYPE.FAULT, 0, session.fault);
  }

  #begin(hello: Hello): Session {
    const { target, explain = async (fault: Fault) => fault } = this.#options;
    const tell = (type: FrameType, offset: number, payload?: Uint8Array) =>
      session.control?.message(type, offset, payload);
    const work = new TargetSession(
      target,
      this.#pool,
      {
        onReply: (number, payload) => tell(FRAME_TYPE.REPLY, number, payload),
        onApplied: (applied) => tell(FRAME_TYPE.ACK, applied),
        onAltered: (fault) => session.control?.close(fault),
        onFault: (fault) => void explain(fault).then((told) => this.#tellFault(session, told)),
      },
      explain,
    );
    const token = randomBytes(TOKEN_SIZE);
    const session: Session = {
      hello,
      token,
      work,
      control: undefined,
      data: [],
      lost: undefined,
      fault: undefined,
    };
    this.#session = session;
    return session;
  }

  #attach(connection: NetworkConnection, payload: Uint8Array): void {
    const session = this.#session;
    if (session?.control === undefined || !isToken(session, payload))
      throw new Fault('ESTALE', 'a data connection of no session');
    if (session.data.length >= session.hello.streams)
      throw new Fault('EPROTO', 'more data connections than were announced');
    session.data.push(connection);
  }

  #hear(connection: NetworkConnection, header: FrameHeader, payload: Uint8Array): void {
    const session = this.#session;
    if (session?.control === connection) {
      checkPayload(header, payload);
      this.#obey(session, header, payload);
    } else if (session?.data.includes(connection) === true) {
      if (header.type === FRAME_TYPE.DATA) return session.work.data(header, payload);
      if (header.type !== FRAME_TYPE.FILL)
        throw new Fault('EPROTO', `a frame of type ${header.type} on a data connection`);
      session.control?.message(FRAME_TYPE.FILL_ACK, header.offset);
    } else throw new Fault('ESTALE', 'a connection of no session');
  }

  #obey(session: Session, { type, offset }: FrameHeader, payload: Uint8Array): void {
    switch (type) {
      case FRAME_TYPE.REQUEST:
        if (session.hello.kind !== 'migrate')
          throw new Fault('EPROTO', 'a session that only looks changes nothing');
        return session.work.request(offset, decodeRequest(payload));
      case FRAME_TYPE.EVENT: {
        const event = decodeEvent(payload);
        if (event === undefined || event.type === 'rollback') return;
        if (event.type !== 'round') this.#phase = event.phase;
        this.#options.onEvent?.(event);
        return;
      }
      case FRAME_TYPE.REPORT:
        return void this.#finish(session, decodeReport(payload));
      default:
        throw new Fault('EPROTO', `a frame of type ${type} from a source`);
    }
  }

  #lost(connection: NetworkConnection): void {
    const session = this.#session;
    if (session === undefined || this.#over) return;
    if (session.control !== connection && !session.data.includes(connection)) return;
    this.#cut(session);
    const { reconnectMs } = this.#options;
    // A session that only looked leaves nothing behind.
    if (session.hello.kind === 'check') this.#session = undefined;
    else {
      const reason = `the source was cut off and did not come back within ${reconnectMs} ms`;
      const fault = new Fault('ETIMEDOUT', reason);
      clearTimeout(session.lost);
      session.lost = setTimeout(() => void this.#giveUp(session, fault), reconnectMs);
    }
  }

  #cut(session: Session): void {
    const connections = [session.control, ...session.data];
    session.control = undefined;
    session.data = [];
    for (const connection of connections) connection?.close();
  }

  /** Calls the session off; the source decides what follows, and reports it. */
  #callOff(): void {
    const { signal, reconnectMs } = this.#options;
    const fault =
      signal?.reason instanceof Fault
        ? signal.reason
        : new Fault('ECANCELED', 'the receiving was called off');
    const session = this.#session;
    if (session === undefined || session.hello.kind === 'check') {
      this.#end();
      this.#reject(fault);
      return;
    }
    if (session.work.askedToRun) return;
    session.work.refuse(fault);
    if (session.control === undefined) return void this.#giveUp(session, fault);
    this.#tellFault(session, fault);
    clearTimeout(session.lost);
    session.lost = setTimeout(() => void this.#giveUp(session, fault), reconnectMs);
  }

  /** The source has told how it ended. */
  async #finish(session: Session, report: SessionReport): Promise<void> {
    this.#end();
    if ('fault' in report) {
      // The source has done it already, unless it could not.
      if (!session.work.askedToRun) await session.work.end(report.fault);
      this.#cut(session);
      this.#reject(report.fault);
    } else {
      this.#cut(session);
      this.#resolve({ report });
    }
  }

  /** The source is not heard of any more. */
  async #giveUp(session: Session, fault: Fault): Promise<void> {
    this.#end();
    this.#cut(session);
    const target = await session.work.end(fault);
    if (target === 'running') return this.#resolve({ report: undefined });
    const role = fault.code === 'ECANCELED' ? 'tool' : 'source';
    const told = new MigrationFault(
      fault.code,
      `${this.#phase}, ${role}: ${fault.message}`,
      { phase: this.#phase, role, ends: { source: 'unknown', target } },
      { cause: fault, hint: 'look at the source: it runs on, or is stopped and keeps its state' },
    );
    this.#options.onEvent?.({ type: 'rollback', fault: told });
    this.#reject(told);
  }

  #end(): void {
    this.#over = true;
    this.#options.signal?.removeEventListener('abort', this.#onAbort);
    clearTimeout(this.#session?.lost);
    for (const stranger of this.#strangers) stranger.close();
  }
}

function isToken({ token }: Session, given: Uint8Array): boolean {
  return given.length === token.length && timingSafeEqual(token, given);
}
