/**
 * What keeps a VF busy while it is migrated: a small guest driver that never sleeps.
 *
 * Each round changes VRAM through the mapped BAR, page-table entries through the mapped aperture,
 * flag registers, and the contexts that both GuCs know.
 */

import { VF_CFG_KLV } from '../xe/guc/pf-actions.ts';
import { H2G_ACTION, REGISTER_CONTEXT } from '../xe/guc/vf-actions.ts';
import { encodeGgttPte, GGTT_PAGE_SIZE } from '../xe/pte.ts';
import { VF_SW_FLAG_COUNT } from '../xe/registers.ts';
import type { GuestBars } from './guest-bars.ts';
import { GUEST_GUC_MEMORY, GUEST_GUCS, GUEST_IDLE_LRC, GuestGuc } from './guest-guc.ts';

/** Bytes that the driver keeps for its GuCs, at the start of its memory. */
export const GUEST_DRIVER_MEMORY = GUEST_GUC_MEMORY * GUEST_GUCS.length;

/** Where the driver's own memory is. */
export interface GuestMemory {
  /** {@link GUEST_DRIVER_MEMORY} bytes. */
  readonly bytes: Uint8Array;
  /** Their address: in VRAM, or as the device reaches guest memory. */
  readonly address: number;
  readonly inVram: boolean;
}

/** What a load did. */
export interface LoadCounts {
  rounds: number;
  vramBytes: number;
  ptes: number;
  flagWrites: number;
  gucMessages: number;
  contexts: number;
}

/** Bytes written to VRAM at one place. */
const VRAM_BLOCK = 64 * 1024;
/** Places written in a round. */
const VRAM_BLOCKS = 4;
/** Entries written in a round. */
const PTES = 32;
/** Contexts that live at a time, on each GuC. */
const CONTEXTS = 48;
/** The part of the aperture that changes, in bytes of address space behind the driver's own. */
const PTE_RANGE = 64 * 2 ** 20;

/** One VF as the driver has it. */
interface Place {
  readonly bars: GuestBars;
  readonly gucs: readonly GuestGuc[];
  /** Entries of the driver's own memory, and behind them those that change. */
  readonly ptes: Uint32Array;
  readonly vram: readonly Uint8Array[];
  readonly ggttStart: number;
}

/** A guest that works. */
export class GuestLoad {
  #place: Place;
  readonly #live: number[] = [];
  #nextContext = 0;
  #random: number;
  readonly counts: LoadCounts = {
    rounds: 0,
    vramBytes: 0,
    ptes: 0,
    flagWrites: 0,
    gucMessages: 0,
    contexts: 0,
  };

  private constructor(place: Place, seed: number) {
    this.#place = place;
    this.#random = seed | 1;
  }

  /**
   * Brings the VF up: page tables for the driver's memory, both GuCs, and all of VRAM filled.
   *
   * @param seed of all that is written
   * @throws {Fault} EIO, ETIMEDOUT when a GuC does not do its part
   */
  static async boot(bars: GuestBars, memory: GuestMemory, seed: number): Promise<GuestLoad> {
    const gucs = gucsOf(bars, memory);
    for (const guc of gucs) await guc.handshake();
    const place = await findPlace(bars, gucs);
    for (let at = 0; at < GUEST_DRIVER_MEMORY; at += GGTT_PAGE_SIZE)
      writePte(place.ptes, at / GGTT_PAGE_SIZE, memory.address + at, memory.inVram);
    const load = new GuestLoad(place, seed);
    load.#fillVram();
    for (const [n, guc] of gucs.entries())
      await guc.enableCtb(place.ggttStart + n * GUEST_GUC_MEMORY);
    return load;
  }

  /**
   * Goes on with another VF, which was given the state of the one before.
   *
   * @param marker of this move, 1 to 256
   * @throws {Fault} EIO, ETIMEDOUT when a GuC does not do its part
   */
  async move(bars: GuestBars, memory: GuestMemory, marker: number): Promise<void> {
    const gucs = gucsOf(bars, memory);
    for (const guc of gucs) await guc.recover(marker);
    this.#place = await findPlace(bars, gucs);
  }

  /** Changes something of everything. */
  async round(): Promise<void> {
    for (let n = 0; n < VRAM_BLOCKS; n++) this.#writeVram();
    for (let n = 0; n < PTES; n++) this.#writePte();
    await this.#writeFlags();
    await this.#turnContexts();
    this.counts.rounds++;
  }

  #next(): number {
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    return x >>> 0;
  }

  #fillVram(): void {
    const pattern = new Uint32Array(VRAM_BLOCK / 4);
    for (let n = 0; n < pattern.length; n++) pattern[n] = this.#next();
    const bytes = new Uint8Array(pattern.buffer);
    let skip = GUEST_DRIVER_MEMORY;
    for (const window of this.#place.vram) {
      for (let at = skip; at < window.length; at += VRAM_BLOCK) {
        pattern[0] = this.#next();
        window.set(bytes.subarray(0, Math.min(VRAM_BLOCK, window.length - at)), at);
      }
      skip = 0;
    }
  }

  #writeVram(): void {
    const window = this.#place.vram[this.#next() % Math.max(this.#place.vram.length, 1)];
    if (window === undefined) return;
    const blocks = Math.floor((window.length - GUEST_DRIVER_MEMORY) / VRAM_BLOCK);
    const from = GUEST_DRIVER_MEMORY + (this.#next() % blocks) * VRAM_BLOCK;
    const at = from + (this.#next() % VRAM_BLOCK);
    const end = Math.min(at + VRAM_BLOCK / 2, from + VRAM_BLOCK);
    window.fill(this.#next() & 0xff, at, end);
    this.counts.vramBytes += end - at;
  }

  #writePte(): void {
    const own = GUEST_DRIVER_MEMORY / GGTT_PAGE_SIZE;
    const index = own + (this.#next() % (this.#place.ptes.length / 2 - own));
    writePte(this.#place.ptes, index, this.#next() * GGTT_PAGE_SIZE, (this.#next() & 1) === 1);
    this.counts.ptes++;
  }

  /** Flag 0 is the mailbox's header and is left alone: the GuC would take it for a request. */
  async #writeFlags(): Promise<void> {
    for (const { flag } of GUEST_GUCS) {
      const n = 1 + (this.#next() % (VF_SW_FLAG_COUNT - 1));
      await this.#place.bars.write(flag.offset + flag.stride * n, this.#next());
      this.counts.flagWrites++;
    }
  }

  /** Registers a context and enables it on each GuC; the oldest one makes place. */
  async #turnContexts(): Promise<void> {
    const id = this.#nextContext;
    this.#nextContext = (id + 1) % (2 * CONTEXTS);
    const oldest = this.#live.length >= CONTEXTS ? this.#live.shift() : undefined;
    this.#live.push(id);
    for (const [n, guc] of this.#place.gucs.entries()) {
      if (oldest !== undefined) await guc.send(H2G_ACTION.DEREGISTER_CONTEXT, [oldest]);
      await guc.send(H2G_ACTION.REGISTER_CONTEXT, this.#registration(id, n));
      await guc.send(H2G_ACTION.SCHED_CONTEXT_MODE_SET, [id, 1]);
      this.counts.gucMessages += oldest === undefined ? 2 : 3;
    }
    this.counts.contexts = this.#live.length;
  }

  /** The dwords of a REGISTER_CONTEXT of GuC `n` after its header. */
  #registration(id: number, n: number): number[] {
    const dwords = new Array<number>(REGISTER_CONTEXT.LENGTH).fill(0);
    const lrc = this.#place.ggttStart + n * GUEST_GUC_MEMORY + GUEST_IDLE_LRC;
    dwords[REGISTER_CONTEXT.CONTEXT_INDEX] = id;
    dwords[REGISTER_CONTEXT.ENGINE_CLASS] = id % 5;
    dwords[REGISTER_CONTEXT.ENGINE_SUBMIT_MASK] = 1;
    dwords[REGISTER_CONTEXT.HW_LRC_ADDR] = lrc + LRC_VALID;
    dwords[REGISTER_CONTEXT.HW_LRC_ADDR + 1] = id;
    return dwords.slice(1);
  }
}

/** Descriptor flags of a context without an address space of its own (xe_lrc.c). */
const LRC_VALID = 0x19;

function gucsOf(bars: GuestBars, memory: GuestMemory): readonly GuestGuc[] {
  return GUEST_GUCS.map((registers, n) => {
    const from = n * GUEST_GUC_MEMORY;
    return new GuestGuc(bars, registers, memory.bytes.subarray(from, from + GUEST_GUC_MEMORY));
  });
}

/** Asks for the VF's part of the GGTT. */
async function findPlace(bars: GuestBars, gucs: readonly GuestGuc[]): Promise<Place> {
  const [main] = gucs as [GuestGuc, ...GuestGuc[]];
  const ggttStart = await main.query(VF_CFG_KLV.GGTT_START.key);
  const size = await main.query(VF_CFG_KLV.GGTT_SIZE.key);
  const ptes = bars.ptes(ggttStart, Math.min(size, GUEST_DRIVER_MEMORY + PTE_RANGE));
  return { bars, gucs, ptes, vram: bars.vram?.windows() ?? [], ggttStart };
}

function writePte(ptes: Uint32Array, index: number, address: number, deviceMemory: boolean): void {
  const [lo, hi] = encodeGgttPte({ present: true, deviceMemory, vfid: 0, address, pat: 0 });
  ptes[2 * index] = lo;
  ptes[2 * index + 1] = hi;
}
