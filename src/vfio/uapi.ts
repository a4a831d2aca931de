/**
 * Constants of the VFIO uAPI that cross our interfaces.
 *
 * Source: include/uapi/linux/vfio.h.
 */

/** Region indices of a VFIO PCI device. */
export const VFIO_PCI_REGION = {
  BAR0: 0,
  BAR1: 1,
  BAR2: 2,
  BAR3: 3,
  BAR4: 4,
  BAR5: 5,
  ROM: 6,
  CONFIG: 7,
  VGA: 8,
} as const;
/** Count of regions that a VFIO PCI device reports. */
export const VFIO_PCI_NUM_REGIONS = 9;

/** IRQ indices of a VFIO PCI device. */
export const VFIO_PCI_IRQ = { INTX: 0, MSI: 1, MSIX: 2, ERR: 3, REQ: 4 } as const;
/** Count of IRQ indices that a VFIO PCI device reports. */
export const VFIO_PCI_NUM_IRQS = 5;

/** `vfio_device_info.flags`. */
export const VFIO_DEVICE_FLAGS = { RESET: 1 << 0, PCI: 1 << 1, CAPS: 1 << 7 } as const;

/** `vfio_region_info.flags`. */
export const VFIO_REGION_INFO_FLAG = {
  READ: 1 << 0,
  WRITE: 1 << 1,
  MMAP: 1 << 2,
  CAPS: 1 << 3,
} as const;

/** Capability ids of a region (`vfio_info_cap_header.id`). */
export const VFIO_REGION_INFO_CAP = { SPARSE_MMAP: 1, TYPE: 2, MSIX_MAPPABLE: 3 } as const;

/** `vfio_irq_info.flags`. */
export const VFIO_IRQ_INFO = {
  EVENTFD: 1 << 0,
  MASKABLE: 1 << 1,
  AUTOMASKED: 1 << 2,
  NORESIZE: 1 << 3,
} as const;

/** `vfio_irq_set.flags`: one data type and one action. */
export const VFIO_IRQ_SET = {
  DATA_NONE: 1 << 0,
  DATA_BOOL: 1 << 1,
  DATA_EVENTFD: 1 << 2,
  ACTION_MASK: 1 << 3,
  ACTION_UNMASK: 1 << 4,
  ACTION_TRIGGER: 1 << 5,
} as const;
export const VFIO_IRQ_SET_DATA_TYPE_MASK = 0x07;
export const VFIO_IRQ_SET_ACTION_TYPE_MASK = 0x38;

/** DMA mapping flags, `vfio_iommu_type1_dma_map.flags`. */
export const VFIO_DMA_MAP_FLAG = { READ: 1 << 0, WRITE: 1 << 1 } as const;

/** `vfio_device_feature.flags`: the feature number and what to do with it. */
export const VFIO_DEVICE_FEATURE = {
  MASK: 0xffff,
  GET: 1 << 16,
  SET: 1 << 17,
  PROBE: 1 << 18,
} as const;

/** Feature numbers (`VFIO_DEVICE_FEATURE_*`). */
export const VFIO_FEATURE = {
  PCI_VF_TOKEN: 0,
  MIGRATION: 1,
  MIG_DEVICE_STATE: 2,
  LOW_POWER_ENTRY: 3,
  LOW_POWER_ENTRY_WITH_WAKEUP: 4,
  LOW_POWER_EXIT: 5,
  DMA_LOGGING_START: 6,
  DMA_LOGGING_STOP: 7,
  DMA_LOGGING_REPORT: 8,
  MIG_DATA_SIZE: 9,
  BUS_MASTER: 10,
  DMA_BUF: 11,
  MIG_PRECOPY_INFOv2: 12,
} as const;

/** `vfio_precopy_info.flags`. */
export const VFIO_PRECOPY_INFO = { REINIT: 1 << 0 } as const;

/** `vfio_device_feature_migration.flags`. */
export const VFIO_MIGRATION = { STOP_COPY: 1 << 0, P2P: 1 << 1, PRE_COPY: 1 << 2 } as const;
