/**
 * The kernel's VFIO interface: request numbers and structures, as data.
 *
 * What crosses our own contracts too (flags of regions, interrupts, features, states) is in src/vfio.
 *
 * Source: include/uapi/linux/vfio.h.
 */
import { struct } from './vfio-struct.ts';

/** `VFIO_API_VERSION`. */
export const VFIO_API_VERSION = 0;
/** Extensions of a container; with the second version of type 1 comes VFIO_UNMAP_ALL. */
export const VFIO_EXTENSION = { TYPE1v2_IOMMU: 3 } as const;

/** `_IO(';', 100 + n)`: no direction and no size in the number. */
const io = (number: number) => (';'.charCodeAt(0) << 8) | (100 + number);

/** Requests, by the descriptor that takes them. */
export const VFIO_IOCTL = {
  // Container.
  GET_API_VERSION: io(0),
  CHECK_EXTENSION: io(1),
  SET_IOMMU: io(2),
  IOMMU_GET_INFO: io(12),
  IOMMU_MAP_DMA: io(13),
  IOMMU_UNMAP_DMA: io(14),
  // Group.
  GROUP_GET_STATUS: io(3),
  GROUP_SET_CONTAINER: io(4),
  GROUP_GET_DEVICE_FD: io(6),
  // Device.
  DEVICE_GET_INFO: io(7),
  DEVICE_GET_REGION_INFO: io(8),
  DEVICE_GET_IRQ_INFO: io(9),
  DEVICE_SET_IRQS: io(10),
  DEVICE_RESET: io(11),
  DEVICE_FEATURE: io(17),
  DEVICE_BIND_IOMMUFD: io(18),
  DEVICE_ATTACH_IOMMUFD_PT: io(19),
  // Migration data.
  MIG_GET_PRECOPY_INFO: io(21),
} as const;

/** `vfio_group_status.flags`. */
export const VFIO_GROUP_FLAGS = { VIABLE: 1 << 0 } as const;
/** `vfio_iommu_type1_info.flags`. */
export const VFIO_IOMMU_INFO = { PGSIZES: 1 << 0, CAPS: 1 << 1 } as const;
/** Capabilities of `vfio_iommu_type1_info`. */
export const VFIO_IOMMU_TYPE1_INFO_CAP = { IOVA_RANGE: 1, DMA_AVAIL: 3 } as const;
/** `vfio_iommu_type1_dma_unmap.flags`. */
export const VFIO_DMA_UNMAP_FLAG_ALL = 1 << 1;
/** `vfio_precopy_info.flags`. */
export const VFIO_PRECOPY_INFO_REINIT = 1 << 0;

/** Structures. A number of elements that follow is in the field named `nr_...` or `count`. */
export const VFIO_STRUCT = {
  info_cap_header: struct({ id: 'u16', version: 'u16', next: 'u32' }),
  group_status: struct({ argsz: 'u32', flags: 'u32' }),
  device_info: struct({
    argsz: 'u32',
    flags: 'u32',
    num_regions: 'u32',
    num_irqs: 'u32',
    cap_offset: 'u32',
    pad: 'u32',
  }),
  region_info: struct({
    argsz: 'u32',
    flags: 'u32',
    index: 'u32',
    cap_offset: 'u32',
    size: 'u64',
    offset: 'u64',
  }),
  /** After its `info_cap_header`; `region_sparse_mmap_area`s follow. */
  region_info_cap_sparse_mmap: struct({ nr_areas: 'u32', reserved: 'u32' }),
  region_sparse_mmap_area: struct({ offset: 'u64', size: 'u64' }),
  irq_info: struct({ argsz: 'u32', flags: 'u32', index: 'u32', count: 'u32' }),
  /** Its data follows: nothing, a byte or a descriptor a vector. */
  irq_set: struct({ argsz: 'u32', flags: 'u32', index: 'u32', start: 'u32', count: 'u32' }),
  /** Its data follows. */
  device_feature: struct({ argsz: 'u32', flags: 'u32' }),
  device_feature_migration: struct({ flags: 'u64' }),
  device_feature_mig_state: struct({ device_state: 'u32', data_fd: 's32' }),
  device_feature_mig_data_size: struct({ stop_copy_length: 'u64' }),
  device_feature_dma_logging_control: struct({
    page_size: 'u64',
    num_ranges: 'u32',
    __reserved: 'u32',
    ranges: 'u64',
  }),
  device_feature_dma_logging_range: struct({ iova: 'u64', length: 'u64' }),
  device_feature_dma_logging_report: struct({
    iova: 'u64',
    length: 'u64',
    page_size: 'u64',
    bitmap: 'u64',
  }),
  precopy_info: struct({
    argsz: 'u32',
    flags: 'u32',
    initial_bytes: 'u64',
    dirty_bytes: 'u64',
  }),
  device_bind_iommufd: struct({
    argsz: 'u32',
    flags: 'u32',
    iommufd: 's32',
    out_devid: 'u32',
    token_uuid_ptr: 'u64',
  }),
  device_attach_iommufd_pt: struct({
    argsz: 'u32',
    flags: 'u32',
    pt_id: 'u32',
    pasid: 'u32',
  }),
  iommu_type1_info: struct({
    argsz: 'u32',
    flags: 'u32',
    iova_pgsizes: 'u64',
    cap_offset: 'u32',
    pad: 'u32',
  }),
  /** After its `info_cap_header`; `iova_range`s follow. */
  iommu_type1_info_cap_iova_range: struct({ nr_iovas: 'u32', reserved: 'u32' }),
  iova_range: struct({ start: 'u64', end: 'u64' }),
  /** After its `info_cap_header`. */
  iommu_type1_info_dma_avail: struct({ avail: 'u32' }),
  iommu_type1_dma_map: struct({
    argsz: 'u32',
    flags: 'u32',
    vaddr: 'u64',
    iova: 'u64',
    size: 'u64',
  }),
  iommu_type1_dma_unmap: struct({ argsz: 'u32', flags: 'u32', iova: 'u64', size: 'u64' }),
} as const;
