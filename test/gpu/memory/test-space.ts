/** A PPGTT in memory that a test can see, built as the VF's driver would. */
import { DmaTable } from '../../../src/gpu/dma.ts';
import { PhysicalMemory } from '../../../src/gpu/memory/physical-memory.ts';
import { Ppgtt } from '../../../src/gpu/memory/ppgtt.ts';
import { Vram } from '../../../src/gpu/vram.ts';
import {
  encodePpgttEntry,
  PPGTT_COMPACT_SPAN,
  PPGTT_LEVEL_SPAN,
  PPGTT_LO,
} from '../../../src/xe/ppgtt.ts';

const { PRESENT, RW } = PPGTT_LO;
type DmaMapping = Parameters<DmaTable['add']>[0];

/** Where pages of tables come from: the end of the memory. */
const TABLE_SIZE = 4096;

export interface TestSpaceOptions {
  /** Bytes of system memory, from I/O virtual address 0 on. */
  readonly system?: number;
  /** Bytes of VRAM; tables then lie there. */
  readonly vram?: number;
  /** System memory that only messages reach. */
  readonly messages?: boolean;
}

/** A mapping of plain bytes. */
export function plainMapping(
  iova: number,
  bytes: Uint8Array,
  options: { flags?: number; messages?: boolean } = {},
): DmaMapping {
  return {
    iova,
    size: bytes.length,
    flags: options.flags ?? 3,
    memory: {
      windows: options.messages === true ? undefined : [bytes],
      read: (offset, target) => target.set(bytes.subarray(offset, offset + target.length)),
      write: (offset, source) => bytes.set(source, offset),
    },
  };
}

/** Memory of a VF with one PPGTT. */
export class TestSpace {
  readonly dma = new DmaTable();
  readonly system: Uint8Array;
  readonly vram: Vram | undefined;
  readonly physical: PhysicalMemory;
  readonly ppgtt: Ppgtt;
  readonly #tables: Uint8Array;
  readonly #tableEnd: number;
  #nextTable: number;

  constructor(options: TestSpaceOptions = {}) {
    const { system = 8 * 2 ** 20, vram, messages = false } = options;
    this.system = new Uint8Array(system);
    this.dma.add(plainMapping(0, this.system, { messages }));
    if (vram !== undefined) {
      this.vram = new Vram(2 * vram);
      this.vram.assign(1, vram);
    }
    this.physical = new PhysicalMemory({ vfid: 1, vram: this.vram, dma: this.dma });
    this.#tables = this.vram?.object(1)?.view(0, vram ?? 0) ?? this.system;
    this.#tableEnd = this.#tables.length;
    this.#nextTable = this.#tableEnd;
    this.ppgtt = new Ppgtt(this.physical, this.newTable(), this.vram !== undefined);
  }

  /** Bytes of VRAM. */
  get local(): Uint8Array {
    return this.#tables;
  }

  newTable(): number {
    this.#nextTable -= TABLE_SIZE;
    this.#tables.fill(0, this.#nextTable, this.#nextTable + TABLE_SIZE);
    return this.#nextTable;
  }

  entry(table: number, index: number): readonly [number, number] {
    const view = new DataView(this.#tables.buffer, this.#tables.byteOffset + table + index * 8);
    return [view.getUint32(0, true), view.getUint32(4, true)];
  }

  setEntry(table: number, index: number, address: number, flags: number): void {
    const [lo, hi] = encodePpgttEntry(address, flags);
    this.setRawEntry(table, index, lo, hi);
  }

  setRawEntry(table: number, index: number, lo: number, hi: number): void {
    const view = new DataView(this.#tables.buffer, this.#tables.byteOffset + table + index * 8);
    view.setUint32(0, lo, true);
    view.setUint32(4, hi, true);
  }

  /** The table of `level` that an address goes through; made when missing. */
  table(address: number, level: number, flags = PRESENT | RW): number {
    let table = this.ppgtt.pdp0;
    for (let above = 4; above > level; above--) {
      const index = indexAt(address, above);
      const [lo, hi] = this.entry(table, index);
      if ((lo & PRESENT) === 0) {
        const made = this.newTable();
        this.setEntry(table, index, made, above === 1 ? flags : PRESENT | RW);
        table = made;
      } else {
        table = (hi & 0xfffff) * 2 ** 32 + ((lo & ~0xfff) >>> 0);
      }
    }
    return table;
  }

  /** Maps one page of the size that `level` has. */
  map(address: number, physical: number, flags: number = PRESENT | RW, level = 0): void {
    const leaf = level === 0 ? flags : flags | PPGTT_LO.PS;
    this.setEntry(this.table(address, level), indexAt(address, level), physical, leaf);
  }

  /** Maps one page of 64 KiB in a compact table. */
  mapCompact(address: number, physical: number, flags: number = PRESENT | RW): void {
    const table = this.table(address, 0, PRESENT | RW | PPGTT_LO.PDE_64K);
    const index = Math.floor((address % PPGTT_LEVEL_SPAN[1]) / PPGTT_COMPACT_SPAN);
    this.setEntry(table, index, physical, flags);
  }

  /** Maps `size` bytes in pages of 4 KiB. */
  mapRange(address: number, physical: number, size: number, flags: number = PRESENT | RW): void {
    for (let at = 0; at < size; at += 4096) this.map(address + at, physical + at, flags);
  }

  close(): void {
    this.vram?.close();
  }
}

function indexAt(address: number, level: number): number {
  return Math.floor(address / (PPGTT_LEVEL_SPAN[level] as number)) % 512;
}
