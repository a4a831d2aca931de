/**
 * What the kernel's page table of this process says of a range of addresses.
 *
 * Of each page it tells whether anybody else has it mapped too, whoever that is: the kernel counts
 * the page table entries of a page, in all processes. No privilege is needed.
 *
 * Source: Documentation/admin-guide/mm/pagemap.rst; fs/proc/task_mmu.c:pagemap_read.
 */
import { closeSync, openSync } from 'node:fs';
import { checked, libc } from './libc.ts';
import { Mapping, PAGE_SIZE } from './mapping.ts';
import { Memfd } from './memfd.ts';

/** Bits of the high half of an entry. */
const PAGEMAP = {
  /** `PM_PRESENT`, bit 63: there is an entry for the page. */
  PRESENT: 0x8000_0000,
  /** `PM_MMAP_EXCLUSIVE`, bit 56: and it is the only one of the page. */
  EXCLUSIVE: 0x0100_0000,
} as const;
const ENTRY_SIZE = 8;
/** Entries that are read at a time: those of 4 MiB. */
const MOST_ENTRIES = 1024;

/** What {@link PageMap.read} finds of a run of pages. */
export const MAPPED = {
  /** At least one of the pages is not in this process's page table, and none is known to be in others. */
  UNKNOWN: 0,
  /** All are in this process's page table, and in no other place. */
  HERE_ALONE: 1,
  /** At least one is mapped a second time, by whomever. */
  ELSEWHERE: 2,
} as const;

/** The page table of this process. */
export class PageMap implements Disposable {
  #fd: number;
  readonly #buffer = Mapping.anonymous(MOST_ENTRIES * ENTRY_SIZE);
  readonly #entries = new Uint32Array(this.#buffer.view().buffer, 0, MOST_ENTRIES * 2);

  /** @throws {Error} where there is no /proc, or it hides this */
  constructor() {
    this.#fd = openSync('/proc/self/pagemap', 'r');
  }

  /**
   * Looks at `count` runs of `pages` pages each, from native address `address`.
   *
   * @param count runs, at most 1024 pages in all
   * @param into takes {@link MAPPED} of each run from its first element on
   * @throws {Fault} the errno of pread(2)
   */
  read(address: number, pages: number, count: number, into: Uint8Array): void {
    const length = pages * count * ENTRY_SIZE;
    const at = (address / PAGE_SIZE) * ENTRY_SIZE;
    const got = checked(
      libc.pread64(this.#fd, this.#buffer.address, length, at),
      'read the page table',
    );
    const entries = this.#entries;
    // Beyond what the kernel answered nothing is known.
    if (got < length) entries.fill(0, got / 4, length / 4);
    for (let run = 0; run < count; run++) {
      let alone = PAGEMAP.PRESENT | PAGEMAP.EXCLUSIVE;
      let elsewhere = 0;
      const end = (run + 1) * pages * 2;
      for (let high = run * pages * 2 + 1; high < end; high += 2) {
        const entry = entries[high] as number;
        alone &= entry;
        // Bit 31 where the page is present and bit 24 is clear.
        elsewhere |= entry & ~(entry << 7);
      }
      if ((elsewhere & PAGEMAP.PRESENT) !== 0) into[run] = MAPPED.ELSEWHERE;
      else into[run] = alone === (PAGEMAP.PRESENT | PAGEMAP.EXCLUSIVE) ? MAPPED.HERE_ALONE : 0;
    }
  }

  /** Idempotent. */
  close(): void {
    if (this.#fd < 0) return;
    closeSync(this.#fd);
    this.#fd = -1;
    this.#buffer.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

let known: boolean | undefined;

/**
 * True when the kernel tells a page that is mapped once from one that is mapped twice: tried, as
 * other kernels and sandboxes show an empty or an older page table.
 */
export function tellsWhoMaps(): boolean {
  known ??= tryOut();
  return known;
}

function tryOut(): boolean {
  try {
    using map = new PageMap();
    using memfd = Memfd.create('xe-vfio-page-map', 2 * PAGE_SIZE);
    using once = memfd.map();
    const found = new Uint8Array(2);
    const look = () => {
      map.read(once.address, 1, 2, found);
      return found.join();
    };
    const before = look();
    once.view().fill(1);
    const alone = look();
    using twice = memfd.map();
    twice.view(PAGE_SIZE, 1).fill(2);
    const both = look();
    return before === '0,0' && alone === '1,1' && both === '1,2';
  } catch {
    return false;
  }
}
