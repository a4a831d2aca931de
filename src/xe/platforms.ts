/**
 * The Intel GPUs whose VFs Linux's xe-vfio-pci drives, as data.
 *
 * Source: include/drm/intel/pciids.h and drivers/vfio/pci/xe/main.c:xe_vfio_pci_table (ids),
 * drivers/gpu/drm/xe/xe_pci.c (descriptors), xe_wopcm.c:xe_wopcm_size, regs/xe_gt_regs.h (GMD_ID).
 */
import { Fault } from '../base/fault.ts';

/** A platform's short name, as on the command line. */
export type PlatformName = 'ptl' | 'wcl' | 'bmg';

/** One GT of a platform. */
export interface PlatformGt {
  readonly id: number;
  readonly tileId: number;
  readonly type: 'main' | 'media';
  /** IP version times 100: 3000 is 30.00. */
  readonly verx100: number;
  /** The GMD_ID register: architecture 31:22, release 21:14, revision 5:0. */
  readonly gmdId: number;
  /** Engines that are not fused off, by the names of xe_hw_engine.c. */
  readonly engines: readonly string[];
}

/** One GPU platform. */
export interface Platform {
  readonly name: PlatformName;
  /** As Intel writes it. */
  readonly title: string;
  /** PCI device ids, the same for PF and VFs. */
  readonly deviceIds: readonly number[];
  readonly defaultDeviceId: number;
  /** PCI revision that an emulated device has unless told otherwise. */
  readonly defaultRevisionId: number;
  readonly discrete: boolean;
  /** True when interrupts are reported in memory (graphics 12.50 and newer). */
  readonly hasMemirq: boolean;
  /** True when the media GT waits for the main GT in post-migration recovery. */
  readonly needsSharedVfGtWq: boolean;
  readonly tiles: number;
  readonly gts: readonly PlatformGt[];
  /** Bytes at the bottom of the GGTT that belong to WOPCM. */
  readonly wopcmSize: number;
  /** Bytes of VRAM by device id; empty on integrated parts. */
  readonly vramSizes: ReadonlyMap<number, number>;
  /**
   * SR-IOV TotalVFs of a real device; undefined where no public source names it.
   *
   * The kernel has no such figure: it reads TotalVFs from the PF's SR-IOV capability
   * (pci_sriov_get_totalvfs). 7 is what the integrated parts show in `sriov_totalvfs` since Tiger
   * Lake; for these three parts nothing authoritative was at hand.
   */
  readonly realTotalVfs: number | undefined;
}

const GIB = 2 ** 30;

/** VFs that an emulated PF offers unless told otherwise, and the most that it can offer. */
export const EMULATED_TOTAL_VFS = 63;

/**
 * VRAM kept from VFs and PF alike on an emulated discrete device: GGTT, WOPCM and flat CCS. The
 * figure is this project's; real firmware decides its own.
 */
export const EMULATED_VRAM_RESERVED = 256 * 2 ** 20;

/** GMD_ID of an IP version (times 100) and revision. */
export function encodeGmdId(verx100: number, revision: number): number {
  const arch = Math.floor(verx100 / 100);
  return ((arch << 22) | ((verx100 % 100) << 14) | revision) >>> 0;
}

// The widest fusing: every copy engine but BCS0 and BCS8 is absent from Xe2 and Xe3 (xe_pci.c).
const GRAPHICS_ENGINES = ['rcs0', 'bcs0', 'bcs8', 'ccs0'] as const;
const ONE_MEDIA_SLICE = ['vcs0', 'vecs0'] as const;
/** As Arc B580 reports them: the odd one of each pair of decoders is fused off. */
const TWO_MEDIA_SLICES = ['vcs0', 'vcs2', 'vecs0', 'vecs1'] as const;

function gts(
  graphics: number,
  media: number,
  revision: number,
  mediaEngines: readonly string[],
): readonly PlatformGt[] {
  return [
    {
      id: 0,
      tileId: 0,
      type: 'main',
      verx100: graphics,
      gmdId: encodeGmdId(graphics, revision),
      engines: GRAPHICS_ENGINES,
    },
    {
      id: 1,
      tileId: 0,
      type: 'media',
      verx100: media,
      gmdId: encodeGmdId(media, revision),
      engines: mediaEngines,
    },
  ];
}

/** Every platform, by name. */
export const PLATFORMS: Readonly<Record<PlatformName, Platform>> = {
  ptl: {
    name: 'ptl',
    title: 'Panther Lake',
    deviceIds: [
      0xb080, 0xb081, 0xb082, 0xb083, 0xb084, 0xb085, 0xb086, 0xb087, 0xb08f, 0xb090, 0xb0a0,
      0xb0b0,
    ],
    defaultDeviceId: 0xb080,
    defaultRevisionId: 4,
    discrete: false,
    hasMemirq: true,
    needsSharedVfGtWq: true,
    tiles: 1,
    gts: gts(3000, 3000, 4, ONE_MEDIA_SLICE),
    wopcmSize: 8 * 2 ** 20,
    vramSizes: new Map(),
    realTotalVfs: 7,
  },
  wcl: {
    name: 'wcl',
    title: 'Wildcat Lake',
    deviceIds: [0xfd80, 0xfd81],
    defaultDeviceId: 0xfd80,
    defaultRevisionId: 0,
    discrete: false,
    hasMemirq: true,
    needsSharedVfGtWq: true,
    tiles: 1,
    gts: gts(3003, 3002, 0, ONE_MEDIA_SLICE),
    wopcmSize: 8 * 2 ** 20,
    vramSizes: new Map(),
    realTotalVfs: 7,
  },
  bmg: {
    name: 'bmg',
    title: 'Battlemage',
    deviceIds: [
      0xe202, 0xe209, 0xe20b, 0xe20c, 0xe20d, 0xe210, 0xe211, 0xe212, 0xe216, 0xe220, 0xe221,
      0xe222, 0xe223,
    ],
    defaultDeviceId: 0xe20b,
    defaultRevisionId: 0,
    discrete: true,
    hasMemirq: true,
    needsSharedVfGtWq: false,
    tiles: 1,
    gts: gts(2001, 1301, 0, TWO_MEDIA_SLICES),
    wopcmSize: 8 * 2 ** 20,
    // Arc B580, B570, Pro B60 and Pro B50; the others are taken to have 12 GiB.
    vramSizes: new Map([
      [0xe20b, 12 * GIB],
      [0xe20c, 10 * GIB],
      [0xe211, 24 * GIB],
      [0xe212, 16 * GIB],
    ]),
    realTotalVfs: undefined,
  },
};

const byDeviceId = new Map(
  Object.values(PLATFORMS).flatMap((platform) => platform.deviceIds.map((id) => [id, platform])),
);

/** The platform of a PCI device id, undefined for a device that xe-vfio-pci does not know. */
export function platformOfDevice(deviceId: number): Platform | undefined {
  return byDeviceId.get(deviceId);
}

/**
 * The platform of a name.
 * @throws {Fault} EINVAL when there is none
 */
export function platformByName(name: string): Platform {
  const platform = Object.values(PLATFORMS).find((candidate) => candidate.name === name);
  if (platform === undefined)
    throw new Fault('EINVAL', `"${name}" is not a platform`, {
      hint: `choose one of ${Object.keys(PLATFORMS).join(', ')}`,
    });
  return platform;
}

/** Bytes of VRAM of a device; 0 on integrated parts. */
export function vramSizeOfDevice(platform: Platform, deviceId: number): number {
  if (!platform.discrete) return 0;
  return platform.vramSizes.get(deviceId) ?? 12 * GIB;
}

/** PCI vendor id of Intel. */
export const PCI_VENDOR_ID_INTEL = 0x8086;

/** Layout of BAR 0 (GTTMMADR) of a PF and of each VF, bytes. Source: xe_mmio.c, xe_ggtt.c. */
export const GTTMMADR = {
  size: 16 * 2 ** 20,
  /** Registers. */
  mmioStart: 0,
  mmioEnd: 4 * 2 ** 20,
  /** Last doorbell page; mapped by user space as a write barrier (xe_device.c:barrier_fault). */
  barrierPage: 0x7f_f000,
  /** The GGTT's PTEs, 8 bytes a 4 KiB page, by global GGTT address. */
  ggttStart: 8 * 2 ** 20,
  ggttEnd: 16 * 2 ** 20,
} as const;

/** Indices of the BARs. Source: drivers/gpu/drm/xe/regs/xe_bars.h. */
export const XE_BAR = { GTTMMADR: 0, LMEM: 2 } as const;
