/**
 * Compression metadata of one VF: what real hardware keeps in a hidden part of memory, a byte for
 * each 512 bytes, found by the physical address of the main memory.
 *
 * The emulated GPU keeps main memory as it is, so metadata never loses data; it is kept, copied
 * and cleared as drivers ask. It goes where its memory goes: with the VF's VRAM or a DMA mapping.
 *
 * Source: drivers/gpu/drm/xe/instructions/xe_gpu_commands.h (NUM_BYTES_PER_CCS_BYTE), xe_migrate.c
 * (emit_copy_ccs).
 */
import type { FlatCcs } from './engine/contracts.ts';

/** Bytes of main memory that one byte of metadata describes on Xe2 and newer. */
export const CCS_RATIO = 512;

/** Bytes of main memory that one piece of the store describes. */
const PIECE_SPAN = 2 ** 21;
const PIECE_SIZE = PIECE_SPAN / CCS_RATIO;

/** Metadata that is not all zero. */
export interface CcsPiece {
  readonly where: 'system' | 'vram';
  /** Address of the main memory that the first byte describes. */
  readonly physical: number;
  /** The metadata itself, not a copy. */
  readonly bytes: Uint8Array;
}

type Pieces = Map<number, Uint8Array>;

/** The store; takes room only where something is not zero. */
export class CcsStore implements FlatCcs {
  readonly #system: Pieces = new Map();
  readonly #vram: Pieces = new Map();

  /** True while nothing but zeros was written. */
  get empty(): boolean {
    return this.#system.size === 0 && this.#vram.size === 0;
  }

  read(where: 'system' | 'vram', physical: number, target: Uint8Array): void {
    const pieces = this.#pieces(where);
    for (let done = 0; done < target.length; ) {
      const address = physical + done * CCS_RATIO;
      const at = offsetInPiece(address);
      const count = Math.min(target.length - done, PIECE_SIZE - at);
      const piece = pieces.get(Math.floor(address / PIECE_SPAN));
      if (piece === undefined) target.fill(0, done, done + count);
      else target.set(piece.subarray(at, at + count), done);
      done += count;
    }
  }

  write(where: 'system' | 'vram', physical: number, source: Uint8Array): void {
    const pieces = this.#pieces(where);
    for (let done = 0; done < source.length; ) {
      const address = physical + done * CCS_RATIO;
      const at = offsetInPiece(address);
      const count = Math.min(source.length - done, PIECE_SIZE - at);
      const part = source.subarray(done, done + count);
      const number = Math.floor(address / PIECE_SPAN);
      const piece = pieces.get(number) ?? (isZero(part) ? undefined : newPiece(pieces, number));
      piece?.set(part, at);
      done += count;
    }
  }

  fill(where: 'system' | 'vram', physical: number, length: number, value: number): void {
    const pieces = this.#pieces(where);
    for (let done = 0; done < length; ) {
      const address = physical + done * CCS_RATIO;
      const at = offsetInPiece(address);
      const count = Math.min(length - done, PIECE_SIZE - at);
      const number = Math.floor(address / PIECE_SPAN);
      const piece = pieces.get(number) ?? (value === 0 ? undefined : newPiece(pieces, number));
      piece?.fill(value, at, at + count);
      done += count;
    }
  }

  /** Everything that is not zero, in no order. */
  *pieces(): Generator<CcsPiece> {
    for (const where of ['system', 'vram'] as const)
      for (const [number, bytes] of this.#pieces(where))
        if (!isZero(bytes)) yield { where, physical: number * PIECE_SPAN, bytes };
  }

  /** Forgets what describes guest memory in `[iova, iova+size)`, which is gone. */
  forget(iova: number, size: number): void {
    for (const [number, piece] of this.#system) {
      const start = number * PIECE_SPAN;
      if (start >= iova && start + PIECE_SPAN <= iova + size) this.#system.delete(number);
      else {
        const from = Math.max(iova, start) - start;
        const to = Math.min(iova + size, start + PIECE_SPAN) - start;
        if (from < to) piece.fill(0, Math.floor(from / CCS_RATIO), Math.ceil(to / CCS_RATIO));
      }
    }
  }

  /** Makes all of it zero, as a function-level reset does; or that of one kind of memory. */
  clear(where?: 'system' | 'vram'): void {
    if (where !== 'vram') this.#system.clear();
    if (where !== 'system') this.#vram.clear();
  }

  #pieces(where: 'system' | 'vram'): Pieces {
    return where === 'vram' ? this.#vram : this.#system;
  }
}

function offsetInPiece(address: number): number {
  return Math.floor((address % PIECE_SPAN) / CCS_RATIO);
}

function newPiece(pieces: Pieces, number: number): Uint8Array {
  const piece = new Uint8Array(PIECE_SIZE);
  pieces.set(number, piece);
  return piece;
}

function isZero(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== 0) return false;
  return true;
}
