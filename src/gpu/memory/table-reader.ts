/** Reads entries of page tables. */
import { dataView } from '../../base/int.ts';
import { PPGTT_ENTRY_SIZE } from '../../xe/ppgtt.ts';
import type { PhysicalMemory } from './physical-memory.ts';
import { Place } from './place.ts';

/** Page tables of one PPGTT; the entry that was read last is in `lo` and `hi`. */
export class TableReader {
  lo = 0;
  hi = 0;
  readonly #physical: PhysicalMemory;
  readonly #inVram: boolean;
  readonly #place = new Place();
  readonly #bytes = new Uint8Array(PPGTT_ENTRY_SIZE);
  readonly #view = dataView(this.#bytes);

  /** @param inVram true on a discrete device: entries that name a table have no DM bit */
  constructor(physical: PhysicalMemory, inVram: boolean) {
    this.#physical = physical;
    this.#inVram = inVram;
  }

  /** Reads an entry. @returns false when the table is not in memory that may be read */
  read(table: number, index: number): boolean {
    const place = this.#place;
    place.extent = PPGTT_ENTRY_SIZE;
    if (!this.find(place, table + index * PPGTT_ENTRY_SIZE)) return false;
    if (place.view !== undefined) {
      this.readAt(place.view, place.at);
      return true;
    }
    if (!this.#physical.readByMessage(place.physical, this.#bytes)) return false;
    this.readAt(this.#view, 0);
    return true;
  }

  /** Reads an entry of a table that is at hand. */
  readAt(view: DataView, at: number): void {
    this.lo = view.getUint32(at, true);
    this.hi = view.getUint32(at + 4, true);
  }

  /** Finds the memory of a table. @returns false when there is none that may be read */
  find(place: Place, physical: number): boolean {
    const found = this.#inVram
      ? this.#physical.vram(place, physical)
      : this.#physical.system(place, physical);
    return found && place.readable;
  }
}
