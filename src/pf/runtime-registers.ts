/**
 * The fuse registers that a VF's driver asks the PF for, because it cannot read them itself.
 *
 * Source: drivers/gpu/drm/xe/xe_gt_sriov_pf_service.c (pick_runtime_regs).
 */
import { Fault } from '../base/fault.ts';

/** Registers by name; offsets in bytes, of the main GT. */
export const RUNTIME_REGISTER = {
  RPM_CONFIG0: 0x0d00,
  XEHP_FUSE4: 0x9114,
  MIRROR_FUSE3: 0x9118,
  MIRROR_FUSE1: 0x911c,
  MIRROR_L3BANK_ENABLE: 0x9130,
  XELP_EU_ENABLE: 0x9134,
  XELP_GT_SLICE_ENABLE: 0x9138,
  XELP_GT_GEOMETRY_DSS_ENABLE: 0x913c,
  GT_VEBOX_VDBOX_DISABLE: 0x9140,
  XEHP_GT_COMPUTE_DSS_ENABLE: 0x9144,
  XEHPC_GT_COMPUTE_DSS_ENABLE_EXT: 0x9148,
  XE2_GT_COMPUTE_DSS_2: 0x914c,
  XE2_GT_GEOMETRY_DSS_1: 0x9150,
  XE2_GT_GEOMETRY_DSS_2: 0x9154,
  XE3P_XPC_GT_GEOMETRY_DSS_3: 0x915c,
  XE3P_XPC_GT_COMPUTE_DSS_3: 0x9160,
  SERVICE_COPY_ENABLE: 0x9170,
  HUC_KERNEL_LOAD_INFO: 0xc1dc,
} as const;

/** The name of a runtime register. */
export type RuntimeRegister = keyof typeof RUNTIME_REGISTER;

/** What a graphics version has. */
interface Table {
  /** Whether graphics version `v` (times 100) is one of these. */
  readonly fits: (v: number) => boolean;
  /** By ascending offset: drivers search for them so. */
  readonly registers: readonly RuntimeRegister[];
}

/** The first that fits counts. */
const TABLES: readonly Table[] = [
  {
    fits: (v) => v >= 3500,
    registers: [
      'RPM_CONFIG0',
      'XEHP_FUSE4',
      'MIRROR_FUSE3',
      'MIRROR_L3BANK_ENABLE',
      'XELP_EU_ENABLE',
      'XELP_GT_GEOMETRY_DSS_ENABLE',
      'GT_VEBOX_VDBOX_DISABLE',
      'XEHP_GT_COMPUTE_DSS_ENABLE',
      'XEHPC_GT_COMPUTE_DSS_ENABLE_EXT',
      'XE2_GT_COMPUTE_DSS_2',
      'XE2_GT_GEOMETRY_DSS_1',
      'XE2_GT_GEOMETRY_DSS_2',
      'XE3P_XPC_GT_GEOMETRY_DSS_3',
      'XE3P_XPC_GT_COMPUTE_DSS_3',
      'SERVICE_COPY_ENABLE',
    ],
  },
  {
    fits: (v) => v >= 3000,
    registers: [
      'RPM_CONFIG0',
      'XEHP_FUSE4',
      'MIRROR_FUSE3',
      'MIRROR_FUSE1',
      'MIRROR_L3BANK_ENABLE',
      'XELP_EU_ENABLE',
      'XELP_GT_GEOMETRY_DSS_ENABLE',
      'GT_VEBOX_VDBOX_DISABLE',
      'XEHP_GT_COMPUTE_DSS_ENABLE',
      'XEHPC_GT_COMPUTE_DSS_ENABLE_EXT',
      'XE2_GT_COMPUTE_DSS_2',
      'XE2_GT_GEOMETRY_DSS_1',
      'XE2_GT_GEOMETRY_DSS_2',
      'HUC_KERNEL_LOAD_INFO',
    ],
  },
  {
    fits: (v) => v >= 2000,
    registers: [
      'RPM_CONFIG0',
      'XEHP_FUSE4',
      'MIRROR_FUSE3',
      'MIRROR_FUSE1',
      'XELP_EU_ENABLE',
      'XELP_GT_GEOMETRY_DSS_ENABLE',
      'GT_VEBOX_VDBOX_DISABLE',
      'XEHP_GT_COMPUTE_DSS_ENABLE',
      'XEHPC_GT_COMPUTE_DSS_ENABLE_EXT',
      'XE2_GT_COMPUTE_DSS_2',
      'XE2_GT_GEOMETRY_DSS_1',
      'XE2_GT_GEOMETRY_DSS_2',
      'HUC_KERNEL_LOAD_INFO',
    ],
  },
  {
    fits: (v) => v >= 1270,
    registers: [
      'RPM_CONFIG0',
      'XEHP_FUSE4',
      'MIRROR_FUSE3',
      'MIRROR_FUSE1',
      'XELP_EU_ENABLE',
      'XELP_GT_GEOMETRY_DSS_ENABLE',
      'GT_VEBOX_VDBOX_DISABLE',
      'XEHP_GT_COMPUTE_DSS_ENABLE',
      'XEHPC_GT_COMPUTE_DSS_ENABLE_EXT',
      'HUC_KERNEL_LOAD_INFO',
    ],
  },
  {
    fits: (v) => v === 1260,
    registers: [
      'RPM_CONFIG0',
      'MIRROR_FUSE3',
      'XELP_EU_ENABLE',
      'XELP_GT_GEOMETRY_DSS_ENABLE',
      'GT_VEBOX_VDBOX_DISABLE',
      'XEHP_GT_COMPUTE_DSS_ENABLE',
      'XEHPC_GT_COMPUTE_DSS_ENABLE_EXT',
      'HUC_KERNEL_LOAD_INFO',
    ],
  },
  {
    fits: (v) => v === 1255,
    registers: [
      'RPM_CONFIG0',
      'MIRROR_FUSE3',
      'MIRROR_FUSE1',
      'XELP_EU_ENABLE',
      'XELP_GT_GEOMETRY_DSS_ENABLE',
      'GT_VEBOX_VDBOX_DISABLE',
      'XEHP_GT_COMPUTE_DSS_ENABLE',
      'HUC_KERNEL_LOAD_INFO',
    ],
  },
  {
    fits: (v) => v === 1200,
    registers: [
      'RPM_CONFIG0',
      'MIRROR_FUSE3',
      'XELP_EU_ENABLE',
      'XELP_GT_SLICE_ENABLE',
      'XELP_GT_GEOMETRY_DSS_ENABLE',
      'GT_VEBOX_VDBOX_DISABLE',
      'HUC_KERNEL_LOAD_INFO',
    ],
  },
];

/**
 * The runtime registers of a graphics version (times 100), by ascending offset.
 * @throws {Fault} ENOPKG for a version that the driver does not know
 */
export function runtimeRegisters(verx100: number): readonly RuntimeRegister[] {
  const table = TABLES.find(({ fits }) => fits(verx100));
  if (table === undefined)
    throw new Fault('ENOPKG', `there are no runtime registers for graphics ${verx100 / 100}`);
  return table.registers;
}
