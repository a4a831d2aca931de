/** Guest memory as the conformance suite's device sees it: its mappings, DMA, and what it wrote. */
import { Fault } from '../../src/base/fault.ts';
import type { DmaLogRange, DmaMapping } from '../../src/vfio/vfio-device.ts';

const PAGE = 4096;

/** Mappings in order of their addresses (there can be tens of thousands) and the log of writes. */
export class CaseDma {
  readonly #maps: DmaMapping[] = [];
  #windowCount = 0;
  #dirty: Set<number> | undefined;
  #logRanges: readonly DmaLogRange[] = [];

  /** Mappings. */
  get mapCount(): number {
    return this.#maps.length;
  }

  /** Mappings whose memory is mapped in this process. */
  get windowCount(): number {
    return this.#windowCount;
  }

  /** Where a mapping that begins at `iova` is, or would be. */
  #place(iova: number): number {
    let low = 0;
    for (let high = this.#maps.length; low < high; ) {
      const middle = (low + high) >> 1;
      if ((this.#maps[middle]?.iova ?? 0) < iova) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** @throws {Fault} EEXIST when it overlaps another */
  map(mapping: DmaMapping): void {
    const at = this.#place(mapping.iova);
    const below = this.#maps[at - 1];
    const above = this.#maps[at];
    if (
      (below && below.iova + below.size > mapping.iova) ||
      (above && mapping.iova + mapping.size > above.iova)
    )
      throw new Fault('EEXIST', 'overlaps a mapping');
    this.#maps.splice(at, 0, mapping);
    if (mapping.memory.windows !== undefined) this.#windowCount++;
  }

  /** @throws {Fault} ENOENT when there is no mapping of exactly this range */
  unmap(iova: number, size: number): void {
    const at = this.#place(iova);
    const mapping = this.#maps[at];
    if (mapping?.iova !== iova || mapping.size !== size)
      throw new Fault('ENOENT', 'no such mapping');
    this.#maps.splice(at, 1);
    if (mapping.memory.windows !== undefined) this.#windowCount--;
  }

  /** Forgets every mapping. */
  unmapAll(): void {
    this.#maps.length = 0;
    this.#windowCount = 0;
  }

  /**
   * Moves `buffer` from or to guest memory. Whether that is allowed is for the mapping to say.
   * @throws {Fault} EFAULT where nothing is mapped, and what the mapping says
   */
  transfer(iova: number, buffer: Uint8Array, write: boolean): void {
    for (let done = 0; done < buffer.length; ) {
      const at = iova + done;
      const map = this.#maps[this.#place(at + 1) - 1];
      if (map === undefined || at >= map.iova + map.size) throw new Fault('EFAULT', 'not mapped');
      const part = buffer.subarray(done, done + map.iova + map.size - at);
      if (write) map.memory.write(at - map.iova, part);
      else map.memory.read(at - map.iova, part);
      if (write) this.#log(at, part.length);
      done += part.length;
    }
  }

  #log(iova: number, length: number): void {
    const end = iova + length;
    if (this.#dirty === undefined) return;
    for (let page = Math.floor(iova / PAGE); page * PAGE < end; page++) {
      const at = page * PAGE;
      const covers = (r: DmaLogRange) => at < r.iova + r.length && at + PAGE > r.iova;
      if (this.#logRanges.length === 0 || this.#logRanges.some(covers)) this.#dirty.add(page);
    }
  }

  /** @throws {Fault} EBUSY when it logs already */
  startLogging(ranges: readonly DmaLogRange[]): void {
    if (this.#dirty !== undefined) throw new Fault('EBUSY', 'already logging');
    this.#dirty = new Set();
    this.#logRanges = ranges;
  }

  stopLogging(): void {
    this.#dirty = undefined;
  }

  /** Sets the bits of the written pages and forgets them. @throws {Fault} EINVAL when not logging */
  report(iova: number, length: number, pageSize: number, bitmap: Uint8Array): void {
    const dirty = this.#dirty;
    if (dirty === undefined) throw new Fault('EINVAL', 'not logging');
    for (const page of [...dirty]) {
      const from = Math.max(page * PAGE, iova);
      const to = Math.min((page + 1) * PAGE, iova + length);
      if (from >= to) continue;
      const last = Math.ceil((to - iova) / pageSize);
      for (let bit = Math.floor((from - iova) / pageSize); bit < last; bit++)
        bitmap[bit >> 3] = (bitmap[bit >> 3] ?? 0) | (1 << (bit & 7));
      dirty.delete(page);
    }
  }
}
