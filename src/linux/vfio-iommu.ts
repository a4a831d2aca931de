/** What keeps a device's DMA inside the memory it was given: the contract of both kernel interfaces. */
import { readFileSync } from 'node:fs';
import { Fault } from '../base/fault.ts';
import { formatSize } from '../base/size.ts';

/** Addresses that a device may be given, both ends included; above 2^53-1 cut off there. */
export interface IovaRange {
  readonly start: number;
  readonly last: number;
}

/** What an IOMMU can map. */
export interface IommuLimits {
  /** In order; what lies between them the IOMMU or the platform keeps for itself. */
  readonly iovaRanges: readonly IovaRange[];
  /** Smallest page, bytes. */
  readonly pageSize: number;
  /** Mappings that there is still room for; undefined when there is no such limit. */
  readonly available: number | undefined;
}

/** One address space of one device, or of several that share their VMM's memory. */
export interface VfioIommu {
  readonly limits: IommuLimits;
  /**
   * Lets the device reach `size` bytes of this process from `vaddr` on at `iova`. The memory is pinned.
   *
   * @param flags bits of `VFIO_DMA_MAP_FLAG`
   * @throws {Fault} ENOMEM at the limit for locked memory, ENOSPC at that of mappings, EINVAL outside
   * of `limits`, EEXIST when a part is mapped
   */
  map(iova: number, vaddr: number, size: number, flags: number): void;
  /**
   * Takes a range away again; a transfer of the device that is under way fails, and the memory is the
   * caller's alone when this returns.
   * @throws {Fault} ENOENT when there is no such mapping
   */
  unmap(iova: number, size: number): void;
  /** Takes everything away. */
  unmapAll(): void;
  /** Takes everything away and lets go of the address space. Idempotent. */
  close(): void;
}

/** Largest address that is told; page tables end long before it. */
export const LAST_IOVA = 2 ** 53 - 1;

/**
 * The fault of a mapping that the kernel refused, with what stands behind its errno.
 *
 * @param entryLimit how to raise the limit that ENOSPC is about
 */
export function explainMap(
  fault: Fault,
  { iova, size }: { readonly iova: number; readonly size: number },
  limits: IommuLimits,
  entryLimit: string,
): Fault {
  const range = `${formatSize(size)} at 0x${iova.toString(16)}`;
  const told = (reason: string, hint: string) =>
    new Fault(fault.code, `${range} cannot be mapped for DMA: ${reason}`, { hint, cause: fault });
  switch (fault.code) {
    case 'ENOMEM':
      return told(
        `the memory cannot be locked; the limit of this process is ${memlockLimit()}`,
        'raise it above the memory of the guest: ulimit -l unlimited, or LimitMEMLOCK=infinity',
      );
    case 'ENOSPC':
      return told('there are too many mappings', entryLimit);
    case 'EINVAL': {
      const { iovaRanges, pageSize } = limits;
      if (iova % pageSize !== 0 || size % pageSize !== 0)
        return told(`the pages of the IOMMU have ${pageSize} bytes`, 'align it');
      if (iovaRanges.some(({ start, last }) => iova >= start && iova + size - 1 <= last))
        return fault;
      const text = iovaRanges.map(
        ({ start, last }) => `0x${start.toString(16)}-0x${last.toString(16)}`,
      );
      return told(
        `the IOMMU maps ${text.join(', ') || 'nothing'} only`,
        'place the memory of the guest elsewhere',
      );
    }
    default:
      return fault;
  }
}

/** RLIMIT_MEMLOCK as people read it. Source: proc_pid_limits(5). */
function memlockLimit(): string {
  const line = /^Max locked memory\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
  const limit = line?.[1];
  return limit === undefined || limit === 'unlimited' ? 'none' : formatSize(Number(limit));
}
