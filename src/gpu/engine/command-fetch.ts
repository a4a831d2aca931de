/** Fetching commands: the ring with HEAD and TAIL, and the batches that it starts. */
import { RING } from '../../xe/lrc.ts';
import { BatchLevels, LEVEL, MAX_LEVEL, MAX_LEVEL_LEGACY } from './batch-levels.ts';
import type { GpuMemory } from './contracts.ts';
import { gatherCommand, InstructionWindow } from './instruction-window.ts';
import type { LrcImage } from './lrc-image.ts';

const PAGE = 4096;

/** What opening a window came to. */
export type Opened =
  | 'open'
  /** There are no commands left in the ring. */
  | 'empty'
  /** A batch came to its end by itself; open again. */
  | 'ended'
  /** TAIL is outside the ring. */
  | 'malformed'
  | 'fault';

/** Where a context's commands come from. */
export class CommandFetch {
  /** The commands at hand; the streamer moves `at` through them. */
  readonly window = new InstructionWindow();
  readonly levels = new BatchLevels();
  /** Memory that commands come from now. */
  memory: GpuMemory;
  /** What executes now may do everything. */
  privileged = true;
  readonly #image: LrcImage;
  readonly #ggtt: GpuMemory;
  readonly #ppgtt: GpuMemory;
  #tail: number;
  /** Level at which the context goes on after the batches of its restore. */
  #restoreLevel = 0;
  #restoring = false;
  /** How often HEAD came round. */
  #wraps = 0;

  constructor(image: LrcImage, ggtt: GpuMemory, ppgtt: GpuMemory) {
    this.#image = image;
    this.#ggtt = ggtt;
    this.#ppgtt = ppgtt;
    this.memory = ggtt;
    this.levels.ip = image.head;
    this.#tail = image.tail;
  }

  /** Bytes of the ring up to which there are commands, as last read. */
  get tail(): number {
    return this.#tail;
  }

  /** How often HEAD came round since the context was put on. */
  get wraps(): number {
    return this.#wraps;
  }

  /** Address of the command that is next. */
  get address(): number {
    this.sync();
    return this.inRing ? this.#image.ringStart + this.levels.ip : this.levels.ip;
  }

  get inRing(): boolean {
    return this.levels.level === 0;
  }

  /** True while the batches of the context restore run. */
  get restoring(): boolean {
    return this.#restoring;
  }

  /** The level at which the context itself stands. */
  get contextLevel(): number {
    return this.#restoring ? this.#restoreLevel : this.levels.level;
  }

  /** Continues at a position; `levels` as BatchLevels.save gave them. */
  resume(levels: readonly number[]): void {
    this.levels.restore(levels);
    this.#restoreLevel = this.levels.level;
    this.#image.pushRestoreBatches(this.levels);
    this.#restoring = this.levels.level > this.#restoreLevel;
    this.#entered();
  }

  /** Reads TAIL from the image. @returns false on a fault of the GGTT */
  readTail(): boolean {
    const tail = this.#ggtt.readU32(this.#image.tailAddress);
    if (tail === undefined) return false;
    this.#tail = tail & RING.TAIL_ADDR;
    return true;
  }

  /** Opens a window at the next command. */
  open(): Opened {
    this.sync();
    const { levels, window } = this;
    window.drop();
    if (levels.level > 0) {
      const left = levels.end - levels.ip;
      if (left <= 0) {
        this.end(false);
        return 'ended';
      }
      return window.open(this.memory, levels.ip, Math.min(left, PAGE)) ? 'open' : 'fault';
    }
    if (levels.ip === this.#tail && !this.readTail()) return 'fault';
    if (this.#tail >= this.#image.ringSize) return 'malformed';
    const left = this.ringLeft();
    if (left === 0) return 'empty';
    const contiguous = Math.min(left, this.#image.ringSize - levels.ip);
    return window.open(this.#ggtt, this.#image.ringStart + levels.ip, contiguous)
      ? 'open'
      : 'fault';
  }

  /** Bytes from HEAD to TAIL. */
  ringLeft(): number {
    this.sync();
    const { ringSize } = this.#image;
    return (this.#tail - this.levels.ip + ringSize) % ringSize;
  }

  /** The next command in one piece, at index 0. @returns undefined on a fault of {@link memory} */
  gather(length: number): Uint32Array | undefined {
    const { address } = this;
    if (!this.inRing) return gatherCommand(this.memory, address, length, 0, length);
    const { ringStart, ringSize } = this.#image;
    const first = Math.min(length, (ringSize - this.levels.ip) / 4);
    return gatherCommand(this.#ggtt, address, first, ringStart, length);
  }

  /** Goes on `length` dwords behind the command where it stands, without a window. */
  skip(length: number): void {
    this.sync();
    this.window.drop();
    this.#advance(length);
  }

  /** Notes in {@link levels} where the window stands. */
  sync(): void {
    const { window, levels } = this;
    if (!window.isOpen) return;
    if (this.inRing) this.#setHead(window.address - this.#image.ringStart);
    else levels.ip = window.address;
  }

  /**
   * Goes to a batch.
   *
   * @param length dwords of the command that does it
   * @param nested the batch returns behind that command; else it takes the place of this batch
   * @param deep batches may nest deeper than two levels
   */
  start(address: number, inPpgtt: boolean, nested: boolean, deep: boolean, length: number): void {
    const { levels, window } = this;
    const flags =
      (inPpgtt && this.#ppgtt !== this.#ggtt ? LEVEL.PPGTT : 0) |
      (this.privileged && !inPpgtt ? LEVEL.PRIVILEGED : 0);
    if (this.inRing || (nested && levels.level < (deep ? MAX_LEVEL : MAX_LEVEL_LEGACY))) {
      this.skip(length);
      levels.push(address, flags);
      this.#entered();
    } else if (flags === levels.flags && window.jump(this.memory, address)) {
      return;
    } else {
      window.drop();
      levels.chain(address, flags);
      this.#entered();
    }
  }

  /** Ends the batch that executes, or with `all` every batch. @returns false in the ring */
  end(all: boolean): boolean {
    const { levels, window } = this;
    if (this.inRing) return false;
    this.sync();
    window.drop();
    const floor = all && !this.#restoring ? 0 : levels.level - 1;
    while (levels.level > floor) levels.pop();
    if (levels.level === this.#restoreLevel) this.#restoring = false;
    this.#entered();
    return true;
  }

  #advance(length: number): void {
    const ip = this.levels.ip + length * 4;
    if (this.inRing) this.#setHead(ip);
    else this.levels.ip = ip;
  }

  #setHead(offset: number): void {
    const { ringSize } = this.#image;
    const head = offset % ringSize;
    if (offset >= ringSize && head !== this.levels.ip) this.#wraps++;
    this.levels.ip = head;
  }

  #entered(): void {
    const { flags } = this.levels;
    this.privileged = (flags & LEVEL.PRIVILEGED) !== 0;
    this.memory = (flags & LEVEL.PPGTT) !== 0 ? this.#ppgtt : this.#ggtt;
  }
}
