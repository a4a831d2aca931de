/**
 * Logging of the pages that a device writes, for VFIO_DEVICE_FEATURE_DMA_LOGGING_*.
 *
 * Linux's xe-vfio-pci has none, so a VF gets a logger only where its function reports its writes.
 *
 * Source: include/linux/vfio.h (vfio_log_ops), drivers/vfio/iova_bitmap.c.
 */
import { Fault } from '../base/fault.ts';
import { alignDown, alignUp } from '../base/int.ts';
import {
  checkLogPageSize,
  checkLogRanges,
  checkLogReport,
  LOG_MIN_PAGE_SIZE,
  logBitmapSize,
} from '../vfio/feature.ts';
import type { DmaLogRange } from '../vfio/vfio-device.ts';

/** One who knows which pages a device wrote. */
export interface DmaLogger {
  /** True between start and stop. */
  readonly active: boolean;
  /**
   * Starts with nothing written. Starting again forgets what was logged.
   * @param pageSize bytes that one written byte makes dirty
   * @param ranges what to log; none of them: everything
   * @throws {Fault} EINVAL, E2BIG, EOVERFLOW as {@link checkLogRanges}
   */
  start(pageSize: number, ranges: readonly DmaLogRange[]): void;
  /** Ends logging and frees what was logged. */
  stop(): void;
  /**
   * Sets a bit for each written page of `[iova, iova+length)` in `bitmap` and forgets them.
   * Pages outside the logged ranges were never seen and are reported as clean.
   * @throws {Fault} EINVAL when not active, for a bad page size or a bitmap that is too small;
   * EOVERFLOW for a range that ends above 2^53-1
   */
  report(iova: number, length: number, pageSize: number, bitmap: Uint8Array): void;
  /** The device wrote `size` bytes at `iova`. */
  wrote(iova: number, size: number): void;
}

/** Bytes that one bit of the log stands for, the smallest page that can be asked for. */
const LOG_PAGE_SIZE = LOG_MIN_PAGE_SIZE;
/** Pages that one chunk of the log stands for. */
const CHUNK_PAGES = 32768;

/**
 * A log of written pages: bitmaps in chunks that are made when a page in them is written, so that
 * logging all of a guest costs what the guest's device writes, not what the guest has.
 *
 * A bit stands for 4 KiB whatever page size was asked for: a write makes all 4 KiB pages of its
 * page dirty, so that a report of a part of a page does not forget the rest of it.
 */
export class DirtyLog implements DmaLogger {
  #active = false;
  #pageSize: number = LOG_PAGE_SIZE;
  #ranges: readonly DmaLogRange[] = [];
  /** Bitmap of each chunk by its number; bit 0 of byte 0 is its first page. */
  #chunks = new Map<number, Uint8Array>();

  get active(): boolean {
    return this.#active;
  }

  start(pageSize: number, ranges: readonly DmaLogRange[]): void {
    if (ranges.length === 0) checkLogPageSize(pageSize);
    else checkLogRanges(pageSize, ranges);
    this.#pageSize = pageSize;
    this.#ranges = ranges;
    this.#chunks = new Map();
    this.#active = true;
  }

  stop(): void {
    this.#active = false;
    this.#ranges = [];
    this.#chunks = new Map();
  }

  wrote(iova: number, size: number): void {
    if (!this.#active || size <= 0) return;
    const start = alignDown(iova, this.#pageSize);
    const end = alignUp(iova + size, this.#pageSize);
    if (this.#ranges.length === 0) this.#mark(start, end);
    for (const range of this.#ranges)
      this.#mark(Math.max(start, range.iova), Math.min(end, range.iova + range.length));
  }

  report(iova: number, length: number, pageSize: number, bitmap: Uint8Array): void {
    if (!this.#active) throw new Fault('EINVAL', 'DMA is not logged now');
    checkLogReport(iova, length, pageSize);
    if (bitmap.length < logBitmapSize(length, pageSize))
      throw new Fault('EINVAL', `the bitmap of ${bitmap.length} bytes is too small`);
    if (length === 0) return;
    const first = Math.floor(iova / LOG_PAGE_SIZE);
    const last = Math.floor((iova + length - 1) / LOG_PAGE_SIZE);
    for (const [number, chunk] of this.#chunks) {
      const base = number * CHUNK_PAGES;
      const to = Math.min(last, base + CHUNK_PAGES - 1);
      for (let page = Math.max(first, base); page <= to; page++) {
        const bit = page - base;
        const byte = chunk[bit >> 3]!;
        if (byte === 0) {
          page += 7 - (bit & 7);
        } else if ((byte & (1 << (bit & 7))) !== 0) {
          const whole = page * LOG_PAGE_SIZE >= iova && (page + 1) * LOG_PAGE_SIZE <= iova + length;
          if (whole) chunk[bit >> 3] = byte & ~(1 << (bit & 7));
          show(page, iova, length, pageSize, bitmap);
        }
      }
    }
  }

  #mark(start: number, end: number): void {
    if (end <= start) return;
    const last = Math.floor((end - 1) / LOG_PAGE_SIZE);
    for (let page = Math.floor(start / LOG_PAGE_SIZE); page <= last; page++) {
      const number = Math.floor(page / CHUNK_PAGES);
      let chunk = this.#chunks.get(number);
      if (chunk === undefined) {
        chunk = new Uint8Array(CHUNK_PAGES / 8);
        this.#chunks.set(number, chunk);
      }
      const bit = page - number * CHUNK_PAGES;
      chunk[bit >> 3]! |= 1 << (bit & 7);
    }
  }
}

/** Sets a report's bits for one written page. */
function show(
  page: number,
  iova: number,
  length: number,
  pageSize: number,
  bitmap: Uint8Array,
): void {
  const start = Math.max(page * LOG_PAGE_SIZE, iova) - iova;
  const end = Math.min((page + 1) * LOG_PAGE_SIZE, iova + length) - iova;
  const last = Math.floor((end - 1) / pageSize);
  for (let bit = Math.floor(start / pageSize); bit <= last; bit++)
    bitmap[Math.floor(bit / 8)]! |= 1 << (bit % 8);
}
