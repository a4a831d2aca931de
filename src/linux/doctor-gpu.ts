/** The PFs of a machine and their VFs, as far as migration needs them. */
import { formatSize } from '../base/size.ts';
import { lockdownOf } from './debugfs-xe.ts';
import { type Check, check } from './doctor-check.ts';
import type { Machine } from './sysfs-machine.ts';
import { groupDevices } from './sysfs-pci.ts';
import { tryText } from './sysfs-read.ts';
import { inventory, type PfInventory, type VfInventory } from './xe-inventory.ts';
import { gucMigrates } from './xe-support.ts';

/** The questions about each PF, or about one of them. */
export async function gpuChecks(machine: Machine, pf?: string): Promise<Check[]> {
  const found = (await inventory(machine)).filter(({ bdf }) => pf === undefined || bdf === pf);
  const gpu = check('gpu', found.length > 0, {
    found: found.length > 0 ? found.map(({ bdf }) => bdf).join(', ') : 'none',
    wanted: pf ?? 'an Intel GPU with SR-IOV: Panther Lake, Wildcat Lake, Battlemage',
    fix: 'turn SR-IOV and VT-d on in firmware; lspci -nn -d 8086: shows the GPUs there are',
  });
  const each = await Promise.all(found.map((one) => pfChecks(machine, one)));
  return [gpu, ...each.flat()];
}

async function pfChecks(machine: Machine, pf: PfInventory): Promise<Check[]> {
  const { bdf, driver, platform, gucVersion, numVfs, totalVfs, unsupported } = pf;
  const id = `8086:${pf.deviceId.toString(16).padStart(4, '0')}`;
  const shut = ((await lockdownOf(machine)) ?? 'none') !== 'none';
  const name = (what: string) => `${bdf} ${what}`;
  const version = gucVersion && `${gucVersion.major}.${gucVersion.minor}.${gucVersion.patch}`;
  return [
    check(name('device'), platform !== undefined, {
      found: platform === undefined ? id : `${platform} (${id})`,
      wanted: 'ptl, wcl or bmg',
      fix: 'this device is none whose VFs Linux can migrate',
    }),
    check(name('driver'), driver === 'xe', {
      found: driver ?? 'none',
      wanted: 'xe',
      fix: 'modprobe xe; for devices of other drivers boot with xe.force_probe and i915 off',
    }),
    check(
      name('guc'),
      gucVersion !== undefined && gucMigrates(gucVersion),
      {
        found: version ?? 'cannot be read',
        wanted: '70.54.0 or newer',
        fix: 'install newer firmware-intel-graphics (linux-firmware), rebuild the initramfs, reboot',
      },
      gucVersion === undefined ? 'unknown' : 'fail',
    ),
    await firmware(machine, bdf),
    check(
      name('migration'),
      unsupported === undefined,
      {
        found: unsupported ?? (shut ? 'kept shut by lockdown' : 'cannot be read'),
        wanted: 'supported',
        fix: `dmesg | grep -i "migration disabled"; as root`,
      },
      unsupported === null ? 'unknown' : 'fail',
    ),
    check(
      name('vfs'),
      numVfs > 0,
      {
        found: `${numVfs} of ${totalVfs} enabled`,
        wanted: '1 or more',
        fix: `xe-vfio provision ${bdf} --vfs 1`,
      },
      'warn',
    ),
    ...(await Promise.all(pf.vfs.map((vf) => vfCheck(machine, vf)))),
  ];
}

/** What the driver says of the firmware that it loaded. */
async function firmware(machine: Machine, bdf: string): Promise<Check> {
  const text = await tryText(`${machine.debugfs}/dri/${bdf}/gt0/uc/guc_info`);
  const [, path] = /^GuC firmware: (\S+)/m.exec(text ?? '') ?? [];
  const [, status] = /^\s*status: (\S+)/m.exec(text ?? '') ?? [];
  return check(
    `${bdf} firmware`,
    status === 'RUNNING',
    {
      found: text === undefined ? 'cannot be read' : `${path}, ${status}`,
      wanted: 'RUNNING',
      fix: 'dmesg | grep -i guc says why it was not loaded',
    },
    text === undefined ? 'unknown' : 'fail',
  );
}

async function vfCheck(machine: Machine, vf: VfInventory): Promise<Check> {
  const { bdf, driver, iommuGroup, vramSize, holders } = vf;
  const others =
    iommuGroup === undefined
      ? []
      : (await groupDevices(machine, iommuGroup)).filter((other) => other !== bdf);
  const parts = [
    iommuGroup === undefined ? 'no group' : `group ${iommuGroup}`,
    `driver ${driver ?? 'none'}`,
    ...(vramSize === undefined ? [] : [formatSize(vramSize)]),
    ...(others.length === 0 ? [] : [`with ${others.join(', ')}`]),
    ...holders.map(({ pid, name }) => `held by ${name} (pid ${pid})`),
  ];
  const alone = iommuGroup !== undefined && others.length === 0;
  return check(
    `VF${vf.vfid} ${bdf}`,
    alone && driver === 'vfio-pci',
    {
      found: parts.join(', '),
      wanted: 'a group of its own, driver vfio-pci',
      fix: alone
        ? `xe-vfio bind ${bdf}`
        : 'turn the IOMMU on; ACS in firmware gives devices groups of their own',
    },
    alone ? 'warn' : 'fail',
  );
}
