/**
 * What lies behind the page tables of a VF: its VRAM and the guest memory that its VMM lets it
 * reach. There is nothing else here, so nothing that a VF writes into its page tables leads to
 * another VF.
 */
import type { DmaRange, DmaTable } from '../dma.ts';
import { CcsStore } from '../flat-ccs.ts';
import type { VfVram, Vram } from '../vram.ts';
import { NULL_PAGE_SIZE, type Place } from './place.ts';

/** Where the memory of a VF is found; VRAM comes and goes with provisioning. */
export interface PhysicalSources {
  readonly vfid: number;
  readonly vram: Vram | undefined;
  readonly dma: DmaTable;
}

/** The memory of one VF by physical address: I/O virtual addresses and offsets in its VRAM. */
export class PhysicalMemory {
  /** Is told of every write of the device to VRAM while it is set. */
  onVramWrite: ((offset: number, length: number) => void) | undefined;
  /** Is told of every write of the device to guest memory while it is set. */
  onDmaWrite: ((iova: number, length: number) => void) | undefined;
  readonly #sources: PhysicalSources;
  #vram: VfVram | undefined;
  #vramVersion = -1;
  #forgotten = 0;
  readonly #flatCcs = new CcsStore();
  #throwAway: Uint8Array | undefined;

  constructor(sources: PhysicalSources) {
    this.#sources = sources;
  }

  /** Changes whenever memory that was there is gone: what was remembered of it has to go too. */
  get epoch(): number {
    return this.#sources.dma.version + (this.#sources.vram?.version ?? 0) + this.#forgotten;
  }

  /** Has every PPGTT of the VF forget what it remembers: TLB_INVALIDATION, a reset. */
  invalidateTlbs(): void {
    this.#forgotten++;
  }

  /** Compression metadata. It goes with the VRAM that it describes. */
  get flatCcs(): CcsStore {
    this.#ownVram();
    return this.#flatCcs;
  }

  /**
   * Finds guest memory. `place.extent` is what lies together from `iova` on, at most as much as it
   * was.
   *
   * @returns false when nothing is mapped there
   */
  system(place: Place, iova: number): boolean {
    const range = this.#sources.dma.find(iova);
    if (range === undefined) return false;
    place.where = 'system';
    place.physical = iova;
    place.compressed = false;
    place.readable = range.readable;
    place.writable = range.writable;
    place.extent = Math.min(place.extent, range.end - iova);
    findWindow(place, range, iova - range.start);
    return true;
  }

  /**
   * Finds VRAM, as {@link system}.
   *
   * @returns false outside of what the VF owns
   */
  vram(place: Place, offset: number): boolean {
    const vram = this.#ownVram();
    if (vram === undefined || offset >= vram.size) return false;
    const window = vram.window(offset);
    const at = vram.offsetInWindow(offset);
    place.where = 'vram';
    place.physical = offset;
    place.compressed = false;
    place.readable = true;
    place.writable = true;
    place.extent = Math.min(place.extent, window.length - at);
    place.window = window;
    place.view = vram.windowView(offset);
    place.at = at;
    return true;
  }

  /** Reads guest memory that only messages reach, inside one mapping. @returns false if it failed */
  readByMessage(iova: number, target: Uint8Array): boolean {
    const range = this.#sources.dma.find(iova);
    if (range === undefined || iova + target.length > range.end) return false;
    try {
      range.memory.read(iova - range.start, target);
      return true;
    } catch {
      // A device's access that the host refuses is dropped, as an IOMMU would.
      return false;
    }
  }

  /** Writes guest memory that only messages reach, inside one mapping. */
  writeByMessage(iova: number, source: Uint8Array): boolean {
    const range = this.#sources.dma.find(iova);
    if (range === undefined || iova + source.length > range.end) return false;
    try {
      range.memory.write(iova - range.start, source);
      return true;
    } catch {
      return false;
    }
  }

  /** The device has written, or is about to. */
  wrote(where: 'system' | 'vram' | 'null', physical: number, length: number): void {
    if (where === 'vram') this.#wroteVram(physical, length);
    else if (where === 'system') this.onDmaWrite?.(physical, length);
  }

  #wroteVram(offset: number, length: number): void {
    this.#vram?.wrote(offset, length);
    this.onVramWrite?.(offset, length);
  }

  /** A buffer for what is written to null pages; nobody reads it. */
  get throwAway(): Uint8Array {
    this.#throwAway ??= new Uint8Array(NULL_PAGE_SIZE);
    return this.#throwAway;
  }

  #ownVram(): VfVram | undefined {
    const { vram, vfid } = this.#sources;
    if (vram === undefined) return undefined;
    if (vram.version !== this.#vramVersion) {
      const now = vram.object(vfid);
      if (now !== this.#vram) this.#flatCcs.clear('vram');
      this.#vram = now;
      this.#vramVersion = vram.version;
    }
    return this.#vram;
  }
}

function findWindow(place: Place, range: DmaRange, offset: number): void {
  let start = 0;
  for (let i = 0; i < range.windows.length; i++) {
    const window = range.windows[i] as Uint8Array;
    const at = offset - start;
    if (at < window.length) {
      place.window = window;
      place.view = range.views[i];
      place.at = at;
      place.extent = Math.min(place.extent, window.length - at);
      return;
    }
    start += window.length;
  }
  place.window = undefined;
  place.view = undefined;
}
