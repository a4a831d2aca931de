/**
 * The GGTT of a tile: who owns which part of it, and the PTEs of each VF's part.
 *
 * Each VF's PTEs are memory of their own, which a VMM may map: as large as the whole GGTT half of the
 * BAR, so that the VF can be moved to another part of the GGTT under a VMM that cannot map again.
 * What lies outside of the VF's part takes no memory until somebody writes there, and means nothing.
 * That memory holds what the VF wrote; the VFID field is the hardware's, so it is put in when hardware or the PF reads an entry
 * and whatever the VF wrote there is ignored. A VF can reach its own part only, so the entries of
 * other VFs need no check beyond that.
 *
 * Source: drivers/gpu/drm/xe/xe_ggtt.c, regs/xe_gtt_defs.h.
 */
import { Fault } from '../base/fault.ts';
import type { GgttPort } from '../pf/ports.ts';
import type { Memfd } from '../sys/memfd.ts';
import { GTTMMADR } from '../xe/platforms.ts';
import { GGTT_PAGE_SIZE, GGTT_PTE_SIZE, GUC_GGTT_TOP } from '../xe/pte.ts';
import { copyPtes, findForeignPte } from '../xe/pte-run.ts';
import { DeviceMemory } from './device-memory.ts';

/** Bytes of GGTT at the top that the emulated PF keeps for its own buffers. */
const PF_GGTT_RESERVED = 32 * 2 ** 20;

/** PTE memory of a VF that comes from elsewhere, and what is to be known of it. */
export interface CarriedPtes {
  /** The VF's memory there, taken over: all of the GGTT half of BAR 0, as a VMM has mapped it. */
  readonly memfd: Memfd;
  /** First GGTT address of the part that the VF's driver still believes in. */
  readonly start: number;
  /** That part as it was when the VF was stopped: what differs now was written since. */
  readonly before: Uint32Array;
}

/** The part of a GGTT that a VF owns. */
export class GgttWindow {
  readonly vfid: number;
  /** First global GGTT address, and bytes of address space. */
  readonly start: number;
  readonly size: number;
  /** The GGTT half of BAR 0, of which the VF's own part alone means anything. */
  memory = pteMemory();
  /**
   * After a move to another part, until the driver asks where its part is now: the PTEs that were
   * loaded. The driver's late writes still go to the old part of {@link memory} meanwhile.
   */
  #loaded: DeviceMemory | undefined;
  #old: Omit<CarriedPtes, 'memfd'> | undefined;
  #bytes: Uint8Array | undefined;
  #words: Uint32Array | undefined;

  constructor(vfid: number, start: number, size: number) {
    this.vfid = vfid;
    this.start = start;
    this.size = size;
  }

  /** Number of PTEs. */
  get count(): number {
    return this.size / GGTT_PAGE_SIZE;
  }

  /** The bytes of the PTEs as the VF sees them; makes the memory. */
  get bytes(): Uint8Array {
    this.#bytes ??= this.#part(this.#loaded ?? this.memory, this.start);
    return this.#bytes;
  }

  /** The same as dwords, two a PTE. */
  get words(): Uint32Array {
    this.#words ??= asWords(this.bytes);
    return this.#words;
  }

  /** The PTEs if anything was ever written to them, else undefined: all are zero. */
  get writtenWords(): Uint32Array | undefined {
    return (this.#loaded ?? this.memory).exists ? this.words : undefined;
  }

  /** True when `address` is inside. */
  has(address: number): boolean {
    return address >= this.start && address < this.start + this.size;
  }

  /** What a target needs to take this memory over; the part of {@link carry} is kept until then. */
  carried(): Omit<CarriedPtes, 'memfd'> & { readonly memory: DeviceMemory } {
    const { memory } = this;
    if (this.#old !== undefined) return { ...this.#old, memory };
    const before = memory.exists ? this.words.slice() : new Uint32Array(this.count * 2);
    return { start: this.start, before, memory };
  }

  /**
   * Takes over the memory that a VMM has mapped. PTEs that were loaded before stay what the device
   * sees; with another start until {@link settle} brings them to the VMM's memory.
   * @throws {Fault} EINVAL for memory or a part of another size; nothing has changed then
   */
  carry({ memfd, start, before }: CarriedPtes): void {
    if (before.length !== this.count * 2)
      throw new Fault('EINVAL', `${before.length / 2} PTEs in place of ${this.count}`);
    const memory = pteMemory();
    memory.adopt(memfd);
    this.#drop();
    if (start === this.start) this.memory.close();
    else {
      this.#loaded = this.memory;
      this.#old = { start, before };
    }
    this.memory = memory;
  }

  /** The driver asks where its part is: from now on it writes there. */
  settle(): void {
    const old = this.#old;
    const loaded = this.#loaded;
    if (old === undefined || loaded === undefined) return;
    const words = asWords(this.#part(loaded, this.start));
    const late = asWords(this.#part(this.memory, old.start));
    for (let at = 0; at < words.length; at++)
      if (late[at] !== old.before[at]) words[at] = late[at] as number;
    this.#part(this.memory, this.start).set(this.#part(loaded, this.start));
    this.#drop();
  }

  /** Makes all of it zero. */
  clear(): void {
    this.#drop();
    this.memory.clear();
  }

  /** Lets go of memory that another VF has taken over: this one's PTEs are zero. */
  abandon(): void {
    this.#drop();
    this.memory.abandon();
  }

  /** Lets go of the memory. Idempotent. */
  close(): void {
    this.#drop();
    this.memory.close();
  }

  /** Forgets what was loaded, and views. */
  #drop(): void {
    this.#bytes = undefined;
    this.#words = undefined;
    this.#old = undefined;
    this.#loaded?.close();
    this.#loaded = undefined;
  }

  #part(memory: DeviceMemory, start: number): Uint8Array {
    return memory.view(pteOffset(start), pteOffset(this.size));
  }
}

function pteMemory(): DeviceMemory {
  const { ggttStart, ggttEnd } = GTTMMADR;
  return new DeviceMemory('xe-ggtt', ggttEnd - ggttStart, ggttStart);
}

function asWords({ buffer, byteOffset, length }: Uint8Array): Uint32Array {
  return new Uint32Array(buffer, byteOffset, length / 4);
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
    this.#windows.get(vfid)?.clear();
  }

  readPtes(start: number, into: Uint32Array): void {
    const window = this.#owner(start, into.length);
    const words = window.writtenWords;
    if (words === undefined) {
      into.fill(0);
      copyPtes(into, into, window.vfid);
      return;
    }
    const first = pteOffset(start - window.start) / 4;
    copyPtes(words.subarray(first, first + into.length), into, window.vfid);
  }

  writePtes(start: number, from: Uint32Array): void {
    const window = this.#owner(start, from.length);
    const first = pteOffset(start - window.start) / 4;
    if (findForeignPte(from, window.vfid) >= 0)
      throw new Fault('EPERM', `a PTE in the region of VF${window.vfid} names another function`);
    copyPtes(from, window.words.subarray(first, first + from.length), 0);
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
