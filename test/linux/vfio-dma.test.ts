import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import { type Unreachable, VfioDma } from '../../src/linux/vfio-dma.ts';
import { findCapability } from '../../src/linux/vfio-info-caps.ts';
import { explainMap, type IommuLimits, type VfioIommu } from '../../src/linux/vfio-iommu.ts';
import type { DmaMapping } from '../../src/vfio/vfio-device.ts';

const LIMITS: IommuLimits = {
  iovaRanges: [
    { start: 0, last: 0xfedf_ffff },
    { start: 0xfef0_0000, last: 2 ** 48 - 1 },
  ],
  pageSize: 4096,
  available: 65535,
};
const MIB = 2 ** 20;

function explained(code: 'ENOMEM' | 'ENOSPC' | 'EINVAL' | 'EEXIST', iova: number, size: number) {
  const fault = new Fault(code, 'map memory for DMA');
  return { fault, told: explainMap(fault, { iova, size }, LIMITS, 'raise N') };
}

describe('explainMap', () => {
  it('names the limit for locked memory', () => {
    const { told, fault } = explained('ENOMEM', 0, MIB);
    expect(told).toMatchObject({ code: 'ENOMEM', cause: fault });
    expect(told.message).toMatch(
      /^1 MiB at 0x0 cannot be mapped for DMA: .*the limit of this process is/,
    );
    expect(told.hint).toMatch(/ulimit -l/);
  });

  it('names the limit for mappings', () => {
    expect(explained('ENOSPC', 0, MIB).told).toMatchObject({ code: 'ENOSPC', hint: 'raise N' });
  });

  it('names the ranges when the mapping is not in one of them', () => {
    const { told } = explained('EINVAL', 0xfed0_0000, 4 * MIB);
    expect(told.message).toContain('0x0-0xfedfffff, 0xfef00000-0xffffffffffff only');
  });

  it('names the page when the mapping is not whole pages', () => {
    expect(explained('EINVAL', 512, MIB).told.message).toContain('4096 bytes');
  });

  it('leaves alone what it knows no more of', () => {
    for (const { told, fault } of [explained('EINVAL', 0, MIB), explained('EEXIST', 0, MIB)])
      expect(told).toBe(fault);
  });
});

describe('VfioDma', () => {
  /** Notes what is asked of it. */
  function recorder(): { iommu: VfioIommu; calls: string[] } {
    const calls: string[] = [];
    const iommu: VfioIommu = {
      limits: LIMITS,
      map: (iova, vaddr, size, flags) => void calls.push(`map ${iova} ${vaddr} ${size} ${flags}`),
      unmap: (iova, size) => void calls.push(`unmap ${iova} ${size}`),
      unmapAll: () => void calls.push('all'),
      close: () => undefined,
    };
    return { iommu, calls };
  }

  function mapping(iova: number, address?: number): DmaMapping {
    const memory = {
      windows: undefined,
      read: () => undefined,
      write: () => undefined,
      ...(address === undefined ? {} : { nativeAddress: () => address }),
    };
    return { iova, size: 4096, flags: 3, memory };
  }

  it('maps what lies in this process and tells what does not', () => {
    const { iommu, calls } = recorder();
    const told: Unreachable[] = [];
    const dma = new VfioDma(iommu, (what) => told.push(what));
    const [near, far] = [mapping(0, 0x7000), mapping(4096)];
    dma.map(near);
    dma.map(far);
    dma.unmap(far);
    dma.unmap(near);
    dma.unmap(near);
    expect(calls).toEqual(['map 0 28672 4096 3', 'unmap 0 4096']);
    expect(told.map((each) => each.mapping)).toEqual([far]);
  });

  it('asks for nothing when there is nothing to take away', () => {
    const { iommu, calls } = recorder();
    const dma = new VfioDma(iommu, () => undefined);
    dma.unmapAll();
    dma.map(mapping(0, 0x7000));
    dma.unmapAll();
    dma.unmapAll();
    expect(calls).toEqual(['map 0 28672 4096 3', 'all']);
  });
});

describe('findCapability', () => {
  /** A chain of capabilities from offset 16 on: id and where the next one is. */
  function chain(...links: [at: number, id: number, next: number][]): DataView {
    const view = new DataView(new ArrayBuffer(64));
    for (const [at, id, next] of links) {
      view.setUint16(at, id, true);
      view.setUint32(at + 4, next, true);
    }
    return view;
  }

  it('finds one behind others', () => {
    const view = chain([16, 1, 32], [32, 3, 0]);
    expect(findCapability(view, 16, 1)).toBe(24);
    expect(findCapability(view, 16, 3)).toBe(40);
    expect(findCapability(view, 16, 2)).toBeUndefined();
    expect(findCapability(view, 0, 1)).toBeUndefined();
  });

  it('ends at a chain that leads back or out', () => {
    expect(findCapability(chain([16, 1, 16]), 16, 2)).toBeUndefined();
    expect(findCapability(chain([16, 1, 32], [32, 2, 16]), 16, 3)).toBeUndefined();
    expect(findCapability(chain([16, 1, 60]), 16, 2)).toBeUndefined();
  });
});
