/**
 * The debugfs files of an xe PF: where they are and what they say.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_pf_debugfs.c, xe_tile_sriov_pf_debugfs.c,
 * xe_gt_sriov_pf_debugfs.c, xe_guc.c (xe_guc_print_info).
 */
import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { Fault } from '../base/fault.ts';
import { faultOfFile, namesIn, type Roots, readText, tryNumber, tryText } from './sysfs-read.ts';

/** The files of one VF that its migration goes through. */
export const VF_FILE = {
  pause: 'pause',
  resume: 'resume',
  stop: 'stop',
  reset: 'reset',
  /** Written: begin to save; read: end it. */
  save: 'save',
  /** Written: begin to restore; read: end it. */
  restore: 'restore',
  data: 'migration_data',
  size: 'migration_size',
} as const;

/** A GT as the directories of a PF name it. */
export interface GtPlace {
  readonly tile: number;
  readonly gt: number;
}

/** A GuC firmware version. */
export interface GucVersion {
  readonly major: number;
  readonly minor: number;
  readonly patch: number;
}

/** What a VF was given, summed over tiles where it is memory; undefined where no file says it. */
export interface VfQuotas {
  readonly ggttSize: number | undefined;
  readonly vramSize: number | undefined;
  readonly contexts: number | undefined;
  readonly doorbells: number | undefined;
}

/** The directory of a device: `DEBUGFS/dri/BDF`. */
export function deviceDirectory({ debugfs }: Roots, bdf: string): string {
  return `${debugfs}/dri/${bdf}`;
}

/** The directory of a VF: `DEBUGFS/dri/BDF/sriov/vfN`. */
export function vfDirectory(roots: Roots, pf: string, vfid: number): string {
  return `${deviceDirectory(roots, pf)}/sriov/vf${vfid}`;
}

/** The GTs of a PF in the order of their ids, from the directories of VF1. */
export async function gtsOf(roots: Roots, pf: string): Promise<GtPlace[]> {
  const places: GtPlace[] = [];
  const vf = vfDirectory(roots, pf, 1);
  for (const tile of numbered(await namesIn(vf), 'tile'))
    for (const gt of numbered(await namesIn(`${vf}/tile${tile}`), 'gt')) places.push({ tile, gt });
  return places.sort((a, b) => a.gt - b.gt);
}

/** Firmware that the GuC of a GT runs; undefined when it cannot be asked. */
export async function gucVersionOf(
  roots: Roots,
  bdf: string,
  gt: number,
): Promise<GucVersion | undefined> {
  const text = await tryText(`${deviceDirectory(roots, bdf)}/gt${gt}/uc/guc_info`);
  const [, ...parts] = /found release version (\d+)\.(\d+)\.(\d+)/.exec(text ?? '') ?? [];
  const [major, minor, patch] = parts.map(Number);
  if (major === undefined || minor === undefined || patch === undefined) return undefined;
  return { major, minor, patch };
}

/** What a VF was given. */
export async function quotasOf(roots: Roots, pf: string, vfid: number): Promise<VfQuotas> {
  const vf = vfDirectory(roots, pf, vfid);
  const sum = async (paths: readonly string[]): Promise<number | undefined> => {
    const found = (await Promise.all(paths.map(tryNumber))).filter((n) => n !== undefined);
    return found.length === 0 ? undefined : found.reduce((total, n) => total + n, 0);
  };
  const gts = await gtsOf(roots, pf);
  const tiles = [...new Set(gts.map(({ tile }) => tile))];
  const [first] = gts;
  const gt = first === undefined ? undefined : `${vf}/tile${first.tile}/gt${first.gt}`;
  return {
    ggttSize: await sum(tiles.map((tile) => `${vf}/tile${tile}/ggtt_quota`)),
    vramSize: await sum(tiles.map((tile) => `${vf}/tile${tile}/vram_quota`)),
    contexts: gt === undefined ? undefined : await tryNumber(`${gt}/contexts_quota`),
    doorbells: gt === undefined ? undefined : await tryNumber(`${gt}/doorbells_quota`),
  };
}

/**
 * Bytes that the PF says saving a VF would deliver: without descriptor, trailer and the headers of
 * VRAM packets after the first.
 *
 * @throws {Fault} ENOPKG when the PF cannot migrate its VFs; what firmware says
 */
export async function migrationSizeOf(roots: Roots, pf: string, vfid: number): Promise<number> {
  const path = `${vfDirectory(roots, pf, vfid)}/${VF_FILE.size}`;
  const size = Number(await readText(path));
  if (!Number.isSafeInteger(size) || size < 0) throw new Fault('EIO', `${path} is no size`);
  return size;
}

/**
 * Makes sure that the files of a VF are there and may be used; nothing is done to the VF.
 *
 * @throws {Fault} ENOENT when debugfs or the files are missing, EACCES for who is not root, EPERM
 * under kernel lockdown
 */
export async function checkVfFiles(roots: Roots, pf: string, vfid: number): Promise<void> {
  const directory = vfDirectory(roots, pf, vfid);
  // Opening does nothing in the driver; only reading and writing do.
  await tryOpen(roots, pf, `${directory}/${VF_FILE.size}`, constants.O_RDONLY);
  await tryOpen(roots, pf, `${directory}/${VF_FILE.pause}`, constants.O_WRONLY);
  await tryOpen(roots, pf, `${directory}/${VF_FILE.data}`, constants.O_RDWR);
}

async function tryOpen(roots: Roots, pf: string, path: string, flags: number): Promise<void> {
  try {
    await (await open(path, flags)).close();
  } catch (error) {
    const fault = faultOfFile(error, path);
    if (fault.code === 'EPERM' || fault.code === 'EACCES')
      throw await permissionFault(roots, path, fault);
    if (fault.code !== 'ENOENT') throw fault;
    throw await missingFault(roots, pf, path);
  }
}

/** Why a debugfs file may not be opened, in words. */
export async function permissionFault(roots: Roots, path: string, cause: Fault): Promise<Fault> {
  const lockdown = await lockdownOf(roots);
  if (lockdown !== undefined && lockdown !== 'none')
    return new Fault('EPERM', `kernel lockdown (${lockdown}) keeps ${path} shut`, {
      cause,
      hint: 'turn Secure Boot off, or boot without lockdown=; debugfs is then open to root',
    });
  if (cause.code === 'EPERM')
    return new Fault('EPERM', `the kernel refuses ${path}: locked down, or not root`, {
      cause,
      hint: 'run as root; xe-vfio doctor says whether the kernel is locked down',
    });
  return new Fault('EACCES', `${path} is for root`, { cause, hint: 'run as root' });
}

/** Kernel lockdown: `none`, `integrity` or `confidentiality`; undefined without the feature. */
export async function lockdownOf({ sysfs }: Roots): Promise<string | undefined> {
  const text = await tryText(`${sysfs}/kernel/security/lockdown`);
  return /\[(\w+)\]/.exec(text ?? '')?.[1];
}

async function missingFault(roots: Roots, pf: string, path: string): Promise<Fault> {
  const is = async (place: string) => (await stat(place).catch(() => undefined)) !== undefined;
  if (!(await is(`${roots.debugfs}/dri`)))
    return new Fault('ENOENT', `debugfs is not mounted at ${roots.debugfs}`, {
      hint: `mount -t debugfs none ${roots.debugfs}`,
    });
  if (!(await is(`${deviceDirectory(roots, pf)}/sriov`)))
    return new Fault('ENOENT', `the driver of ${pf} offers no control of VFs in debugfs`, {
      hint: 'bind the PF to xe, with SR-IOV enabled in firmware and kernel; xe-vfio doctor tells',
    });
  return new Fault('ENOENT', `${path} is not there: this kernel's xe cannot migrate VFs`, {
    hint: 'run Linux 7.0 or newer',
  });
}

/** The numbers N of names `prefixN`. */
function numbered(names: readonly string[], prefix: string): number[] {
  return names.flatMap((name) => {
    const rest = name.startsWith(prefix) ? name.slice(prefix.length) : '';
    return /^\d+$/.test(rest) ? [Number(rest)] : [];
  });
}
