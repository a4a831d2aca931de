/**
 * A VFIO container with the type 1 IOMMU: the interface that every kernel with VFIO has.
 *
 * Source: drivers/vfio/container.c, drivers/vfio/vfio_iommu_type1.c.
 */
import { closeSync, openSync } from 'node:fs';
import { Fault } from '../base/fault.ts';
import { IoctlArgument, ioctl } from '../sys/ioctl.ts';
import { PAGE_SIZE } from '../sys/mapping.ts';
import { faultOfFile } from './sysfs-read.ts';
import { findCapability } from './vfio-info-caps.ts';
import {
  explainMap,
  type IommuLimits,
  type IovaRange,
  LAST_IOVA,
  type VfioIommu,
} from './vfio-iommu.ts';
import { getStruct, putStruct } from './vfio-struct.ts';
import {
  VFIO_API_VERSION,
  VFIO_DMA_UNMAP_FLAG_ALL,
  VFIO_EXTENSION,
  VFIO_IOCTL,
  VFIO_IOMMU_INFO,
  VFIO_IOMMU_TYPE1_INFO_CAP,
  VFIO_STRUCT,
} from './vfio-uapi.ts';

const { iommu_type1_info, iommu_type1_dma_map, iommu_type1_dma_unmap, iova_range } = VFIO_STRUCT;

const ENTRY_LIMIT_HINT =
  'raise it: echo N > /sys/module/vfio_iommu_type1/parameters/dma_entry_limit (read when a container opens)';

/** An open container. A group is attached to it before {@link Type1Container.setIommu}. */
export class Type1Container implements VfioIommu {
  /** The descriptor, borrowed; -1 once closed. */
  fd: number;

  private constructor(fd: number) {
    this.fd = fd;
  }

  /**
   * @param dev where the files of devices are
   * @throws {Fault} ENOENT without the modules, EACCES, EOPNOTSUPP for an unknown version or IOMMU
   */
  static open(dev: string): Type1Container {
    const container = new Type1Container(openContainer(`${dev}/vfio/vfio`));
    try {
      const version = container.#ask(VFIO_IOCTL.GET_API_VERSION, 0, 'ask for the version of VFIO');
      const { TYPE1v2_IOMMU } = VFIO_EXTENSION;
      if (version !== VFIO_API_VERSION)
        throw new Fault('EOPNOTSUPP', `the kernel speaks version ${version} of VFIO, not 0`);
      if (container.#ask(VFIO_IOCTL.CHECK_EXTENSION, TYPE1v2_IOMMU, 'ask for type 1') === 0)
        throw new Fault('EOPNOTSUPP', 'the kernel has no type 1 IOMMU for VFIO', {
          hint: 'modprobe vfio_iommu_type1',
        });
      return container;
    } catch (error) {
      container.close();
      throw error;
    }
  }

  /** Chooses the IOMMU, once a group is attached. @throws {Fault} ENODEV, EINVAL ... */
  setIommu(): void {
    this.#ask(VFIO_IOCTL.SET_IOMMU, VFIO_EXTENSION.TYPE1v2_IOMMU, 'choose the type 1 IOMMU');
  }

  get limits(): IommuLimits {
    return this.#limits(PAGE_SIZE);
  }

  #limits(room: number): IommuLimits {
    using argument = new IoctlArgument(room);
    const { view } = argument;
    putStruct(view, 0, iommu_type1_info, { argsz: room });
    this.#ask(VFIO_IOCTL.IOMMU_GET_INFO, argument.address, 'ask for the limits of the IOMMU');
    const { argsz, flags, iova_pgsizes, cap_offset } = getStruct(view, 0, iommu_type1_info);
    if (argsz > room) return this.#limits(argsz);
    const first = (flags & VFIO_IOMMU_INFO.CAPS) === 0 ? 0 : cap_offset;
    const available = findCapability(view, first, VFIO_IOMMU_TYPE1_INFO_CAP.DMA_AVAIL);
    return {
      iovaRanges: rangesAt(view, findCapability(view, first, VFIO_IOMMU_TYPE1_INFO_CAP.IOVA_RANGE)),
      pageSize: smallestPage((flags & VFIO_IOMMU_INFO.PGSIZES) === 0 ? 0n : iova_pgsizes),
      available: available === undefined ? undefined : view.getUint32(available, true),
    };
  }

  map(iova: number, vaddr: number, size: number, flags: number): void {
    using argument = new IoctlArgument(iommu_type1_dma_map.size);
    const argsz = iommu_type1_dma_map.size;
    putStruct(argument.view, 0, iommu_type1_dma_map, { argsz, flags, vaddr, iova, size });
    try {
      this.#ask(VFIO_IOCTL.IOMMU_MAP_DMA, argument.address, 'map memory for DMA');
    } catch (error) {
      throw explainMap(error as Fault, { iova, size }, this.limits, ENTRY_LIMIT_HINT);
    }
  }

  unmap(iova: number, size: number): void {
    const unmapped = this.#unmap(0, iova, size);
    if (unmapped !== size)
      throw new Fault('ENOENT', `${unmapped} of ${size} bytes at ${iova} were mapped for DMA`);
  }

  unmapAll(): void {
    this.#unmap(VFIO_DMA_UNMAP_FLAG_ALL, 0, 0);
  }

  #unmap(flags: number, iova: number, size: number): number {
    using argument = new IoctlArgument(iommu_type1_dma_unmap.size);
    const argsz = iommu_type1_dma_unmap.size;
    putStruct(argument.view, 0, iommu_type1_dma_unmap, { argsz, flags, iova, size });
    this.#ask(VFIO_IOCTL.IOMMU_UNMAP_DMA, argument.address, 'unmap memory from DMA');
    return Number(getStruct(argument.view, 0, iommu_type1_dma_unmap).size);
  }

  /** The kernel takes every mapping away when the last descriptor of the container closes. */
  close(): void {
    if (this.fd >= 0) closeSync(this.fd);
    this.fd = -1;
  }

  #ask(request: number, argument: number, what: string): number {
    return ioctl(this.fd, request, argument, what);
  }
}

function openContainer(path: string): number {
  try {
    return openSync(path, 'r+');
  } catch (error) {
    const fault = faultOfFile(error, `open ${path}`);
    throw new Fault(fault.code, fault.message, {
      cause: error,
      hint: fault.code === 'EACCES' ? 'run it as root' : 'modprobe vfio-pci vfio_iommu_type1',
    });
  }
}

function rangesAt(view: DataView, at: number | undefined): IovaRange[] {
  if (at === undefined) return [{ start: 0, last: LAST_IOVA }];
  const { iommu_type1_info_cap_iova_range } = VFIO_STRUCT;
  const { nr_iovas } = getStruct(view, at, iommu_type1_info_cap_iova_range);
  return Array.from({ length: nr_iovas }, (_, n) => {
    const place = at + iommu_type1_info_cap_iova_range.size + n * iova_range.size;
    const { start, end } = getStruct(view, place, iova_range);
    return { start: Number(start), last: Math.min(Number(end), LAST_IOVA) };
  });
}

/** The page that the lowest bit of a mask of sizes stands for. */
function smallestPage(sizes: bigint): number {
  return sizes === 0n ? PAGE_SIZE : Number(sizes & -sizes);
}
