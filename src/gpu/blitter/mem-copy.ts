/**
 * MEM_COPY.
 *
 * Bytes are copied from first to last, so that a copy onto a later part of itself repeats what lies
 * before it.
 */
import { MEM_COPY, MEM_COPY_PAGE_SIZE } from '../../xe/commands/blt.ts';
import { addressOf48, fieldOf } from '../../xe/commands/blt-fields.ts';
import type { MemoryRun, Transfer, TransferContext } from '../engine/contracts.ts';
import { BlitMemory } from './blit-memory.ts';
import { MATRIX_WIDTH_MASK } from './mem-set.ts';
import type { RowPlace } from './rows-fill.ts';
import { joinedRows, type Matrix, RowsTransfer } from './rows-transfer.ts';

/** Copies rows of bytes. */
export class MatrixCopy extends RowsTransfer {
  readonly #memory: BlitMemory;
  readonly #src: RowPlace;
  readonly #dst: RowPlace;
  /** What is at hand of either side, and the address that it begins at. */
  #from: Uint8Array | undefined;
  #fromAddress = 0;
  #to: MemoryRun | undefined;
  #toAddress = 0;

  /** @param resolve the destination is not to be compressed afterwards */
  constructor(
    context: TransferContext,
    matrix: Matrix,
    src: RowPlace,
    dst: RowPlace,
    resolve = false,
  ) {
    super(context, joinedRows(matrix, src.pitch, dst.pitch));
    this.#memory = new BlitMemory(context.ppgtt, context.flatCcs, resolve);
    this.#src = src;
    this.#dst = dst;
  }

  protected override begin(): void {
    this.faulted = undefined;
    this.#from = undefined;
    this.#to = undefined;
  }

  protected override move(row: number, x: number, length: number): number {
    const src = this.#src.address + row * this.#src.pitch + x;
    const dst = this.#dst.address + row * this.#dst.pitch + x;
    const from = this.#source(src, length);
    const to = from === undefined ? undefined : this.#target(dst, length);
    if (from === undefined || to === undefined) {
      this.faulted = this.#memory.memory;
      return 0;
    }
    const fromAt = src - this.#fromAddress;
    const toAt = dst - this.#toAddress;
    const most = Math.min(length, from.length - fromAt, to.bytes.length - toAt);
    // What messages write cannot be seen in a source that was read before.
    const count = to.direct || dst <= src ? most : Math.min(most, dst - src);
    const source = part(from, fromAt, count);
    const target = part(to.bytes, toAt, count);
    if (to.direct) {
      copyForward(source, target);
      return count;
    }
    if (!this.#memory.memory.write(dst, source)) {
      this.faulted = this.#memory.memory;
      return 0;
    }
    this.#from = undefined;
    return count;
  }

  #source(address: number, length: number): Uint8Array | undefined {
    const known = this.#from;
    if (known !== undefined && isInside(address, this.#fromAddress, known.length)) return known;
    this.#from = this.#memory.readable(address, length);
    this.#fromAddress = address;
    return this.#from;
  }

  #target(address: number, length: number): MemoryRun | undefined {
    const known = this.#to;
    if (known !== undefined && isInside(address, this.#toAddress, known.bytes.length)) return known;
    this.#to = this.#memory.writable(address, length);
    this.#toAddress = address;
    return this.#to;
  }
}

function part(bytes: Uint8Array, at: number, count: number): Uint8Array {
  return at === 0 && count === bytes.length ? bytes : bytes.subarray(at, at + count);
}

function isInside(address: number, start: number, length: number): boolean {
  return address >= start && address < start + length;
}

/** Copies from first to last byte, also onto a later part of the same memory. */
function copyForward(source: Uint8Array, target: Uint8Array): void {
  const { length } = source;
  const distance = target.byteOffset - source.byteOffset;
  if (source.buffer !== target.buffer || distance <= 0 || distance >= length) {
    target.set(source);
    return;
  }
  target.set(source.subarray(0, distance));
  for (let done = distance; done < length; ) {
    const count = Math.min(done, length - done);
    target.copyWithin(done, 0, count);
    done += count;
  }
}

/** Decodes MEM_COPY. */
export function startMemCopy(dwords: Uint32Array, context: TransferContext): Transfer | undefined {
  const type = fieldOf(dwords, MEM_COPY.COPY_TYPE);
  if (type > 1) return undefined;
  const src = addressOf48(dwords, MEM_COPY.SRC_ADDRESS);
  const dst = addressOf48(dwords, MEM_COPY.DST_ADDRESS);
  const field = fieldOf(dwords, MEM_COPY.WIDTH);
  const pages = fieldOf(dwords, MEM_COPY.MODE) === 1;
  // Copies of pages are linear whatever else the command says.
  if (pages || type === 0) {
    const width = (field + 1) * (pages ? MEM_COPY_PAGE_SIZE : 1);
    const side = (address: number): RowPlace => ({ address, pitch: width });
    return new MatrixCopy(context, { width, height: 1 }, side(src), side(dst));
  }
  const width = (field & MATRIX_WIDTH_MASK) + 1;
  const height = fieldOf(dwords, MEM_COPY.HEIGHT) + 1;
  const srcPitch = fieldOf(dwords, MEM_COPY.SRC_PITCH) + 1;
  const dstPitch = fieldOf(dwords, MEM_COPY.DST_PITCH) + 1;
  return new MatrixCopy(
    context,
    { width, height },
    { address: src, pitch: srcPitch },
    { address: dst, pitch: dstPitch },
  );
}
