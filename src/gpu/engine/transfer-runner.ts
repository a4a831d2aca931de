/** The command of a streamer whose work takes several turns, if there is one. */
import type {
  ExecutionHost,
  GpuMemory,
  StepEnd,
  Transfer,
  TransferCommand,
  TransferContext,
} from './contracts.ts';

/** Bytes of a transfer that are one unit of budget. */
const BYTES_PER_UNIT = 4096;
/**
 * A step that has taken so long is over, ms: memory that is touched for the first time takes
 * microseconds a page.
 */
const STEP_MS = 0.05;
/** Bytes between two looks at the clock. */
const LOOK_AFTER = 128 * 1024;

/** Holds a transfer and its progress across turns. */
export class TransferRunner {
  /** Units of budget that the last step used. */
  used = 0;
  readonly #context: TransferContext;
  readonly #ppgtt: GpuMemory;
  #transfer: Transfer | undefined;
  #isOwn = true;
  #length = 0;
  #copied = 0;
  #lateAt = 0;
  #lookAt = 0;
  readonly #now: () => number;
  /** Progress of a transfer that was begun before the context was taken off. */
  #progress: number | undefined;

  /** @param progress of the transfer that the first command had begun, from a position */
  constructor(host: ExecutionHost, ppgtt: GpuMemory, progress: number | undefined) {
    this.#ppgtt = ppgtt;
    this.#progress = progress;
    this.#now = () => host.now();
    this.#context = {
      ggtt: host.ggtt,
      ppgtt,
      flatCcs: host.flatCcs,
      copied: (bytes) => {
        this.#copied += bytes;
        host.copied(bytes);
      },
      isLate: () => this.#isLate(),
    };
  }

  /** True while a transfer is not done. */
  get isUnderWay(): boolean {
    return this.#transfer !== undefined;
  }

  /** Dwords of the command under way. */
  get length(): number {
    return this.#length;
  }

  /** For a position: how far the transfer is that the context stands at; undefined without one. */
  get progress(): number | undefined {
    return (this.#isOwn ? this.#transfer?.progress : undefined) ?? this.#progress;
  }

  /** The memory whose `fault` tells about a failed step. */
  get faulted(): GpuMemory {
    return this.#transfer?.faulted ?? this.#ppgtt;
  }

  /**
   * Takes up a command.
   *
   * @param isOwn it is the context's own, not one of its restore: it may have been begun before
   * @returns false when it is malformed
   */
  start(start: TransferCommand, dwords: Uint32Array, isOwn: boolean): boolean {
    const transfer = start(dwords, this.#context);
    if (transfer === undefined) return false;
    if (this.#progress !== undefined && isOwn) {
      transfer.progress = this.#progress;
      this.#progress = undefined;
    }
    this.#transfer = transfer;
    this.#isOwn = isOwn;
    this.#length = dwords.length;
    return true;
  }

  /** Goes on for about `budget` units. */
  step(budget: number): StepEnd {
    this.#copied = 0;
    this.#lookAt = LOOK_AFTER;
    this.#lateAt = this.#now() + STEP_MS;
    const end = (this.#transfer as Transfer).step(budget * BYTES_PER_UNIT);
    this.used = Math.floor(this.#copied / BYTES_PER_UNIT);
    if (end === 'done') this.#transfer = undefined;
    return end;
  }

  #isLate(): boolean {
    if (this.#copied < this.#lookAt) return false;
    this.#lookAt = this.#copied + LOOK_AFTER;
    return this.#now() >= this.#lateAt;
  }
}
