/**
 * The GGTT of a tile: who owns which part of it, and the PTEs of each VF's part.
 *
 * Each VF's PTEs are memory of their own, which a VMM may map. That memory holds what the VF
 * wrote; the VFID field is the hardware's, so it is put in when hardware or the PF reads an entry
 * and whatever the VF wrote there is ignored. A VF can reach its own part only, so the entries of
 * other VFs need no check beyond that.
 *
 * Source: drivers/gpu/drm/xe/xe_ggtt.c, regs/xe_gtt_defs.h.
 */
import { Fault } from '../base/fault.ts';
import type { GgttPort } from '../pf/ports.ts';
import { GTTMMADR } from '../xe/platforms.ts';
import { GGTT_PAGE_SIZE, GGTT_PTE_LO, GGTT_PTE_SIZE, GUC_GGTT_TOP, withVfid } from '../xe/pte.ts';
import { DeviceMemory } from './device-memory.ts';

/** Bytes of GGTT at the top that the emulated PF keeps for its own buffers. */
const PF_GGTT_RESERVED = 32 * 2 ** 20;

/** The part of a GGTT that a VF owns. */
export class GgttWindow {
  readonly vfid: number;
  /** First global GGTT address, and bytes of address space. */
  readonly start: number;
  readonly size: number;
  /** Bytes before the first PTE in {@link memory}, so that both sides of a mapping line up. */
  readonly memoryOffset: number;
  readonly memory: DeviceMemory;

  constructor(vfid: number, start: number, size: number) {
    this.vfid = vfid;
    this.start = start;
    this.size = size;
    this.memoryOffset = pteOffset(start) % GGTT_PAGE_SIZE;
    const bytes = this.memoryOffset + pteOffset(size);
    this.memory = new DeviceMemory(
      `xe-ggtt-vf${vfid}`,
      Math.ceil(bytes / GGTT_PAGE_SIZE) * GGTT_PAGE_SIZE,
      GTTMMADR.ggttStart + pteOffset(start) - this.memoryOffset,
    );
  }

  /** Number of PTEs. */
  get count(): number {
    return this.size / GGTT_PAGE_SIZE;
  }

  /** The bytes of the PTEs as the VF sees them; makes the memory. */
  get bytes(): Uint8Array {
    this.#bytes ??= this.memory.view(this.memoryOffset, pteOffset(this.size));
    return this.#bytes;
  }
  #bytes: Uint8Array | undefined;

  /** The same as dwords, two a PTE. */
  get words(): Uint32Array {
    this.#words ??= this.#makeWords();
    return this.#words;
  }
  #words: Uint32Array | undefined;

  /** The PTEs if anything was ever written to them, else undefined: all are zero. */
  get writtenWords(): Uint32Array | undefined {
    return this.memory.exists ? this.words : undefined;
  }

  /** True when `address` is inside. */
  has(address: number): boolean {
    return address >= this.start && address < this.start + this.size;
  }

  /** Lets go of the memory. Idempotent. */
  close(): void {
    this.#bytes = undefined;
    this.#words = undefined;
    this.memory.close();
  }

  #makeWords(): Uint32Array {
    const { buffer, byteOffset } = this.bytes;
    return new Uint32Array(buffer, byteOffset, this.count * 2);
  }
}

/** Bytes of PTE memory before the entry of `address`. */
export function pteOffset(address: number): number {
  return (address / GGTT_PAGE_SIZE) * GGTT_PTE_SIZE;
}

/** The GGTT of one tile. */
export class Ggtt implements GgttPort {
  readonly start: number;
  readonly end = GUC_GGTT_TOP - PF_GGTT_RESERVED;
  readonly #windows = new Map<number, GgttWindow>();

  /** @param wopcmSize bytes at the bottom that are WOPCM's */
  constructor(wopcmSize: number) {
    this.start = wopcmSize;
  }

  /** What `vfid` owns, if anything. */
  window(vfid: number): GgttWindow | undefined {
    return this.#windows.get(vfid);
  }

  assign(vfid: number, start: number, size: number): void {
    if (start % GGTT_PAGE_SIZE !== 0 || size % GGTT_PAGE_SIZE !== 0 || size <= 0)
      throw new RangeError(`GGTT region ${start}+${size} is not whole pages`);
    if (start < this.start || start + size > this.end)
      throw new Fault('ERANGE', `GGTT region 0x${start.toString(16)}+${size} cannot be assigned`);
    for (const other of this.#windows.values())
      if (other.vfid !== vfid && start < other.start + other.size && other.start < start + size)
        throw new Fault('EBUSY', `GGTT region overlaps that of VF${other.vfid}`);
    this.release(vfid);
    this.#windows.set(vfid, new GgttWindow(vfid, start, size));
  }

  release(vfid: number): void {
    this.#windows.get(vfid)?.close();
    this.#windows.delete(vfid);
  }

  clear(vfid: number): void {
    this.#windows.get(vfid)?.memory.clear();
  }

  readPtes(start: number, into: Uint32Array): void {
    const window = this.#owner(start, into.length);
    const lo = withVfid(0, window.vfid);
    const words = window.writtenWords;
    if (words === undefined) {
      for (let at = 0; at < into.length; at += 2) {
        into[at] = lo;
        into[at + 1] = 0;
      }
      return;
    }
    const first = pteOffset(start - window.start) / 4;
    for (let at = 0; at < into.length; at += 2) {
      into[at] = ((words[first + at] as number) & ~GGTT_PTE_LO.VFID) | lo;
      into[at + 1] = words[first + at + 1] as number;
    }
  }

  writePtes(start: number, from: Uint32Array): void {
    const window = this.#owner(start, from.length);
    const first = pteOffset(start - window.start) / 4;
    const vfid = withVfid(0, window.vfid);
    for (let at = 0; at < from.length; at += 2)
      if (((from[at] as number) & GGTT_PTE_LO.VFID) !== vfid)
        throw new Fault('EPERM', `a PTE in the region of VF${window.vfid} names another function`);
    const words = window.words;
    for (let at = 0; at < from.length; at += 2) {
      words[first + at] = (from[at] as number) & ~GGTT_PTE_LO.VFID;
      words[first + at + 1] = from[at + 1] as number;
    }
  }

  /** Lets go of every VF's part. Idempotent. */
  close(): void {
    for (const vfid of [...this.#windows.keys()]) this.release(vfid);
  }

  #owner(start: number, words: number): GgttWindow {
    const size = (words / 2) * GGTT_PAGE_SIZE;
    for (const window of this.#windows.values())
      if (window.has(start) && start + size <= window.start + window.size) return window;
    throw new RangeError(`GGTT 0x${start.toString(16)}+${size} is not in one VF's region`);
  }
}
