/**
 * Memory as the blitter sees it: bytes of a page whose PAT index enables compression go with their
 * metadata.
 *
 * Main memory holds what was written, compressed or not. Metadata says what hardware would say:
 * zero for memory that is not compressed, {@link CCS_COMPRESSED} for what was written through a
 * compressing page. Any other value is one that somebody put there; what is then read through a
 * compressing page is not what was written, as on hardware.
 *
 * Source: drivers/gpu/drm/xe/xe_migrate.c (xe_migrate_needs_ccs_emit: a write through another page
 * makes VRAM of Xe2 uncompressed), igt-gpu-tools tests/intel/xe_ccs.c.
 */
import type { FlatCcs, GpuMemory, MemoryRun } from '../engine/contracts.ts';
import { CCS_RATIO } from '../flat-ccs.ts';

/** State of 512 bytes that were written through a compressing page. */
export const CCS_COMPRESSED = 0x55;

/** Bytes of a page. */
export const PAGE_SIZE = 4096;

const PAGE_CCS_SIZE = PAGE_SIZE / CCS_RATIO;

/** Access of one command to one address space. */
export class BlitMemory {
  readonly memory: GpuMemory;
  readonly #ccs: FlatCcs | undefined;
  /** True when what is written becomes uncompressed whatever its page says. */
  readonly #resolve: boolean;
  readonly #metadata = new Uint8Array(PAGE_CCS_SIZE);
  readonly #scratch = new Uint8Array(PAGE_SIZE);

  constructor(memory: GpuMemory, ccs: FlatCcs | undefined, resolve = false) {
    this.memory = memory;
    this.#ccs = ccs;
    this.#resolve = resolve;
  }

  /** Copies bytes out. @returns false on a fault */
  read(address: number, target: Uint8Array): boolean {
    if (this.#ccs === undefined || this.#ccs.empty) return this.memory.read(address, target);
    for (let done = 0; done < target.length; ) {
      const bytes = this.readable(address + done, target.length - done);
      if (bytes === undefined) return false;
      target.set(bytes, done);
      done += bytes.length;
    }
    return true;
  }

  /** Copies bytes in. @returns false on a fault */
  write(address: number, source: Uint8Array): boolean {
    if (this.#ccs === undefined) return this.memory.write(address, source);
    for (let done = 0; done < source.length; ) {
      const run = this.writable(address + done, source.length - done);
      if (run === undefined) return false;
      const part = source.subarray(done, done + run.bytes.length);
      if (run.direct) run.bytes.set(part);
      else if (!this.memory.write(address + done, part)) return false;
      done += part.length;
    }
    return true;
  }

  /** Bytes to read, at most `length`: the memory itself, or what its metadata makes of it. */
  readable(address: number, length: number): Uint8Array | undefined {
    const run = this.memory.run(address, length, 'read');
    if (run === undefined) return undefined;
    if (run.where === 'null' || !run.compressed || this.#ccs === undefined || this.#ccs.empty)
      return run.bytes;
    return this.#decoded(run.bytes, run.where, run.physical, this.#ccs);
  }

  /** A run to write all of; its metadata has been brought in line. */
  writable(address: number, length: number): MemoryRun | undefined {
    const run = this.memory.run(address, length, 'write');
    if (run !== undefined) this.#written(run);
    return run;
  }

  #written({ where, physical, compressed, bytes }: MemoryRun): void {
    const ccs = this.#ccs;
    if (ccs === undefined || where === 'null') return;
    const state = compressed && !this.#resolve ? CCS_COMPRESSED : 0;
    // System memory of an integrated device keeps its state when written through other pages.
    if (state === 0 && (ccs.empty || (where === 'system' && !compressed))) return;
    const first = Math.floor(physical / CCS_RATIO);
    const end = Math.ceil((physical + bytes.length) / CCS_RATIO);
    ccs.fill(where, first * CCS_RATIO, end - first, state);
  }

  #decoded(
    bytes: Uint8Array,
    where: 'system' | 'vram',
    physical: number,
    ccs: FlatCcs,
  ): Uint8Array {
    const offset = physical % PAGE_SIZE;
    const part = bytes.subarray(0, Math.min(bytes.length, PAGE_SIZE - offset));
    ccs.read(where, physical - offset, this.#metadata);
    let copy: Uint8Array | undefined;
    for (let block = 0; block < PAGE_CCS_SIZE; block++) {
      const state = this.#metadata[block] as number;
      const from = Math.max(block * CCS_RATIO - offset, 0);
      const to = Math.min((block + 1) * CCS_RATIO - offset, part.length);
      if (state === 0 || state === CCS_COMPRESSED || from >= to) continue;
      if (copy === undefined) {
        copy = this.#scratch.subarray(0, part.length);
        copy.set(part);
      }
      for (let i = from; i < to; i++) copy[i] = (copy[i] as number) ^ state;
    }
    return copy ?? part;
  }
}
