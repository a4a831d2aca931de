/** Puts the blocks of a stream, which come over several connections, in order and applies them. */
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { Fault, toFault } from '../base/fault.ts';
import type { BlockPool } from './block-pool.ts';
import { decompressZstd } from './network-compression.ts';
import { BLOCK_MAX_SIZE, ENCODING, type FrameHeader } from './network-frame.ts';

/** The greatest number of bytes of a stream that are on their way. */
export const WINDOW_MAX_SIZE = 64 * 2 ** 20;
/** The greatest number of blocks that are on their way. */
export const WINDOW_MAX_BLOCKS = 256;

const inflateRaw = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.inflateRaw);
const ZEROS = new Uint8Array(BLOCK_MAX_SIZE);

/** What an assembler tells. */
export interface AssemblerEvents {
  /** All bytes below `applied` are applied. */
  readonly onApplied: (applied: number) => void;
  /** A block was altered on its way, found after it was taken: it has to come again. */
  readonly onAltered: (fault: Fault) => void;
  /** The stream was not taken; nothing more of it will be. Once. */
  readonly onFault: (fault: Fault) => void;
}

interface Slot {
  readonly end: number;
  /** Undefined while it is unpacked. */
  bytes: Uint8Array | undefined;
  /** True when `bytes` is of the pool. */
  readonly pooled: boolean;
}

/** Takes the blocks of one stream in any order; keeps no more than a window of them. */
export class NetworkAssembler {
  readonly #write: (bytes: Uint8Array) => Promise<void>;
  readonly #pool: BlockPool;
  readonly #events: AssemblerEvents;
  readonly #slots = new Map<number, Slot>();
  readonly #waiters = new Set<() => void>();
  #applied = 0;
  #busy = false;
  #applying: Promise<void> = Promise.resolve();
  #fault: Fault | undefined;

  /** @param write takes the next bytes of the stream; they may change once it has resolved */
  constructor(
    write: (bytes: Uint8Array) => Promise<void>,
    pool: BlockPool,
    events: AssemblerEvents,
  ) {
    this.#write = write;
    this.#pool = pool;
    this.#events = events;
  }

  /** All bytes below this one are applied. */
  get applied(): number {
    return this.#applied;
  }

  /** What is there above {@link applied}, in order. */
  held(): Array<[from: number, to: number]> {
    const ranges: Array<[number, number]> = [];
    for (const [from, { end }] of [...this.#slots].sort(([a], [b]) => a - b)) {
      const last = ranges.at(-1);
      if (last !== undefined && last[1] === from) last[1] = end;
      else ranges.push([from, end]);
    }
    return ranges;
  }

  /**
   * Takes a DATA frame; its payload is this object's from now on. What is there already is dropped.
   *
   * @throws {Fault} EPROTO for a block outside the window or one that overlaps another, EBADMSG when
   * it was altered on its way
   */
  take(header: FrameHeader, payload: Uint8Array): void {
    const { offset: from, rawLength, encoding } = header;
    const end = from + rawLength;
    if (this.#fault !== undefined || end <= this.#applied) return this.#pool.give(payload);
    this.#checkPlace(from, end);
    if (this.#slots.has(from)) return this.#pool.give(payload);
    if (encoding === ENCODING.RAW) {
      checkCrc(header, payload);
      this.#slots.set(from, { end, bytes: payload, pooled: true });
    } else if (encoding === ENCODING.ZERO)
      this.#slots.set(from, { end, bytes: ZEROS.subarray(0, rawLength), pooled: false });
    else {
      const slot: Slot = { end, bytes: undefined, pooled: false };
      this.#slots.set(from, slot);
      void this.#unpack(header, payload, slot);
    }
    this.#apply();
  }

  /**
   * Waits until all bytes below `end` are applied.
   * @throws {Fault} what the stream was not taken for
   */
  async reached(end: number): Promise<void> {
    for (;;) {
      if (this.#fault !== undefined) throw this.#fault;
      if (this.#applied >= end) return;
      await new Promise<void>((resolve) => this.#waiters.add(resolve));
    }
  }

  /** Takes nothing more, and waits for the write that is under way. */
  async close(fault: Fault): Promise<void> {
    this.#fault ??= fault;
    this.#wake();
    await this.#applying;
    for (const { bytes, pooled } of this.#slots.values())
      if (bytes !== undefined && pooled) this.#pool.give(bytes);
    this.#slots.clear();
  }

  #checkPlace(from: number, end: number): void {
    if (end === from) throw new Fault('EPROTO', 'an empty block');
    if (from < this.#applied || end > this.#applied + WINDOW_MAX_SIZE)
      throw new Fault('EPROTO', `a block at ${from} while ${this.#applied} bytes are applied`);
    const there = this.#slots.get(from);
    if (there !== undefined) {
      if (there.end !== end) throw new Fault('EPROTO', 'two blocks of one place differ');
      return;
    }
    if (this.#slots.size >= WINDOW_MAX_BLOCKS)
      throw new Fault('EPROTO', `more than ${WINDOW_MAX_BLOCKS} blocks at once`);
    for (const [start, slot] of this.#slots)
      if (start < end && from < slot.end) throw new Fault('EPROTO', 'two blocks overlap');
  }

  async #unpack(header: FrameHeader, payload: Uint8Array, slot: Slot): Promise<void> {
    const { offset: from, rawLength, encoding } = header;
    try {
      const bytes =
        encoding === ENCODING.ZSTD
          ? await decompressZstd(payload, rawLength)
          : await inflateRaw(payload, { maxOutputLength: rawLength });
      if (bytes.length !== rawLength)
        throw new Fault('EBADMSG', `a block unpacks to ${bytes.length} bytes, not ${rawLength}`);
      checkCrc(header, bytes);
      slot.bytes = bytes;
      this.#apply();
    } catch (error) {
      if (this.#slots.get(from) === slot) this.#slots.delete(from);
      this.#events.onAltered(
        error instanceof Fault
          ? error
          : new Fault('EBADMSG', 'a block cannot be unpacked', { cause: error }),
      );
    } finally {
      this.#pool.give(payload);
    }
  }

  #apply(): void {
    if (this.#busy) return;
    this.#busy = true;
    this.#applying = this.#applyAll();
  }

  async #applyAll(): Promise<void> {
    for (;;) {
      const slot = this.#slots.get(this.#applied);
      if (slot?.bytes === undefined || this.#fault !== undefined) break;
      const { bytes, end, pooled } = slot;
      try {
        await this.#write(bytes);
      } catch (error) {
        this.#fail(toFault(error));
        break;
      }
      this.#slots.delete(this.#applied);
      if (pooled) this.#pool.give(bytes);
      this.#applied = end;
      this.#wake();
      this.#events.onApplied(end);
    }
    // In the same turn as the last look: a block that comes later begins anew.
    this.#busy = false;
  }

  #fail(fault: Fault): void {
    if (this.#fault !== undefined) return;
    this.#fault = fault;
    this.#wake();
    this.#events.onFault(fault);
  }

  #wake(): void {
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const wake of waiters) wake();
  }
}

function checkCrc({ crc }: FrameHeader, bytes: Uint8Array): void {
  if (zlib.crc32(bytes) !== crc)
    throw new Fault('EBADMSG', 'a block was altered on the way: its CRC does not match');
}
