/**
 * Can this PF migrate its VFs? Found out by looking only: on a PF that cannot, writing `save` makes
 * Linux 7.3 use rings that were never set up.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_pf_migration.c (pf_migration_check_support),
 * xe_gt_sriov_pf_migration.c (pf_gt_migration_check_support, xe_gt_sriov_pf_migration_init).
 */
import { toFault } from '../base/fault.ts';
import { platformOfDevice } from '../xe/platforms.ts';
import { type GtPlace, type GucVersion, gucVersionOf, migrationSizeOf } from './debugfs-xe.ts';
import type { Roots } from './sysfs-read.ts';

/** The oldest firmware that can save and restore VFs. */
const MIN_GUC = { major: 70, minor: 54 } as const;

/** True for firmware that can save and restore VFs. */
export function gucMigrates({ major, minor }: GucVersion): boolean {
  return major > MIN_GUC.major || (major === MIN_GUC.major && minor >= MIN_GUC.minor);
}

/** What the decision is made from. */
export interface SupportQuestion {
  readonly roots: Roots;
  readonly pf: string;
  readonly vfid: number;
  readonly deviceId: number;
  readonly gts: readonly GtPlace[];
}

/**
 * Why the PF cannot migrate this VF, in one sentence; undefined when it can.
 *
 * A debug kernel answers the size also where migration is disabled, so firmware is asked as well,
 * and what cannot be asked counts as unsupported.
 */
export async function unsupportedReason(question: SupportQuestion): Promise<string | undefined> {
  const { roots, pf, vfid, deviceId, gts } = question;
  const platform = platformOfDevice(deviceId);
  if (platform === undefined)
    return `device 8086:${deviceId.toString(16).padStart(4, '0')} is none that Linux's xe-vfio-pci knows`;
  if (!platform.hasMemirq) return `${platform.title} has no memory-based interrupts`;
  if (gts.length === 0) return `the GTs of ${pf} are not in debugfs`;
  for (const { gt } of gts) {
    const version = await gucVersionOf(roots, pf, gt);
    if (version === undefined) return `firmware of GT${gt} does not tell its version (guc_info)`;
    const { major, minor, patch } = version;
    if (!gucMigrates(version))
      return `GuC firmware 70.54.0 or newer is needed, GT${gt} runs ${major}.${minor}.${patch}`;
  }
  try {
    await migrationSizeOf(roots, pf, vfid);
    return undefined;
  } catch (error) {
    const fault = toFault(error);
    if (fault.code === 'ENOPKG') return 'the PF driver has migration disabled (see the kernel log)';
    return `the size of the state cannot be asked: ${fault.message}`;
  }
}
