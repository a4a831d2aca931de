/** What a receiver does with the VF at the requests of one source, and only at those. */
import { Fault, type MigrationEndState, toFault } from '../base/fault.ts';
import { MIG_STATE, type MigState } from '../vfio/migration-state.ts';
import type { MigrationData } from '../vfio/vfio-device.ts';
import type { BlockPool } from './block-pool.ts';
import { type AssemblerEvents, NetworkAssembler } from './network-assembler.ts';
import type { FrameHeader } from './network-frame.ts';
import { encodeReply, type Reply, type Request, type Welcome } from './network-messages.ts';
import { askState, type MigrationEnd, resetTarget } from './session-end.ts';

/** What a session tells the receiver's connections. */
export interface TargetEvents extends AssemblerEvents {
  readonly onReply: (number: number, payload: Uint8Array) => void;
}

/** One request at a time, each once. */
export class TargetSession {
  readonly #target: MigrationEnd;
  readonly #pool: BlockPool;
  readonly #events: TargetEvents;
  readonly #explain: (fault: Fault) => Promise<Fault>;
  #last = 0;
  #reply: Uint8Array | undefined;
  #running: Promise<void> = Promise.resolve();
  #data: MigrationData | undefined;
  #assembler: NetworkAssembler | undefined;
  #file = 0;
  /** The last state asked for; undefined when there is nothing to take back. */
  #asked: MigState | undefined;
  #refusal: Fault | undefined;

  /** @param explain a fault with all that the target's server knows of it */
  constructor(
    target: MigrationEnd,
    pool: BlockPool,
    events: TargetEvents,
    explain: (fault: Fault) => Promise<Fault>,
  ) {
    this.#target = target;
    this.#pool = pool;
    this.#events = events;
    this.#explain = explain;
  }

  /** Number of the last request that was taken. */
  get lastRequest(): number {
    return this.#last;
  }

  /** The stream, as far as it is there. */
  get stream(): { readonly file: number } & Pick<Welcome, 'applied' | 'held'> {
    const assembler = this.#assembler;
    const [applied, held] = [assembler?.applied ?? 0, assembler?.held() ?? []];
    return { file: this.#file, applied, held };
  }

  /** True once the source has asked the target to run, and nothing after that. */
  get askedToRun(): boolean {
    return this.#asked === MIG_STATE.RUNNING;
  }

  /** From now on the state is changed no more, but for a reset. */
  refuse(fault: Fault): void {
    this.#refusal ??= fault;
  }

  /** Takes a DATA frame. @throws {Fault} EPROTO, EBADMSG, see NetworkAssembler.take */
  data(header: FrameHeader, payload: Uint8Array): void {
    if (this.#assembler === undefined || header.file !== this.#file)
      throw new Fault('EPROTO', `data for file ${header.file}, which is not open`);
    this.#assembler.take(header, payload);
  }

  /**
   * Carries out request `number`, or tells once more what came of it.
   * @throws {Fault} EPROTO when it is not the next one
   */
  request(number: number, request: Request): void {
    if (number === this.#last) {
      if (this.#reply !== undefined) this.#events.onReply(number, this.#reply);
      return;
    }
    if (number !== this.#last + 1)
      throw new Fault('EPROTO', `request ${number} after ${this.#last}`);
    // Who asks on without an answer has given the last request up: it waits for data no more.
    if (number > 1 && this.#reply === undefined)
      void this.#assembler?.close(new Fault('ECANCELED', 'the source gave the request up'));
    this.#last = number;
    this.#reply = undefined;
    this.#running = this.#running.then(async () => {
      const reply = await this.#carryOut(request).catch(
        async (error: unknown): Promise<Reply> => ({ fault: await this.#explain(toFault(error)) }),
      );
      const payload = encodeReply(reply);
      if (number === this.#last) this.#reply = payload;
      this.#events.onReply(number, payload);
    });
  }

  /**
   * Ends the session from this side: the target is reset, unless it was asked to run and does.
   *
   * @returns what became of it
   */
  async end(fault: Fault): Promise<MigrationEndState> {
    this.refuse(fault);
    await this.#assembler?.close(fault);
    await this.#running;
    if (this.#asked === undefined) return 'untouched';
    if (this.askedToRun) {
      const state = await askState(this.#target);
      if (state === 'unknown') return 'unknown';
      if (state === MIG_STATE.RUNNING) return 'running';
    }
    return await resetTarget(this.#target, this.#data);
  }

  async #carryOut(request: Request): Promise<Reply> {
    const { device } = this.#target;
    if (request.op === 'state') return await this.#tellState();
    if (request.op === 'reset') return await this.#reset();
    const { state, dataEnd } = request;
    if (this.#assembler !== undefined) await this.#assembler.reached(dataEnd);
    if (this.#refusal !== undefined) throw this.#refusal;
    await this.#closeData();
    const before = this.#asked;
    this.#asked = state;
    try {
      this.#open(await device.setMigrationState(state));
    } catch (error) {
      // Owned by another session, it is not ours to reset.
      if (error instanceof Fault && error.code === 'EBUSY') this.#asked = before;
      throw error;
    }
    return { state, opened: this.#data !== undefined };
  }

  async #tellState(): Promise<Reply> {
    const state = await askState(this.#target);
    if (state === 'gone') return { gone: true };
    if (state !== 'unknown') return { state };
    throw new Fault('ENOTCONN', 'the receiver has lost the target VF and does not know its state');
  }

  async #reset(): Promise<Reply> {
    await this.#closeData();
    await this.#target.device.reset();
    this.#asked = undefined;
    return { state: await this.#target.device.migrationState() };
  }

  #open(data: MigrationData | undefined): void {
    this.#data = data;
    this.#file = (this.#file + 1) % 256;
    this.#assembler =
      data === undefined
        ? undefined
        : new NetworkAssembler((bytes) => data.write(bytes), this.#pool, this.#events);
  }

  async #closeData(): Promise<void> {
    await this.#assembler?.close(new Fault('ENODEV', 'the migration session has ended'));
    this.#assembler = undefined;
    this.#data?.close();
    this.#data = undefined;
  }
}
