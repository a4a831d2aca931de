/**
 * What changed in a VF's VRAM since it was sent.
 *
 * Writes of the device, and those that come as messages, are told to {@link VramTracker.wrote}.
 * Writes of a processor through a mapping of the BAR leave no trace, so once anybody holds a
 * descriptor of the memory the blocks are compared with digests of what was sent, in passes: with a
 * budget while the VF runs, at full speed once it is stopped.
 *
 * A block that is sent while the VF runs is copied first, and the digest is that of the copy: what
 * the other end got is what later passes compare with, whatever was written meanwhile.
 */
import type { VramChanges, VramLastPass, VramPiece, VramTracking } from '../../pf/ports.ts';
import { copyMemory, type DigestKey, newDigestKey, openDigest } from '../../sys/block-digest.ts';
import { addressOf, Mapping } from '../../sys/mapping.ts';
import { VRAM_CHUNK_MAX_SIZE } from '../../xe/migration-packet.ts';
import type { DeviceMemory } from '../device-memory.ts';
import { BLOCK, BLOCK_SIZE, BlockTable } from './block-table.ts';
import { ChangeFinder, type PrecopyOptions } from './change-finder.ts';

/** Bytes of copies that are on their way to the reader at a time. */
const STAGING_SIZE = 4 * 2 ** 20;

/** The changes of one VRAM object, from the beginning of a pre-copy to the end of the saving. */
export class VramTracker implements VramTracking {
  readonly #memory: DeviceMemory;
  readonly #digest: (address: number, length: number) => bigint;
  readonly #zero: bigint;
  readonly #table: BlockTable;
  readonly #staging: Mapping;
  readonly #stagingBytes: Uint8Array;
  /** Blocks that the device wrote in this session. */
  readonly #touched: Uint8Array;
  readonly #onClose: () => void;
  readonly #finder: ChangeFinder;
  /** Where in the staging buffer the next copy goes, bytes. */
  #staged = 0;
  #cursor = 0;
  #stopped = false;
  #closed = false;

  /** @returns undefined where the machine has no digest */
  static create(
    memory: DeviceMemory,
    options: PrecopyOptions,
    vfid: number,
    onClose: () => void,
  ): VramTracker | undefined {
    const key = newDigestKey();
    return key === undefined ? undefined : new VramTracker(memory, options, key, vfid, onClose);
  }

  private constructor(
    memory: DeviceMemory,
    options: PrecopyOptions,
    key: DigestKey,
    vfid: number,
    onClose: () => void,
  ) {
    this.#memory = memory;
    this.#digest = openDigest(key);
    this.#onClose = onClose;
    this.#staging = Mapping.anonymous(STAGING_SIZE);
    this.#stagingBytes = this.#staging.view();
    this.#zero = this.#digest(this.#staging.address, BLOCK_SIZE);
    this.#table = BlockTable.create(memory.size, this.#zero);
    const digests = { key, digest: this.#digest, zero: this.#zero };
    this.#finder = new ChangeFinder(memory, this.#table, options, digests, vfid);
    this.#touched = new Uint8Array(this.#table.blocks);
    for (const { start, end } of memory.extents()) {
      const last = Math.ceil(end / BLOCK_SIZE);
      for (let block = Math.floor(start / BLOCK_SIZE); block < last; block++) {
        this.#table.state[block] = BLOCK.INITIAL;
        this.#table.data[block] = 1;
      }
    }
  }

  /** The device has written, or a message has. */
  wrote(offset: number, length: number): void {
    const { state, data } = this.#table;
    const last = Math.floor((offset + length - 1) / BLOCK_SIZE);
    for (let block = Math.floor(offset / BLOCK_SIZE); block <= last; block++) {
      this.#touched[block] = 1;
      data[block] = 1;
      if (state[block] === BLOCK.CLEAN) state[block] = BLOCK.DIRTY;
    }
  }

  changes(): VramChanges {
    const { state } = this.#table;
    let initial = 0;
    let dirty = 0;
    for (let at = 0; at < state.length; at++) {
      if (state[at] === BLOCK.INITIAL) initial++;
      else if (state[at] === BLOCK.DIRTY) dirty++;
    }
    if (initial === 0) this.#finder.beginPasses();
    return {
      initialBytes: initial * BLOCK_SIZE,
      dirtyBytes: dirty * BLOCK_SIZE,
      passes: this.#finder.passes,
      stopMs: this.#finder.stopMs,
      staleMs: this.#finder.staleMs,
    };
  }

  reinit(): void {
    const { state } = this.#table;
    for (let at = 0; at < state.length; at++)
      if (state[at] === BLOCK.DIRTY) state[at] = BLOCK.INITIAL;
  }

  rewind(): void {
    this.#staged = 0;
  }

  next(max: number): VramPiece | undefined {
    this.#finder.check();
    return this.#stopped ? this.#nextInPlace() : this.#nextCopy(max);
  }

  /** The next blocks that differ from what was sent, copied and marked as sent. */
  #nextCopy(max: number): VramPiece | undefined {
    const first = this.#staged;
    if (first === STAGING_SIZE) return undefined;
    const room = Math.min(max, STAGING_SIZE - first);
    let start: number | undefined;
    let length = 0;
    for (let block = this.#find(); block !== undefined; block = this.#find(start === undefined)) {
      if (start !== undefined && block * BLOCK_SIZE !== start + length) break;
      if (length > 0 && length + BLOCK_SIZE > room) break;
      this.#cursor = block + 1;
      if (!this.#copy(block, this.#staging.address + first + length)) continue;
      start ??= block * BLOCK_SIZE;
      length += BLOCK_SIZE;
    }
    if (start === undefined) {
      this.#finder.beginPasses();
      return undefined;
    }
    this.#staged = first + length;
    return { offset: start, bytes: this.#stagingBytes.subarray(first, first + length) };
  }

  /**
   * The next block that is not clean, from the cursor on.
   * @param around true to begin anew behind the last one
   */
  #find(around = true): number | undefined {
    const { state } = this.#table;
    for (let block = this.#cursor; block < state.length; block++)
      if (state[block] !== BLOCK.CLEAN) return block;
    if (!around) return undefined;
    for (let block = 0; block < this.#cursor; block++)
      if (state[block] !== BLOCK.CLEAN) return block;
    return undefined;
  }

  /** Copies a block, which counts as sent from then on. @returns false when it was as sent before */
  #copy(block: number, target: number): boolean {
    const { state, digests } = this.#table;
    // Before the copy: what is written after this line is marked or found again.
    state[block] = BLOCK.CLEAN;
    const source = addressOf(this.#memory.view(block * BLOCK_SIZE, BLOCK_SIZE)) as number;
    copyMemory(target, source, BLOCK_SIZE);
    this.#finder.sent(block);
    const digest = this.#digest(target, BLOCK_SIZE);
    if (digest === digests[block]) return false;
    digests[block] = digest;
    return true;
  }

  begin(): void {
    this.#finder.begin();
  }

  async stop(): Promise<VramLastPass | undefined> {
    this.#stopped = true;
    const pass = this.#finder.needed ? await this.#finder.lastPass() : undefined;
    if (pass === undefined) this.#compareTouched();
    this.#cursor = 0;
    return pass;
  }

  resume(): void {
    this.#stopped = false;
    this.#finder.resume();
  }

  /** Nobody but the device can have written: only what it wrote is looked at again. */
  #compareTouched(): void {
    const { state, digests } = this.#table;
    for (let block = 0; block < state.length; block++) {
      if (this.#touched[block] === 0 && state[block] === BLOCK.CLEAN) continue;
      const source = addressOf(this.#memory.view(block * BLOCK_SIZE, BLOCK_SIZE)) as number;
      const same = this.#digest(source, BLOCK_SIZE) === digests[block];
      if (same) state[block] = BLOCK.CLEAN;
      else if (state[block] === BLOCK.CLEAN) state[block] = BLOCK.DIRTY;
    }
  }

  /** The next run of blocks that differ, where they lie: nothing writes any more. */
  #nextInPlace(): VramPiece | undefined {
    const run = this.#runFrom(this.#cursor);
    if (run === undefined) return undefined;
    this.#cursor = run.end;
    const offset = run.start * BLOCK_SIZE;
    return { offset, bytes: this.#memory.view(offset, (run.end - run.start) * BLOCK_SIZE) };
  }

  #runFrom(from: number): { readonly start: number; readonly end: number } | undefined {
    const { state } = this.#table;
    let start = from;
    while (start < state.length && state[start] === BLOCK.CLEAN) start++;
    if (start === state.length) return undefined;
    const most = Math.min(state.length, start + VRAM_CHUNK_MAX_SIZE / BLOCK_SIZE);
    let end = start;
    while (end < most && state[end] !== BLOCK.CLEAN) end++;
    return { start, end };
  }

  left(): { readonly bytes: number; readonly pieces: number } {
    let blocks = 0;
    let pieces = 0;
    const from = this.#stopped ? this.#cursor : 0;
    for (let run = this.#runFrom(from); run !== undefined; run = this.#runFrom(run.end)) {
      blocks += run.end - run.start;
      pieces++;
    }
    return { bytes: blocks * BLOCK_SIZE, pieces };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose();
    this.#finder.close();
    this.#staging.close();
  }
}
