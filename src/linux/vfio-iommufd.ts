/**
 * An address space of iommufd: the interface of kernels with CONFIG_IOMMUFD and device files of VFIO.
 *
 * Source: drivers/iommu/iommufd/ioas.c, drivers/vfio/device_cdev.c.
 */
import { closeSync, openSync } from 'node:fs';
import { Fault } from '../base/fault.ts';
import { IoctlArgument, ioctl } from '../sys/ioctl.ts';
import { PAGE_SIZE } from '../sys/mapping.ts';
import { VFIO_DMA_MAP_FLAG } from '../vfio/uapi.ts';
import { faultOfFile } from './sysfs-read.ts';
import { explainMap, type IommuLimits, LAST_IOVA, type VfioIommu } from './vfio-iommu.ts';
import { IOMMU_IOAS_MAP, IOMMUFD_IOCTL, IOMMUFD_STRUCT } from './vfio-iommufd-uapi.ts';
import { getStruct, putStruct } from './vfio-struct.ts';
import { VFIO_IOCTL, VFIO_STRUCT } from './vfio-uapi.ts';

/** The file of iommufd. */
export function iommufdPath(dev: string): string {
  return `${dev}/iommu`;
}

const { ioas_alloc, ioas_iova_ranges, iova_range, ioas_map, ioas_unmap } = IOMMUFD_STRUCT;

/** Ranges that there is room for when they are asked for. */
const MAX_RANGES = 128;

/** One address space, with an iommufd of its own. */
export class Iommufd implements VfioIommu {
  #fd: number;
  readonly #ioas: number;

  private constructor(fd: number, ioas: number) {
    this.#fd = fd;
    this.#ioas = ioas;
  }

  /**
   * @param dev where the files of devices are
   * @throws {Fault} ENOENT without CONFIG_IOMMUFD, EACCES
   */
  static open(dev: string): Iommufd {
    const fd = openIommufd(iommufdPath(dev));
    try {
      using argument = new IoctlArgument(ioas_alloc.size);
      putStruct(argument.view, 0, ioas_alloc, { size: ioas_alloc.size });
      ioctl(fd, IOMMUFD_IOCTL.IOAS_ALLOC, argument.address, 'make an address space');
      return new Iommufd(fd, getStruct(argument.view, 0, ioas_alloc).out_ioas_id);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /**
   * Binds an open device file and lets the device use this address space.
   * @throws {Fault} EBUSY when somebody else has the device; ENODEV, EINVAL when it cannot be isolated
   */
  attach(deviceFd: number, name: string): void {
    const { device_bind_iommufd, device_attach_iommufd_pt } = VFIO_STRUCT;
    using bind = new IoctlArgument(device_bind_iommufd.size);
    // Without the token, which older kernels do not know.
    const argsz = device_bind_iommufd.fields.token_uuid_ptr.offset;
    putStruct(bind.view, 0, device_bind_iommufd, { argsz, iommufd: this.#fd });
    try {
      ioctl(deviceFd, VFIO_IOCTL.DEVICE_BIND_IOMMUFD, bind.address, `bind ${name} to iommufd`);
    } catch (error) {
      // Source: vfio_df_device_first_open and its callers: the request is well formed, so it is this.
      if ((error as Fault).code !== 'EINVAL') throw error;
      throw new Fault('EBUSY', `${name} is in use by another process`, { cause: error });
    }
    using attach = new IoctlArgument(device_attach_iommufd_pt.size);
    putStruct(attach.view, 0, device_attach_iommufd_pt, {
      argsz: device_attach_iommufd_pt.fields.pasid.offset,
      pt_id: this.#ioas,
    });
    ioctl(
      deviceFd,
      VFIO_IOCTL.DEVICE_ATTACH_IOMMUFD_PT,
      attach.address,
      `attach ${name} to its address space`,
    );
  }

  get limits(): IommuLimits {
    using argument = new IoctlArgument(ioas_iova_ranges.size + MAX_RANGES * iova_range.size);
    const { view } = argument;
    putStruct(view, 0, ioas_iova_ranges, {
      size: ioas_iova_ranges.size,
      ioas_id: this.#ioas,
      num_iovas: MAX_RANGES,
      allowed_iovas: argument.address + ioas_iova_ranges.size,
    });
    const what = 'ask for the limits of the IOMMU';
    ioctl(this.#fd, IOMMUFD_IOCTL.IOAS_IOVA_RANGES, argument.address, what);
    const { num_iovas, out_iova_alignment } = getStruct(view, 0, ioas_iova_ranges);
    const iovaRanges = Array.from({ length: num_iovas }, (_, n) => {
      const { start, last } = getStruct(
        view,
        ioas_iova_ranges.size + n * iova_range.size,
        iova_range,
      );
      return { start: Number(start), last: Math.min(Number(last), LAST_IOVA) };
    });
    const pageSize = Math.max(Number(out_iova_alignment), PAGE_SIZE);
    return { iovaRanges, pageSize, available: undefined };
  }

  map(iova: number, vaddr: number, size: number, flags: number): void {
    using argument = new IoctlArgument(ioas_map.size);
    const { READ, WRITE } = VFIO_DMA_MAP_FLAG;
    putStruct(argument.view, 0, ioas_map, {
      size: ioas_map.size,
      flags:
        IOMMU_IOAS_MAP.FIXED_IOVA |
        ((flags & READ) === 0 ? 0 : IOMMU_IOAS_MAP.READABLE) |
        ((flags & WRITE) === 0 ? 0 : IOMMU_IOAS_MAP.WRITEABLE),
      ioas_id: this.#ioas,
      user_va: vaddr,
      length: size,
      iova,
    });
    try {
      ioctl(this.#fd, IOMMUFD_IOCTL.IOAS_MAP, argument.address, 'map memory for DMA');
    } catch (error) {
      const hint = 'free some kernel memory';
      throw explainMap(error as Fault, { iova, size }, this.limits, hint);
    }
  }

  unmap(iova: number, size: number): void {
    this.#unmap(iova, size);
  }

  unmapAll(): void {
    // Source: iommufd_ioas_unmap: all of the address space at once, also when nothing is mapped.
    this.#unmap(0, 0xffff_ffff_ffff_ffffn);
  }

  #unmap(iova: number, length: number | bigint): void {
    using argument = new IoctlArgument(ioas_unmap.size);
    const { size } = ioas_unmap;
    putStruct(argument.view, 0, ioas_unmap, { size, ioas_id: this.#ioas, iova, length });
    ioctl(this.#fd, IOMMUFD_IOCTL.IOAS_UNMAP, argument.address, 'unmap memory from DMA');
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }
}

function openIommufd(path: string): number {
  try {
    return openSync(path, 'r+');
  } catch (error) {
    throw faultOfFile(error, `open ${path}`);
  }
}
