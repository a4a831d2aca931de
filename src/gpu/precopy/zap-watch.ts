/**
 * Notices what may have taken pages out of a processor's page table, so that a write before it
 * leaves no trace there: the kernel's own work on memory, a VMM that changes its mappings.
 *
 * Source: mm/vmscan.c, mm/khugepaged.c, mm/migrate.c (when they count what /proc/vmstat shows),
 * fs/proc/task_mmu.c:show_map_vma.
 */
import { readFileSync } from 'node:fs';
import { fstat } from '../../sys/descriptor.ts';

/** Counters of /proc/vmstat that grow when shared memory leaves page tables, wherever in the machine. */
const ZAPS: ReadonlySet<string> = new Set([
  // Reclaim; without swap nothing of shared memory is scanned.
  'pgscan_anon',
  // Pages that become, or cease to be, parts of a huge one.
  'thp_collapse_alloc',
  'thp_split_page',
  // Pages that move: while they do, their entries come back one by one.
  'compact_isolated',
  'pgmigrate_success',
  'pgmigrate_fail',
]);

function zapCounts(): string {
  const lines = readFileSync('/proc/vmstat', 'ascii').split('\n');
  return lines.filter((line) => ZAPS.has(line.slice(0, line.indexOf(' ')))).join();
}

/** Watches one file of memory from when it is made. */
export class ZapWatch {
  readonly #size: number;
  readonly #vmmPid: (() => number | undefined) | undefined;
  #zaps = '';
  #vmas: string | undefined;
  readonly #mapLine: string;

  /**
   * @param fd the memory, borrowed
   * @param size bytes of it, from its first on
   * @param vmmPid the process that shall have all of it mapped, all the time; without this nobody
   * is asked
   * @throws {Error} where /proc does not show the counters
   */
  constructor(fd: number, size: number, vmmPid?: () => number | undefined) {
    this.#size = size;
    this.#vmmPid = vmmPid;
    const { device, inode } = fstat(fd);
    // Minor numbers of anonymous files are below 256, as is the major number 0.
    const minor = (device & 0xff).toString(16).padStart(2, '0');
    this.#mapLine = ` 00:${minor} ${inode} `;
    this.look();
  }

  /** @returns why page tables may have forgotten something since the last look; undefined when not */
  look(): string | undefined {
    const zaps = zapCounts();
    const moved = zaps !== this.#zaps;
    this.#zaps = zaps;
    const remapped = this.#vmmPid === undefined ? undefined : this.#lookAtVmm(this.#vmmPid());
    return remapped ?? (moved ? 'the kernel moved or reclaimed memory' : undefined);
  }

  #lookAtVmm(pid: number | undefined): string | undefined {
    const before = this.#vmas;
    this.#vmas = pid === undefined ? undefined : this.#vmasOf(pid);
    if (this.#vmas === undefined) return 'no VMM is known to have all of the memory mapped';
    return this.#vmas === before ? undefined : 'the VMM mapped the memory anew';
  }

  /** Where a process has mapped the memory; undefined when not all of it, or nothing can be seen. */
  #vmasOf(pid: number): string | undefined {
    let text: string;
    try {
      text = readFileSync(`/proc/${pid}/maps`, 'latin1');
    } catch {
      return undefined;
    }
    const lines = text.split('\n').filter((line) => line.includes(this.#mapLine));
    const parts = lines.map(partOf).sort((a, b) => a.start - b.start);
    let covered = 0;
    for (const { start, end } of parts) if (start <= covered) covered = Math.max(covered, end);
    return covered >= this.#size ? `${pid} ${lines.join()}` : undefined;
  }
}

/** Which bytes of its file a line of /proc/PID/maps shows. */
function partOf(line: string): { readonly start: number; readonly end: number } {
  const [addresses = '', , offset = ''] = line.split(' ');
  const [from, to] = addresses.split('-').map((text) => Number.parseInt(text, 16));
  const start = Number.parseInt(offset, 16);
  return { start, end: start + (to ?? 0) - (from ?? 0) };
}
