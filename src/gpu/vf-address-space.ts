/**
 * Memory as firmware and engines reach it for a VF: by GGTT address, through the VF's own PTEs, to
 * its VRAM or to guest memory.
 */
import { dataView } from '../base/int.ts';
import { GGTT_PAGE_SIZE, GGTT_PTE_LO, pteAddress } from '../xe/pte.ts';
import type { DmaTable } from './dma.ts';
import type { GgttWindow } from './ggtt.ts';
import type { VfVram } from './vram.ts';

/** Where the address space of a VF finds its parts; they come and go with provisioning. */
export interface VfMemorySources {
  ggtt(): GgttWindow | undefined;
  vram(): VfVram | undefined;
  readonly dma: DmaTable;
}

/**
 * GGTT-addressed memory of one VF. An access that the VF's PTEs do not allow, or that leaves its
 * window, does nothing and answers false: it never reaches another VF.
 */
export class VfAddressSpace {
  readonly #sources: VfMemorySources;
  readonly #word = new Uint8Array(4);
  readonly #wordView = dataView(this.#word);

  constructor(sources: VfMemorySources) {
    this.#sources = sources;
  }

  /** True when `[address, address+length)` is in the VF's part of the GGTT. */
  contains(address: number, length: number): boolean {
    const window = this.#sources.ggtt();
    return (
      window !== undefined &&
      address >= window.start &&
      address + length <= window.start + window.size
    );
  }

  /** Reads `target.length` bytes at GGTT address `address`. */
  read(address: number, target: Uint8Array): boolean {
    return this.#pages(address, target, false);
  }

  /** Writes `source` at GGTT address `address`. */
  write(address: number, source: Uint8Array): boolean {
    return this.#pages(address, source, true);
  }

  /** The dword at `address`, undefined when it cannot be read. */
  readU32(address: number): number | undefined {
    return this.read(address, this.#word) ? this.#wordView.getUint32(0, true) : undefined;
  }

  /** Writes a dword. */
  writeU32(address: number, value: number): boolean {
    this.#wordView.setUint32(0, value, true);
    return this.write(address, this.#word);
  }

  /** Writes one byte. */
  writeU8(address: number, value: number): boolean {
    this.#word[0] = value;
    return this.write(address, this.#word.subarray(0, 1));
  }

  #pages(address: number, bytes: Uint8Array, write: boolean): boolean {
    for (let done = 0; done < bytes.length; ) {
      const at = address + done;
      const length = Math.min(bytes.length - done, GGTT_PAGE_SIZE - (at % GGTT_PAGE_SIZE));
      const part = length === bytes.length ? bytes : bytes.subarray(done, done + length);
      if (!this.#page(at, part, write)) return false;
      done += length;
    }
    return true;
  }

  #page(address: number, bytes: Uint8Array, write: boolean): boolean {
    const window = this.#sources.ggtt();
    if (window === undefined || !window.has(address)) return false;
    const words = window.writtenWords;
    if (words === undefined) return false;
    const index = Math.floor((address - window.start) / GGTT_PAGE_SIZE) * 2;
    const lo = words[index] as number;
    if ((lo & GGTT_PTE_LO.PRESENT) === 0) return false;
    const target = pteAddress(lo, words[index + 1] as number) + (address % GGTT_PAGE_SIZE);
    if ((lo & GGTT_PTE_LO.DM) !== 0) return this.#vram(target, bytes, write);
    return write ? this.#sources.dma.write(target, bytes) : this.#sources.dma.read(target, bytes);
  }

  #vram(offset: number, bytes: Uint8Array, write: boolean): boolean {
    const vram = this.#sources.vram();
    if (vram === undefined || offset + bytes.length > vram.size) return false;
    const view = vram.view(offset, bytes.length);
    if (write) view.set(bytes);
    else bytes.set(view);
    return true;
  }
}
