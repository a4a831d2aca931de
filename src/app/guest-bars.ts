/** The BARs of a VF as a driver in a guest reaches them: by messages, and mapped where that is offered. */
import { Fault } from '../base/fault.ts';
import { dataView } from '../base/int.ts';
import { Mapping } from '../sys/mapping.ts';
import type { VfioDevice } from '../vfio/vfio-device.ts';
import { GTTMMADR, XE_BAR } from '../xe/platforms.ts';
import { GGTT_PAGE_SIZE, GGTT_PTE_SIZE } from '../xe/pte.ts';

/** A part of a BAR that is mapped. */
interface MappedArea {
  readonly offset: number;
  readonly mapping: Mapping;
}

/** Registers, page-table aperture and VRAM of one VF. */
export class GuestBars {
  readonly #device: VfioDevice;
  readonly #areas: MappedArea[];
  readonly #word = new Uint8Array(4);
  readonly #wordView = dataView(this.#word);
  /** The VF's VRAM; undefined on integrated parts. */
  readonly vram: Mapping | undefined;

  /** @throws {Fault} the errno of mmap(2) */
  constructor(device: VfioDevice) {
    this.#device = device;
    const map = (bar: number): MappedArea[] =>
      device.regionInfo(bar).areas.map(({ offset, size, fd, fdOffset }) => ({
        offset,
        mapping: Mapping.ofFd(fd, size, { fdOffset }),
      }));
    this.#areas = map(XE_BAR.GTTMMADR);
    const vram = map(XE_BAR.LMEM);
    this.vram = vram[0]?.mapping;
    for (const { mapping } of vram.slice(1)) mapping.close();
  }

  /** Reads a register. */
  read(offset: number): number {
    this.#device.regionRead(XE_BAR.GTTMMADR, offset, this.#word, 0, 4);
    return this.#wordView.getUint32(0, true);
  }

  /** Writes a register. */
  async write(offset: number, value: number): Promise<void> {
    this.#wordView.setUint32(0, value, true);
    await this.#device.regionWrite(XE_BAR.GTTMMADR, offset, this.#word, 0, 4);
  }

  /**
   * The page-table entries of GGTT addresses `[start, start+size)`, mapped; two dwords an entry.
   * @throws {Fault} ENXIO when they are not offered for mapping
   */
  ptes(start: number, size: number): Uint32Array {
    const from = GTTMMADR.ggttStart + (start / GGTT_PAGE_SIZE) * GGTT_PTE_SIZE;
    const length = (size / GGTT_PAGE_SIZE) * GGTT_PTE_SIZE;
    for (const { offset, mapping } of this.#areas) {
      if (from < offset || from + length > offset + mapping.size) continue;
      const bytes = mapping.view(from - offset, length);
      return new Uint32Array(bytes.buffer, bytes.byteOffset, length / 4);
    }
    throw new Fault('ENXIO', `the page tables of 0x${start.toString(16)} cannot be mapped`);
  }

  /** Idempotent. */
  close(): void {
    for (const { mapping } of this.#areas) mapping.close();
    this.vram?.close();
  }
}
