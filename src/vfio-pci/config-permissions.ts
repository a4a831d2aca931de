/**
 * What a user may do with each bit of configuration space, as data.
 *
 * `virt` bits are kept by us and never reach the function; `write` bits may be written. So a field
 * reads from the function where `virt` is clear, and is read-only where `write` is clear. What no
 * table names is readable and not writable inside a capability, and raw between capabilities.
 *
 * Source: drivers/vfio/pci/vfio_pci_config.c:init_pci_cap_*_perm, pci_cap_length,
 * pci_ext_cap_length, vfio_cap_len, vfio_ext_cap_len.
 */
import { alignUp } from '../base/int.ts';
import {
  PCI,
  PCI_AF,
  PCI_BASE_ADDRESS,
  PCI_CAP_ID,
  PCI_COMMAND,
  PCI_EXP,
  PCI_EXT_CAP_ID,
  PCI_MSI,
  PCI_PM,
  PCI_STATUS_CAP_LIST,
} from './pci-regs.ts';

/** Reads the function's own registers, little endian. */
export interface ConfigReader {
  u8(at: number): number;
  u16(at: number): number;
  u32(at: number): number;
}

/** The permissions of one register. */
export interface FieldPermission {
  /** Bytes from the start of the header or capability. */
  readonly offset: number;
  readonly size: 1 | 2 | 4;
  /** Bits that are ours. */
  readonly virt: number;
  /** Bits that may be written. */
  readonly write: number;
}

/** How one capability is shown. */
export interface CapabilityRule {
  /** Bytes, fixed or told by the function; 0 hides it. */
  readonly length: number | ((config: ConfigReader, at: number) => number);
  /** Fields that are virtual or writable; the list pointer is always virtual. */
  readonly fields?:
    | readonly FieldPermission[]
    | ((config: ConfigReader, at: number) => readonly FieldPermission[]);
  /** True when every byte behind the capability's header may be written to the function. */
  readonly raw?: boolean;
}

const ALL8 = 0xff;
const ALL16 = 0xffff;
const ALL32 = 0xffff_ffff;

/** The standard header of any function. */
export const HEADER_PERMISSIONS: readonly FieldPermission[] = [
  // A VF's own id registers read as ones.
  { offset: PCI.VENDOR_ID, size: 2, virt: ALL16, write: 0 },
  { offset: PCI.DEVICE_ID, size: 2, virt: ALL16, write: 0 },
  { offset: PCI.COMMAND, size: 2, virt: PCI_COMMAND.INTX_DISABLE, write: ALL16 },
  { offset: PCI.STATUS, size: 2, virt: PCI_STATUS_CAP_LIST, write: 0 },
  { offset: PCI.CACHE_LINE_SIZE, size: 1, virt: 0, write: ALL8 },
  { offset: PCI.LATENCY_TIMER, size: 1, virt: 0, write: ALL8 },
  { offset: PCI.BIST, size: 1, virt: 0, write: ALL8 },
  ...[0, 1, 2, 3, 4, 5].map(
    (bar): FieldPermission => ({
      offset: PCI.BASE_ADDRESS_0 + 4 * bar,
      size: 4,
      virt: ALL32,
      write: ALL32,
    }),
  ),
  { offset: PCI.ROM_ADDRESS, size: 4, virt: ALL32, write: ALL32 },
  { offset: PCI.CAPABILITY_LIST, size: 1, virt: ALL8, write: 0 },
  { offset: PCI.INTERRUPT_LINE, size: 1, virt: ALL8, write: ALL8 },
  { offset: PCI.INTERRUPT_PIN, size: 1, virt: ALL8, write: 0 },
];

/**
 * COMMAND of an SR-IOV VF: memory decoding is not the VF's to switch, so the bit is ours; I/O and
 * INTx do not exist for VFs, so only the bus master bit reaches the function.
 * Source: PCIe 9.3.4.1.3; vfio_config_init (no_command_memory).
 */
export const VF_COMMAND_PERMISSION: FieldPermission = {
  offset: PCI.COMMAND,
  size: 2,
  virt: PCI_COMMAND.INTX_DISABLE | PCI_COMMAND.MEMORY,
  write: ALL16 & ~PCI_COMMAND.IO,
};

/** Low bits that a memory BAR shows. */
export function barFlags(is64Bit: boolean, prefetchable: boolean): number {
  return (
    (is64Bit ? PCI_BASE_ADDRESS.MEM_TYPE_64 : 0) |
    (prefetchable ? PCI_BASE_ADDRESS.MEM_PREFETCH : 0)
  );
}

const PM_FIELDS: readonly FieldPermission[] = [
  // A guest cannot handle PME events, so it does not see that there are any.
  { offset: PCI_PM.PMC, size: 2, virt: PCI_PM.CAP_PME_MASK, write: 0 },
  // State bits are not written through: a change is made on the user's behalf.
  {
    offset: PCI_PM.CTRL,
    size: 4,
    virt: PCI_PM.CTRL_PME_ENABLE | PCI_PM.CTRL_PME_STATUS,
    write:
      (ALL32 & ~(PCI_PM.CTRL_PME_ENABLE | PCI_PM.CTRL_PME_STATUS | PCI_PM.CTRL_STATE_MASK)) >>> 0,
  },
];

const PCIX_FIELDS: readonly FieldPermission[] = [
  { offset: 2, size: 2, virt: 0, write: ALL16 },
  { offset: 8, size: 4, virt: 0, write: ALL32 },
];

const EXP_FIELDS: readonly FieldPermission[] = [
  // Not phantom functions, which confuse the IOMMU; payload size needs a view of the whole system.
  {
    offset: PCI_EXP.DEVCTL,
    size: 2,
    virt: PCI_EXP.DEVCTL_BCR_FLR | PCI_EXP.DEVCTL_PAYLOAD | PCI_EXP.DEVCTL_READRQ,
    write: ALL16 & ~PCI_EXP.DEVCTL_PHANTOM,
  },
  { offset: PCI_EXP.DEVCTL2, size: 2, virt: 0, write: ALL16 & ~PCI_EXP.DEVCTL2_ARI },
];

/** Where MSI's data, mask and pending registers are. */
function msiLayout(flags: number) {
  const data = (flags & PCI_MSI.FLAGS_64BIT) === 0 ? 8 : 12;
  const masked = (flags & PCI_MSI.FLAGS_MASKBIT) !== 0;
  return { data, mask: masked ? data + 4 : undefined, length: data + 2 + (masked ? 10 : 0) };
}

function msiFields(config: ConfigReader, at: number): readonly FieldPermission[] {
  const flags = config.u16(at + PCI_MSI.FLAGS);
  const { data, mask } = msiLayout(flags);
  const fields: FieldPermission[] = [
    // Linux lets a user write its copy of the read-only bits too; here they stay what they are.
    {
      offset: PCI_MSI.FLAGS,
      size: 1,
      virt: ALL8,
      write: PCI_MSI.FLAGS_ENABLE | PCI_MSI.FLAGS_QSIZE,
    },
    { offset: PCI_MSI.ADDRESS_LO, size: 4, virt: ALL32, write: ALL32 },
    { offset: data, size: 2, virt: ALL16, write: ALL16 },
  ];
  if ((flags & PCI_MSI.FLAGS_64BIT) !== 0)
    fields.push({ offset: PCI_MSI.ADDRESS_LO + 4, size: 4, virt: ALL32, write: ALL32 });
  if (mask !== undefined)
    fields.push(
      { offset: mask, size: 4, virt: 0, write: ALL32 },
      { offset: mask + 4, size: 4, virt: 0, write: ALL32 },
    );
  return fields;
}

function expLength(config: ConfigReader, at: number): number {
  const flags = config.u16(at + PCI_EXP.FLAGS);
  // An endpoint of the root complex has no link, so its structure ends before the link registers.
  const integrated = ((flags >> 4) & 0xf) === PCI_EXP.TYPE_RC_END;
  if ((flags & PCI_EXP.FLAGS_VERS) === 1) return integrated ? 0x0c : 0x14;
  return integrated ? 0x2c : 0x34;
}

/** Conventional capabilities by id; every other one is hidden. */
export const CAPABILITIES: ReadonlyMap<number, CapabilityRule> = new Map<number, CapabilityRule>([
  [PCI_CAP_ID.PM, { length: 8, fields: PM_FIELDS }],
  [PCI_CAP_ID.AGP, { length: 12 }],
  // Linux goes through its own VPD code; a function answers the address register by itself.
  [
    PCI_CAP_ID.VPD,
    {
      length: 8,
      fields: [
        { offset: 2, size: 2, virt: 0, write: ALL16 },
        { offset: 4, size: 4, virt: 0, write: ALL32 },
      ],
    },
  ],
  [
    PCI_CAP_ID.MSI,
    { length: (config, at) => msiLayout(config.u16(at + PCI_MSI.FLAGS)).length, fields: msiFields },
  ],
  [
    PCI_CAP_ID.PCIX,
    {
      length: (config, at) => ((config.u16(at + 2) >> 12) & 3 ? 24 : 8),
      fields: PCIX_FIELDS,
    },
  ],
  [PCI_CAP_ID.HT, { length: (config, at) => ((config.u8(at + 3) & 0xe0) !== 0 ? 24 : 28) }],
  [PCI_CAP_ID.VNDR, { length: (config, at) => config.u8(at + 2), raw: true }],
  [PCI_CAP_ID.EXP, { length: expLength, fields: EXP_FIELDS }],
  [PCI_CAP_ID.MSIX, { length: 12 }],
  [PCI_CAP_ID.SATA, { length: (config, at) => ((config.u8(at + 4) & 0xf) === 0xf ? 16 : 8) }],
  [
    PCI_CAP_ID.AF,
    {
      length: 6,
      fields: [{ offset: PCI_AF.CTRL, size: 1, virt: PCI_AF.CTRL_FLR, write: PCI_AF.CTRL_FLR }],
    },
  ],
]);

/** Bits of the uncorrectable error registers that a user may write. */
const ERR_UNCOR = 0x03ff_f031;
/** Bits of the correctable error registers that a user may write. */
const ERR_COR = 0xf1c1;
/** ECRC generation and check enable. */
const ERR_CAP = 0x140;

const ERR_FIELDS: readonly FieldPermission[] = [
  ...[0x04, 0x08, 0x0c].map(
    (offset): FieldPermission => ({ offset, size: 4, virt: 0, write: ERR_UNCOR }),
  ),
  { offset: 0x10, size: 4, virt: 0, write: ERR_COR },
  { offset: 0x14, size: 4, virt: 0, write: ERR_COR },
  { offset: 0x18, size: 4, virt: 0, write: ERR_CAP },
];

function vcLength(config: ConfigReader, at: number): number {
  const extendedVcs = config.u32(at + 4) & 0x7;
  const arbitration = config.u32(at + 8);
  let phases = 0;
  if (arbitration & 0x8) phases = 128;
  else if (arbitration & 0x4) phases = 64;
  else if (arbitration & 0x2) phases = 32;
  const length = 0x10 + (1 + extendedVcs) * 0x0c;
  return phases === 0 ? length : alignUp(length, 16) + phases / 2;
}

function acsLength(config: ConfigReader, at: number): number {
  const egressControl = 0x20;
  if ((config.u8(at + 4) & egressControl) === 0) return 8;
  const bits = config.u8(at + 5);
  return 8 + (bits === 0 ? 256 : alignUp(bits, 32)) / 8;
}

function tphLength(config: ConfigReader, at: number): number {
  const capability = config.u32(at + 4);
  const tableInCapability = (capability & 0x600) === 0x200;
  return tableInCapability ? 0x0c + ((capability >>> 16) & 0x7ff) * 2 + 2 : 0x0c;
}

/** The length field of a vendor-specific header. */
function vendorLength(config: ConfigReader, at: number): number {
  return config.u32(at + 4) >>> 20;
}

/** Extended capabilities by id; every other one is hidden. */
export const EXTENDED_CAPABILITIES: ReadonlyMap<number, CapabilityRule> = new Map<
  number,
  CapabilityRule
>([
  [PCI_EXT_CAP_ID.ERR, { length: 0x2c, fields: ERR_FIELDS }],
  [PCI_EXT_CAP_ID.VC, { length: vcLength }],
  [PCI_EXT_CAP_ID.DSN, { length: 12 }],
  [PCI_EXT_CAP_ID.PWR, { length: 16, fields: [{ offset: 8, size: 1, virt: 0, write: ALL8 }] }],
  [PCI_EXT_CAP_ID.MFVC, { length: vcLength }],
  [PCI_EXT_CAP_ID.VC9, { length: vcLength }],
  [PCI_EXT_CAP_ID.VNDR, { length: vendorLength, raw: true }],
  [PCI_EXT_CAP_ID.ACS, { length: acsLength }],
  [PCI_EXT_CAP_ID.ARI, { length: 8 }],
  [PCI_EXT_CAP_ID.ATS, { length: 8 }],
  [PCI_EXT_CAP_ID.SRIOV, { length: 0x40 }],
  [PCI_EXT_CAP_ID.MCAST, { length: 40 }],
  [PCI_EXT_CAP_ID.PRI, { length: 16 }],
  [PCI_EXT_CAP_ID.REBAR, { length: (config, at) => 4 + (config.u8(at + 8) >> 5) * 8 }],
  [PCI_EXT_CAP_ID.DPA, { length: (config, at) => 16 + (config.u8(at + 4) & 0x1f) + 1 }],
  [PCI_EXT_CAP_ID.TPH, { length: tphLength }],
  [PCI_EXT_CAP_ID.LTR, { length: 8 }],
  [PCI_EXT_CAP_ID.DVSEC, { length: vendorLength, raw: true }],
]);
