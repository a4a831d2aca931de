/**
 * The kernel's iommufd interface: request numbers and structures, as data.
 *
 * Source: include/uapi/linux/iommufd.h.
 */
import { struct } from './vfio-struct.ts';

/** `_IO(';', 0x80 + n)`. */
const io = (number: number) => (';'.charCodeAt(0) << 8) | (0x80 + number);

/** Requests of /dev/iommu. */
export const IOMMUFD_IOCTL = {
  IOAS_ALLOC: io(1),
  IOAS_IOVA_RANGES: io(4),
  IOAS_MAP: io(5),
  IOAS_UNMAP: io(6),
} as const;

/** `enum iommufd_ioas_map_flags`. */
export const IOMMU_IOAS_MAP = { FIXED_IOVA: 1 << 0, WRITEABLE: 1 << 1, READABLE: 1 << 2 } as const;

/** Structures; `size` is that of the structure itself. */
export const IOMMUFD_STRUCT = {
  ioas_alloc: struct({ size: 'u32', flags: 'u32', out_ioas_id: 'u32' }),
  iova_range: struct({ start: 'u64', last: 'u64' }),
  ioas_iova_ranges: struct({
    size: 'u32',
    ioas_id: 'u32',
    num_iovas: 'u32',
    __reserved: 'u32',
    allowed_iovas: 'u64',
    out_iova_alignment: 'u64',
  }),
  ioas_map: struct({
    size: 'u32',
    flags: 'u32',
    ioas_id: 'u32',
    __reserved: 'u32',
    user_va: 'u64',
    length: 'u64',
    iova: 'u64',
  }),
  ioas_unmap: struct({ size: 'u32', ioas_id: 'u32', iova: 'u64', length: 'u64' }),
} as const;
