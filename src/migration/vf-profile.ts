/** What a VF is, as far as it decides whether the state of one fits into another. */

/** A GuC firmware version. */
export interface FirmwareVersion {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
}

/**
 * What a VF's device and driver can do, with the bit that stands for it in a checkpoint's header.
 *
 * Source: include/uapi/linux/vfio.h (VFIO_MIGRATION_*); drivers/gpu/drm/xe/xe_pci.c (has_memirq
 * follows from the graphics version).
 */
export const CAPABILITY = {
  /** The state can be saved and restored (VFIO_MIGRATION_STOP_COPY). */
  STOP_COPY: 1 << 0,
  /** The device can be stopped towards its peers alone (VFIO_MIGRATION_P2P). */
  P2P: 1 << 1,
  /** State can be read while the VF runs (VFIO_MIGRATION_PRE_COPY). */
  PRE_COPY: 1 << 2,
  /** The VF's driver takes its interrupts through memory. */
  MEMIRQ: 1 << 3,
} as const;

/** The name of a capability. */
export type CapabilityName = keyof typeof CAPABILITY;

/** A VF's hardware, quotas and firmware; what is undefined is not known. */
export interface VfProfile {
  /** Short name of the platform, such as `bmg`. */
  readonly platform?: string | undefined;
  /** PCI device id. */
  readonly deviceId?: number | undefined;
  /** PCI revision. */
  readonly revisionId?: number | undefined;
  /** Bytes of GGTT that the VF owns. */
  readonly ggttSize?: number | undefined;
  /** Bytes of VRAM that the VF owns; 0 on integrated parts. */
  readonly vramSize?: number | undefined;
  /** GuC contexts. */
  readonly contexts?: number | undefined;
  /** GuC doorbells. */
  readonly doorbells?: number | undefined;
  readonly gucVersion?: FirmwareVersion | undefined;
  /** Bits of {@link CAPABILITY}. */
  readonly capabilities?: number | undefined;
}

/** A firmware version as people write it: `70.54.0`. */
export function formatVersion({ major, minor, patch }: FirmwareVersion): string {
  return `${major}.${minor}.${patch}`;
}

/** Below 0 when `a` is the older version, above 0 when it is the newer one, 0 when equal. */
export function compareVersions(a: FirmwareVersion, b: FirmwareVersion): number {
  return a.major - b.major || a.minor - b.minor || a.patch - b.patch;
}

/** The names of the capabilities in `bits`, in the order of their bits. */
export function capabilityNames(bits: number): CapabilityName[] {
  return (Object.keys(CAPABILITY) as CapabilityName[]).filter((name) => bits & CAPABILITY[name]);
}
