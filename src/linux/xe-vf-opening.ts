/** Finding out, before anything is done to a VF, what it is and whether it may be used. */
import { Fault } from '../base/fault.ts';
import type { StreamTarget } from '../xe/migration-stream.ts';
import { platformOfDevice } from '../xe/platforms.ts';
import {
  checkVfFiles,
  type GtPlace,
  type GucVersion,
  gtsOf,
  gucVersionOf,
  quotasOf,
  VF_FILE,
  type VfQuotas,
  vfDirectory,
} from './debugfs-xe.ts';
import { holdersOf, holdersText } from './sysfs-holders.ts';
import { parseBdf, readPciDevice } from './sysfs-pci.ts';
import { type KernelRoots, type Roots, rootsOf } from './sysfs-read.ts';
import { unsupportedReason } from './xe-support.ts';
import { defaultLockDirectory, VfLock } from './xe-vf-lock.ts';

/** The longest step of the PF is a blitter copy of 5 s; several VFs take turns. */
const STALL_MS = 60_000;

/** How a VF is opened. */
export interface LinuxXeSriovVfioOptions extends KernelRoots {
  /** Address of the PF, such as `0000:03:00.0`. */
  readonly pf: string;
  /** Number of the VF, from 1. */
  readonly vf: number;
  /** Where lock files are; see `defaultLockDirectory`. */
  readonly lockDirectory?: string | undefined;
  /** A read or write of data that takes longer ends with ETIMEDOUT; 60 s unless given. */
  readonly stallMs?: number | undefined;
}

/** What a VF is and was given; undefined where no file says it. */
export interface LinuxVfProfile extends VfQuotas {
  readonly platform: string | undefined;
  readonly deviceId: number;
  readonly revisionId: number;
  readonly gucVersion: GucVersion | undefined;
}

/** What `open` has found out. */
export interface FoundVf {
  readonly roots: Roots;
  readonly pf: string;
  readonly vfid: number;
  readonly gts: readonly GtPlace[];
  readonly profile: LinuxVfProfile;
  readonly target: StreamTarget;
  readonly reason: string | undefined;
  readonly lock: VfLock;
  readonly stallMs: number;
}

/** Looks at a VF and takes its lock. @throws {Fault} see `LinuxXeSriovVfio.open` */
export async function findVf(options: LinuxXeSriovVfioOptions): Promise<FoundVf> {
  const roots = rootsOf(options);
  const pf = parseBdf(options.pf);
  const { vf: vfid } = options;
  const device = await readPciDevice(roots, pf);
  if (device.driver !== 'xe')
    throw new Fault('ENODEV', `${pf} is bound to ${device.driver ?? 'no driver'}, not to xe`);
  if (device.sriov === undefined) throw new Fault('EPERM', `${pf} is no PF`);
  if (!Number.isInteger(vfid) || vfid < 1 || vfid > device.sriov.numVfs) throw notEnabled(pf, vfid);
  await checkVfFiles(roots, pf, vfid);
  const lock = await VfLock.take(options.lockDirectory ?? defaultLockDirectory(), pf, vfid);
  try {
    await checkUnheld(roots, pf, vfid);
    const { deviceId, revisionId } = device;
    const gts = await gtsOf(roots, pf);
    const reason = await unsupportedReason({ roots, pf, vfid, deviceId, gts });
    const profile = await profileOf(roots, pf, vfid, { deviceId, revisionId, gts });
    const stallMs = options.stallMs ?? STALL_MS;
    const target = targetOf(profile, gts);
    return { roots, pf, vfid, gts, profile, target, reason, lock, stallMs };
  } catch (error) {
    await lock.close();
    throw error;
  }
}

/** The fault of a call on a VF that is not enabled. */
export function notEnabled(pf: string, vfid: number): Fault {
  return new Fault('EINVAL', `VF${vfid} of ${pf} is not enabled`, {
    hint: `xe-vfio provision ${pf} --vfs N enables VFs`,
  });
}

async function profileOf(
  roots: Roots,
  pf: string,
  vfid: number,
  known: Pick<LinuxVfProfile, 'deviceId' | 'revisionId'> & { readonly gts: readonly GtPlace[] },
): Promise<LinuxVfProfile> {
  const { deviceId, revisionId, gts } = known;
  const [first] = gts;
  return {
    platform: platformOfDevice(deviceId)?.name,
    deviceId,
    revisionId,
    gucVersion: first && (await gucVersionOf(roots, pf, first.gt)),
    ...(await quotasOf(roots, pf, vfid)),
  };
}

/** What a stream for the VF must fit; shares are the same on every tile. */
function targetOf(profile: LinuxVfProfile, gts: readonly GtPlace[]): StreamTarget {
  const { deviceId, revisionId, ggttSize, vramSize } = profile;
  const platform = platformOfDevice(deviceId);
  const tiles = Math.max(new Set(gts.map(({ tile }) => tile)).size, 1);
  return {
    deviceId,
    revisionId,
    gts: gts.map(({ tile, gt }) => ({
      id: gt,
      tile,
      type: platform?.gts.find(({ id }) => id === gt)?.type ?? 'main',
    })),
    ggttSize: ggttSize === undefined ? undefined : ggttSize / tiles,
    vramSize:
      platform?.discrete !== true ? 0 : vramSize === undefined ? undefined : vramSize / tiles,
  };
}

/** @throws {Fault} EBUSY when a process that knows no lock has the VF's files open */
async function checkUnheld(roots: Roots, pf: string, vfid: number): Promise<void> {
  const directory = vfDirectory(roots, pf, vfid);
  const files = [VF_FILE.data, VF_FILE.save, VF_FILE.restore];
  const holders = await holdersOf(files.map((file) => `${directory}/${file}`));
  if (holders.length === 0) return;
  throw new Fault('EBUSY', `${holdersText(holders)} has migration files of VF${vfid} open`, {
    hint: 'end that process first; two readers steal each other packets',
  });
}
