/**
 * PCI configuration registers that virtualisation has to know, by offset and bit.
 *
 * Source: PCI Express Base Specification 6.0 chapter 7; include/uapi/linux/pci_regs.h (names).
 */

/** Bytes of the conventional configuration space; extended capabilities begin behind it. */
export const PCI_CFG_SPACE_SIZE = 256;
/** Bytes of the standard header. */
export const PCI_STD_HEADER_SIZE = 64;

/** Offsets in the standard header (type 0). */
export const PCI = {
  VENDOR_ID: 0x00,
  DEVICE_ID: 0x02,
  COMMAND: 0x04,
  STATUS: 0x06,
  CLASS_REVISION: 0x08,
  CACHE_LINE_SIZE: 0x0c,
  LATENCY_TIMER: 0x0d,
  HEADER_TYPE: 0x0e,
  BIST: 0x0f,
  BASE_ADDRESS_0: 0x10,
  ROM_ADDRESS: 0x30,
  CAPABILITY_LIST: 0x34,
  INTERRUPT_LINE: 0x3c,
  INTERRUPT_PIN: 0x3d,
} as const;

/** Count of base address registers of a type 0 header. */
export const PCI_STD_NUM_BARS = 6;

export const PCI_COMMAND = {
  IO: 0x1,
  MEMORY: 0x2,
  MASTER: 0x4,
  INTX_DISABLE: 0x400,
} as const;

/** STATUS: there is a capability list. */
export const PCI_STATUS_CAP_LIST = 0x10;

/** Flags in the low bits of a memory BAR. */
export const PCI_BASE_ADDRESS = { MEM_TYPE_64: 0x4, MEM_PREFETCH: 0x8 } as const;

/** Ids of conventional capabilities. */
export const PCI_CAP_ID = {
  PM: 0x01,
  AGP: 0x02,
  VPD: 0x03,
  MSI: 0x05,
  PCIX: 0x07,
  HT: 0x08,
  VNDR: 0x09,
  EXP: 0x10,
  MSIX: 0x11,
  SATA: 0x12,
  AF: 0x13,
} as const;

/** Ids of extended capabilities. */
export const PCI_EXT_CAP_ID = {
  ERR: 0x01,
  VC: 0x02,
  DSN: 0x03,
  PWR: 0x04,
  MFVC: 0x08,
  VC9: 0x09,
  VNDR: 0x0b,
  ACS: 0x0d,
  ARI: 0x0e,
  ATS: 0x0f,
  SRIOV: 0x10,
  MCAST: 0x12,
  PRI: 0x13,
  REBAR: 0x15,
  DPA: 0x16,
  TPH: 0x17,
  LTR: 0x18,
  DVSEC: 0x23,
} as const;

/** Power management capability. */
export const PCI_PM = {
  PMC: 2,
  CTRL: 4,
  CAP_D1: 0x200,
  CAP_D2: 0x400,
  CAP_PME_MASK: 0xf800,
  CTRL_STATE_MASK: 0x3,
  CTRL_PME_ENABLE: 0x100,
  CTRL_PME_STATUS: 0x8000,
} as const;

/** MSI capability; the offsets behind ADDRESS_LO depend on 64BIT and MASKBIT. */
export const PCI_MSI = {
  FLAGS: 2,
  ADDRESS_LO: 4,
  FLAGS_ENABLE: 0x1,
  FLAGS_QMASK: 0xe,
  FLAGS_QSIZE: 0x70,
  FLAGS_64BIT: 0x80,
  FLAGS_MASKBIT: 0x100,
} as const;

/** MSI-X capability. */
export const PCI_MSIX = {
  FLAGS: 2,
  TABLE: 4,
  FLAGS_QSIZE: 0x7ff,
  FLAGS_ENABLE: 0x8000,
  TABLE_BIR: 0x7,
  ENTRY_SIZE: 16,
} as const;

/** PCI Express capability. */
export const PCI_EXP = {
  FLAGS: 0x02,
  FLAGS_VERS: 0xf,
  TYPE_RC_END: 0x9,
  DEVCAP: 0x04,
  DEVCAP_FLR: 0x1000_0000,
  DEVCTL: 0x08,
  DEVCTL_PAYLOAD: 0xe0,
  DEVCTL_PHANTOM: 0x200,
  DEVCTL_READRQ: 0x7000,
  DEVCTL_BCR_FLR: 0x8000,
  LNKCTL: 0x10,
  DEVCTL2: 0x28,
  DEVCTL2_ARI: 0x20,
} as const;

/** Conventional Advanced Features capability. */
export const PCI_AF = { CAP: 3, CAP_TP: 0x1, CAP_FLR: 0x2, CTRL: 4, CTRL_FLR: 0x1 } as const;
