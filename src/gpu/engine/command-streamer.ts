/**
 * A command streamer with one context on it: executes the commands of the ring and of its batches, a
 * turn at a time.
 */
import { CommandFetch } from './command-fetch.ts';
import { COMMAND_NAMES, type Command, type CommandTable, lookUp } from './command-table.ts';
import type {
  ContextExecution,
  ContextPosition,
  EngineInstance,
  ExecutionHost,
  GpuMemory,
  GpuMemoryFault,
  TransferCommand,
  TurnEnd,
} from './contracts.ts';
import type { LrcImage } from './lrc-image.ts';
import { OUTCOME, type Outcome } from './outcome.ts';
import { makePosition, positionFields } from './position.ts';
import { EngineRegisters } from './registers.ts';
import { StreamerRegisters } from './streamer-registers.ts';
import { TransferRunner } from './transfer-runner.ts';

const NOOP_INDEX = COMMAND_NAMES.indexOf('MI_NOOP');
/** NOOPs in a row that take as long as a unit of the budget. */
const NOOPS_PER_UNIT = 64;

/** One context on an engine. The members beside the contract are for command handlers. */
export class CommandStreamer implements ContextExecution {
  readonly engine: EngineInstance;
  readonly host: ExecutionHost;
  readonly ggtt: GpuMemory;
  /** The context's PPGTT; the GGTT for a context without one. */
  readonly ppgtt: GpuMemory;
  readonly image: LrcImage;
  readonly fetch: CommandFetch;
  readonly registers: EngineRegisters;
  readonly special: StreamerRegisters;
  /** MI_ARB_ON_OFF. */
  arbitrationOn = true;
  readonly #table: CommandTable;
  readonly #counts = new Uint32Array(COMMAND_NAMES.length);
  readonly #transfer: TransferRunner;
  /** The command of the transfer, for counting it when it is done. */
  #transferIndex = 0;
  #atArbitrationPoint = true;
  /** What the last MI_SET_PREDICATE came to, and whether it is in force now. */
  #predicated = false;
  #noop = false;
  #budget = 0;
  #faulted: GpuMemory | undefined;
  #fault: GpuMemoryFault | undefined;

  constructor(
    engine: EngineInstance,
    host: ExecutionHost,
    image: LrcImage,
    table: CommandTable,
    position: ContextPosition | undefined,
  ) {
    this.engine = engine;
    this.host = host;
    this.ggtt = host.ggtt;
    this.ppgtt = image.pdp0 === undefined ? host.ggtt : host.ppgtt(image.pdp0);
    this.image = image;
    this.#table = table;
    this.ppgtt.invalidate();
    this.fetch = new CommandFetch(image, this.ggtt, this.ppgtt);
    this.special = new StreamerRegisters(this);
    this.registers = new EngineRegisters(engine, this.special);
    image.restoreRegisters(this.registers);
    this.special.restored();
    const fields = position === undefined ? undefined : positionFields(position);
    this.arbitrationOn = fields?.arbitrationOff !== true;
    this.#transfer = new TransferRunner(host, this.ppgtt, fields?.progress);
    this.fetch.resume(fields?.levels ?? []);
    this.predicate(fields?.noop ?? false);
  }

  get fault(): Readonly<GpuMemoryFault> | undefined {
    return this.#fault;
  }

  get preemptible(): boolean {
    return this.arbitrationOn && this.#atArbitrationPoint;
  }

  /** What executes may do everything. */
  get privileged(): boolean {
    return this.fetch.privileged;
  }

  turn(budget: number): TurnEnd {
    // The driver may have changed page tables, commands and TAIL since the last turn.
    this.fetch.window.drop();
    this.#fault = undefined;
    this.#atArbitrationPoint = false;
    this.#budget = budget;
    let end = this.fetch.readTail() ? this.#resumeTransfer() : this.#faultEnd(this.ggtt);
    end ??= this.#run();
    this.fetch.sync();
    this.#report();
    return end;
  }

  save(): ContextPosition {
    const { fetch, image } = this;
    const { levels } = fetch;
    const level = fetch.contextLevel;
    image.save(this.registers, {
      head: levels.ipOf(0),
      wraps: fetch.wraps,
      batch: level === 0 ? 0 : levels.ipOf(level),
      ctxTimestamp: this.special.ctxTimestamp,
    });
    return makePosition({
      arbitrationOff: !this.arbitrationOn,
      noop: this.#predicated,
      progress: this.#transfer.progress,
      levels: levels.save(level),
    });
  }

  /** Where an access goes; the GGTT bit of a batch without privilege was judged before. */
  space(ggtt: boolean): GpuMemory {
    return ggtt ? this.ggtt : this.ppgtt;
  }

  /** Notes that a command's access to `memory` failed. */
  failed(memory: GpuMemory): Outcome {
    this.#faulted = memory;
    return OUTCOME.FAULT;
  }

  /** Writes a dword for a command. */
  store(memory: GpuMemory, address: number, value: number): Outcome {
    if (!memory.writeU32(address, value)) return this.failed(memory);
    this.fetch.window.wrote();
    return OUTCOME.NEXT;
  }

  /** Writes bytes for a command. */
  storeBytes(memory: GpuMemory, address: number, bytes: Uint8Array): Outcome {
    if (!memory.write(address, bytes)) return this.failed(memory);
    this.fetch.window.wrote();
    return OUTCOME.NEXT;
  }

  /** The context may be taken off here, as far as arbitration is on. */
  arbitrationPoint(): void {
    this.#atArbitrationPoint = true;
  }

  /** True while MI_SET_PREDICATE makes commands NOOPs. */
  get noop(): boolean {
    return this.#noop;
  }

  /**
   * Makes commands NOOPs from here on, or not. Neither the ring nor the batches of a context restore
   * are ever predicated.
   */
  predicate(predicated: boolean): void {
    this.#predicated = predicated && this.fetch.contextLevel > 0;
    this.#noop = this.#predicated && !this.fetch.restoring;
  }

  /** Ends the batch that executes, or with `all` every batch. @returns false in the ring */
  endBatch(all: boolean): boolean {
    if (!this.fetch.end(all)) return false;
    this.predicate(this.#predicated);
    return true;
  }

  /** Executes a command whose work may take several turns. */
  startTransfer(start: TransferCommand, dwords: Uint32Array): Outcome {
    if (!this.#transfer.start(start, dwords, !this.fetch.restoring)) return OUTCOME.HANG;
    return this.#stepTransfer();
  }

  #run(): TurnEnd {
    const { fetch } = this;
    const { window } = fetch;
    while (this.#budget > 0) {
      if (window.at >= window.limit) {
        const end = this.#open();
        if (end !== undefined) return end;
        continue;
      }
      const { words, at } = window;
      const header = words[at] as number;
      if (header === 0) {
        const count = window.skipZeros();
        (this.#counts[NOOP_INDEX] as number) += count;
        this.#budget -= Math.max(1, Math.floor(count / NOOPS_PER_UNIT));
        continue;
      }
      const command = lookUp(this.#table, header);
      if (command === undefined) return 'hang';
      const length = command.fixed !== 0 ? command.fixed : (header & command.mask) + 2;
      let outcome: Outcome = OUTCOME.NEXT;
      if (at + length > window.limit) {
        if (fetch.inRing && fetch.ringLeft() < length * 4) return this.#idle();
        if (this.#executes(command, header)) outcome = this.#runGathered(command, length);
      } else if (this.#executes(command, header)) {
        outcome = (command.run as NonNullable<Command['run']>)(this, words, at, length);
      }
      this.#budget--;
      if (outcome === OUTCOME.NEXT) window.at = at + length;
      else if (outcome !== OUTCOME.JUMP) return this.#end(outcome, at + length, command);
      (this.#counts[command.index] as number)++;
    }
    return 'more';
  }

  #executes(command: Command, header: number): boolean {
    if (command.run === undefined) return false;
    if (this.#noop && !command.unpredicated) return false;
    return this.fetch.privileged || (!command.denied && (header & command.ggtt) === 0);
  }

  #runGathered(command: Command, length: number): Outcome {
    const words = this.fetch.gather(length);
    if (words === undefined) return this.failed(this.fetch.memory);
    return (command.run as NonNullable<Command['run']>)(this, words, 0, length);
  }

  /** What a command that did not simply succeed means for the turn. */
  #end(outcome: Outcome, next: number, command: Command): TurnEnd {
    switch (outcome) {
      case OUTCOME.WAIT:
        this.#atArbitrationPoint = true;
        return 'waiting';
      case OUTCOME.WATCHDOG:
        this.fetch.window.at = next;
        (this.#counts[command.index] as number)++;
        return 'watchdog';
      case OUTCOME.FAULT:
        this.#transferIndex = command.index;
        return this.#faultEnd(this.#faulted as GpuMemory);
      case OUTCOME.MORE:
        this.#transferIndex = command.index;
        return 'more';
      default:
        return 'hang';
    }
  }

  /** Has a window opened. @returns how the turn ends, undefined when it goes on */
  #open(): TurnEnd | undefined {
    const { fetch } = this;
    switch (fetch.open()) {
      case 'empty':
        return this.#idle();
      case 'malformed':
        return 'cat-error';
      case 'fault':
        return this.#faultEnd(fetch.memory);
      case 'ended':
        this.predicate(this.#predicated);
        return undefined;
      default:
        return undefined;
    }
  }

  #idle(): TurnEnd {
    this.#atArbitrationPoint = true;
    return 'idle';
  }

  #faultEnd(memory: GpuMemory): TurnEnd {
    this.#fault = { ...memory.fault };
    return memory === this.ggtt || this.#fault.type === 'bus-error' ? 'cat-error' : 'page-fault';
  }

  #resumeTransfer(): TurnEnd | undefined {
    if (!this.#transfer.isUnderWay) return undefined;
    const { length } = this.#transfer;
    const outcome = this.#stepTransfer();
    if (outcome === OUTCOME.FAULT) return this.#faultEnd(this.#faulted as GpuMemory);
    if (outcome === OUTCOME.MORE) return 'more';
    this.fetch.skip(length);
    (this.#counts[this.#transferIndex] as number)++;
    return undefined;
  }

  #stepTransfer(): Outcome {
    this.#atArbitrationPoint = true;
    const end = this.#transfer.step(this.#budget);
    this.#budget -= this.#transfer.used;
    this.fetch.window.wrote();
    if (end === 'done') return OUTCOME.NEXT;
    return end === 'more' ? OUTCOME.MORE : this.failed(this.#transfer.faulted);
  }

  #report(): void {
    const counts = this.#counts;
    for (let index = 0; index < counts.length; index++) {
      const count = counts[index] as number;
      if (count === 0) continue;
      this.host.command(COMMAND_NAMES[index] as string, count);
      counts[index] = 0;
    }
  }
}
