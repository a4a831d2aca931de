/** Reading and writing by GPU address, on top of one way to translate addresses. */
import { dataView } from '../../base/int.ts';
import type { GpuAccess, GpuMemory, GpuMemoryFault, MemoryRun } from '../engine/contracts.ts';
import type { PhysicalMemory } from './physical-memory.ts';
import { NULL_PAGE_SIZE, Place } from './place.ts';

/** Bytes up to which copying one by one beats making views. */
const SMALL_COPY = 32;
/** Bytes of a run of memory that messages reach. */
const MESSAGE_RUN_SIZE = 64 * 1024;

const ZEROS = new Uint8Array(NULL_PAGE_SIZE);

/** A fault or a run as it is filled in. */
type Mutable<T> = { -readonly [key in keyof T]: T[key] };

function emptyRun(): Mutable<MemoryRun> {
  return { bytes: ZEROS, direct: true, where: 'null', physical: 0, compressed: false };
}

/** {@link GpuMemory} for an address space that can translate. */
export abstract class PagedMemory implements GpuMemory {
  protected readonly physical: PhysicalMemory;
  /** Where the last address that was translated led to. */
  protected readonly place = new Place();
  readonly #fault: Mutable<GpuMemoryFault> = {
    address: 0,
    access: 'read',
    level: 0,
    type: 'not-present',
  };
  /** What {@link run} returned last for each access: engines ask tens of thousands of times a second. */
  readonly #runs = { read: emptyRun(), write: emptyRun(), atomic: emptyRun() };
  readonly #word = new Uint8Array(4);
  readonly #wordView = dataView(this.#word);
  readonly #byte = new Uint8Array(1);

  constructor(physical: PhysicalMemory) {
    this.physical = physical;
  }

  get fault(): Readonly<GpuMemoryFault> {
    return this.#fault;
  }

  /**
   * Finds what is at `address` and makes sure that `access` is allowed. Fills {@link place}; its
   * extent ends where the page does, or before.
   *
   * @returns false after {@link failed}
   */
  protected abstract translate(address: number, access: GpuAccess): boolean;

  /**
   * Bytes behind the page of `address`, which was translated last, whose pages continue it: the same
   * but for where they lead, which goes on. At most about `length`. Infinity when only translating
   * them can tell.
   */
  protected abstract following(address: number, length: number): number;

  /** Forgets what was remembered of page tables. */
  abstract invalidate(): void;

  /** Notes a fault. @returns false, for the caller to return */
  protected failed(
    address: number,
    access: GpuAccess,
    level: number,
    type: GpuMemoryFault['type'],
  ): false {
    const fault = this.#fault;
    fault.address = address;
    fault.access = access;
    fault.level = level;
    fault.type = type;
    return false;
  }

  read(address: number, target: Uint8Array): boolean {
    const { place } = this;
    const { length } = target;
    for (let done = 0; done < length; ) {
      if (!this.translate(address + done, 'read')) return false;
      const count = Math.min(place.extent, length - done);
      const { window, at } = place;
      if (window === undefined) {
        if (!this.#readElsewhere(address + done, target.subarray(done, done + count))) return false;
      } else if (count <= SMALL_COPY) {
        for (let i = 0; i < count; i++) target[done + i] = window[at + i] as number;
      } else {
        target.set(window.subarray(at, at + count), done);
      }
      done += count;
    }
    return true;
  }

  write(address: number, source: Uint8Array): boolean {
    const { place } = this;
    const { length } = source;
    for (let done = 0; done < length; ) {
      if (!this.translate(address + done, 'write')) return false;
      const count = Math.min(place.extent, length - done);
      const { window, at } = place;
      if (window === undefined) {
        const part = source.subarray(done, done + count);
        if (!this.#writeElsewhere(address + done, part)) return false;
      } else if (count <= SMALL_COPY) {
        for (let i = 0; i < count; i++) window[at + i] = source[done + i] as number;
      } else {
        window.set(count === length ? source : source.subarray(done, done + count), at);
      }
      this.physical.wrote(place.where, place.physical, count);
      done += count;
    }
    return true;
  }

  readU32(address: number): number | undefined {
    if (address % 4 !== 0) return this.#readUnaligned(address);
    if (!this.translate(address, 'read')) return undefined;
    const { view, where, at } = this.place;
    if (view !== undefined) return view.getUint32(at, true);
    return where === 'null' ? 0 : this.#readUnaligned(address);
  }

  writeU32(address: number, value: number): boolean {
    if (address % 4 === 0) {
      if (!this.translate(address, 'write')) return false;
      const { view, at, where, physical } = this.place;
      if (view !== undefined) {
        view.setUint32(at, value, true);
        this.physical.wrote(where, physical, 4);
        return true;
      }
      if (where === 'null') return true;
    }
    this.#wordView.setUint32(0, value, true);
    return this.write(address, this.#word);
  }

  writeU8(address: number, value: number): boolean {
    this.#byte[0] = value;
    return this.write(address, this.#byte);
  }

  run(address: number, length: number, access: GpuAccess): MemoryRun | undefined {
    if (!this.translate(address, access)) return undefined;
    const { place } = this;
    const { where, window, at, physical, compressed } = place;
    const first = Math.min(place.extent, length);
    if (where === 'null') {
      const source = access === 'read' ? ZEROS : this.physical.throwAway;
      const bytes = source.subarray(0, Math.min(first, NULL_PAGE_SIZE));
      return filled(this.#runs[access], bytes, true, where, 0, false);
    }
    if (window === undefined) return this.#messageRun(address, first, access);
    let total = first;
    while (total < length) {
      const more = this.following(address + total - 1, length - total);
      if (more === 0) break;
      if (more !== Number.POSITIVE_INFINITY) {
        // Whoever owns the memory allows all of a window what it allows of a page.
        const room = window.length - at - total;
        if (room <= 0) break;
        total += Math.min(more, length - total, room);
        continue;
      }
      if (!this.translate(address + total, access)) break;
      if (place.window !== window || place.at !== at + total) break;
      if (place.where !== where || place.physical !== physical + total) break;
      if (place.compressed !== compressed) break;
      total += Math.min(place.extent, length - total);
    }
    if (access !== 'read') this.physical.wrote(where, physical, total);
    const bytes = window.subarray(at, at + total);
    return filled(this.#runs[access], bytes, true, where, physical, compressed);
  }

  #messageRun(address: number, extent: number, access: GpuAccess): MemoryRun | undefined {
    const { where, physical, compressed } = this.place;
    const bytes = new Uint8Array(Math.min(extent, MESSAGE_RUN_SIZE));
    if (access !== 'write' && !this.#readElsewhere(address, bytes)) return undefined;
    return filled(this.#runs[access], bytes, false, where, physical, compressed);
  }

  #readElsewhere(address: number, target: Uint8Array): boolean {
    const { where, physical } = this.place;
    if (where === 'null') target.fill(0);
    else if (!this.physical.readByMessage(physical, target))
      return this.failed(address, 'read', 0, 'bus-error');
    return true;
  }

  #writeElsewhere(address: number, source: Uint8Array): boolean {
    const { where, physical } = this.place;
    if (where === 'null' || this.physical.writeByMessage(physical, source)) return true;
    return this.failed(address, 'write', 0, 'bus-error');
  }

  #readUnaligned(address: number): number | undefined {
    return this.read(address, this.#word) ? this.#wordView.getUint32(0, true) : undefined;
  }
}

function filled(
  run: Mutable<MemoryRun>,
  bytes: Uint8Array,
  direct: boolean,
  where: MemoryRun['where'],
  physical: number,
  compressed: boolean,
): MemoryRun {
  run.bytes = bytes;
  run.direct = direct;
  run.where = where;
  run.physical = physical;
  run.compressed = compressed;
  return run;
}
