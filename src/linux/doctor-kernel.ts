/**
 * The kernel and the machine around the GPU, as far as VFs in user space need them.
 *
 * Source: Documentation/driver-api/vfio.rst; drivers/vfio/Kconfig; fs/debugfs/file.c
 * (debugfs_locked_down); Documentation/ABI/testing/sysfs-driver-intel-xe-sriov (versions).
 */
import { readFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { formatSize } from '../base/size.ts';
import { lockdownOf } from './debugfs-xe.ts';
import { type Check, check } from './doctor-check.ts';
import type { Machine } from './sysfs-machine.ts';
import { namesIn, tryText } from './sysfs-read.ts';

/** sriov_admin came with 6.19, VRAM quotas in it and a PF that migrates with 7.0. */
const WANTED_KERNEL = [7, 0] as const;
/** Pinned guest memory counts against this limit, unless the process may lock without one. */
const WANTED_MEMLOCK = 16 * 2 ** 30;

/** Options that must be built in or a module, and what for. */
const NEEDED_OPTIONS = [
  ['CONFIG_DRM_XE', 'the PF driver'],
  ['CONFIG_PCI_IOV', 'VFs'],
  ['CONFIG_DEBUG_FS', 'control of VFs'],
  ['CONFIG_VFIO_PCI', 'VFs in user space'],
] as const;
/** One of these pairs: the group interface, or the newer device files. */
const NEEDED_PAIRS = [
  ['CONFIG_VFIO_GROUP', 'CONFIG_VFIO_IOMMU_TYPE1'],
  ['CONFIG_VFIO_DEVICE_CDEV', 'CONFIG_IOMMUFD'],
] as const;
const NEEDED_MODULES = [
  ['xe', 'modprobe xe'],
  ['vfio_pci', 'modprobe vfio-pci'],
] as const;

/** The questions that do not depend on a GPU. */
export async function kernelChecks(machine: Machine): Promise<Check[]> {
  const release = await tryText(`${machine.proc}/sys/kernel/osrelease`);
  return [
    kernel(release),
    ...(await configChecks(machine, release)),
    ...(await moduleChecks(machine)),
    await iommu(machine),
    await lockdown(machine),
    user(),
    await debugfs(machine),
    await memlock(machine),
  ];
}

function kernel(release: string | undefined): Check {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release ?? '') ?? [];
  const [wantedMajor, wantedMinor] = WANTED_KERNEL;
  const well =
    Number(major) > wantedMajor || (Number(major) === wantedMajor && Number(minor) >= wantedMinor);
  return check('kernel', well, {
    found: release ?? '?',
    wanted: '7.0 or newer',
    fix: 'install a newer kernel, such as linux-image-amd64 of backports',
  });
}

async function configChecks(machine: Machine, release: string | undefined): Promise<Check[]> {
  const options = await kernelConfig(machine, release);
  const wanted = 'y or m';
  if (options === undefined)
    return [
      {
        name: 'config',
        status: 'unknown',
        found: 'neither /boot/config nor /proc/config.gz',
        wanted: 'readable',
        fix: 'modprobe configs, or install the config file of the kernel',
      },
    ];
  const on = (name: string) => options.get(name) !== undefined;
  const fix = 'run a kernel that has it; Debian and Ubuntu kernels do';
  const single = NEEDED_OPTIONS.map(([name, why]) =>
    check(name, on(name), {
      found: options.get(name) ?? 'not set',
      wanted,
      fix: `${fix} (${why})`,
    }),
  );
  const pair = NEEDED_PAIRS.find((names) => names.every(on));
  const access = check('vfio access', pair !== undefined, {
    found: pair?.join(' and ') ?? 'none',
    wanted: NEEDED_PAIRS.map((names) => names.join(' and ')).join(', or '),
    fix,
  });
  return [...single, access];
}

/** The options of the running kernel that are on, from /boot or /proc/config.gz. */
async function kernelConfig(
  machine: Machine,
  release: string | undefined,
): Promise<Map<string, string> | undefined> {
  const text =
    (await tryText(`${machine.boot}/config-${release}`)) ??
    (await readFile(`${machine.proc}/config.gz`).then(
      (bytes) => gunzipSync(bytes).toString('utf8'),
      () => undefined,
    ));
  if (text === undefined) return undefined;
  const options = new Map<string, string>();
  for (const [, name = '', value = ''] of text.matchAll(/^(CONFIG_\w+)=(.*)$/gm))
    options.set(name, value);
  return options;
}

async function moduleChecks(machine: Machine): Promise<Check[]> {
  const loaded = await namesIn(`${machine.sysfs}/module`);
  return NEEDED_MODULES.map(([name, fix]) =>
    check(`module ${name}`, loaded.includes(name), {
      found: loaded.includes(name) ? 'loaded' : 'not loaded',
      wanted: 'loaded',
      fix,
    }),
  );
}

async function iommu(machine: Machine): Promise<Check> {
  const groups = await namesIn(`${machine.sysfs}/kernel/iommu_groups`);
  return check('iommu', groups.length > 0, {
    found: groups.length > 0 ? `${groups.length} groups` : 'no IOMMU groups',
    wanted: 'on',
    fix: 'turn VT-d on in firmware and boot with intel_iommu=on',
  });
}

async function lockdown(machine: Machine): Promise<Check> {
  const mode = (await lockdownOf(machine)) ?? 'none';
  return check('lockdown', mode === 'none', {
    found: mode,
    wanted: 'none',
    fix: 'turn Secure Boot off in firmware: a locked down kernel keeps debugfs shut',
  });
}

function user(): Check {
  const uid = process.getuid?.() ?? -1;
  return check(
    'user',
    uid === 0,
    { found: uid === 0 ? 'root' : `uid ${uid}`, wanted: 'root', fix: 'run as root: sudo' },
    'warn',
  );
}

async function debugfs(machine: Machine): Promise<Check> {
  const names = await namesIn(machine.debugfs);
  const well = names.length > 0;
  const told = {
    found: well ? `readable at ${machine.debugfs}` : 'empty or not readable',
    wanted: 'mounted, readable',
    fix: `mount -t debugfs none ${machine.debugfs} (as root)`,
  };
  return check('debugfs', well, told, process.getuid?.() === 0 ? 'fail' : 'unknown');
}

async function memlock(machine: Machine): Promise<Check> {
  const limits = await tryText(`${machine.proc}/self/limits`);
  const [, soft = '?'] = /^Max locked memory\s+(\S+)/m.exec(limits ?? '') ?? [];
  const bytes = soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
  const root = process.getuid?.() === 0;
  const found = Number.isFinite(bytes) ? formatSize(bytes) : soft;
  return check(
    'memlock',
    bytes >= WANTED_MEMLOCK || root,
    {
      found: root ? `${found} (root is not limited)` : found,
      wanted: 'the size of the guest, 16 GiB or unlimited',
      fix: 'ulimit -l unlimited, LimitMEMLOCK=infinity in a systemd unit, or limits.conf',
    },
    'warn',
  );
}
