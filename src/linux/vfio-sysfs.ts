/**
 * Where the kernel keeps what it knows of a device that VFIO may offer.
 *
 * Source: Documentation/driver-api/vfio.rst, Documentation/ABI/testing/sysfs-bus-pci, vfio-mediated-device.rst.
 */
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Fault } from '../base/fault.ts';
import { parseBdf } from './sysfs-pci.ts';

/** A PCI function by its address, or a mediated device by its UUID. */
export interface VfioAddress {
  readonly bus: 'pci' | 'mdev';
  /** As the kernel writes it: `0000:03:00.1`, or a UUID in lower case. */
  readonly name: string;
}

/**
 * Understands `0000:03:00.1`, `03:00.1` and a UUID.
 * @throws {Fault} EINVAL for anything else
 */
export function parseVfioAddress(text: string): VfioAddress {
  const name = text.toLowerCase();
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(name)) return { bus: 'mdev', name };
  return { bus: 'pci', name: parseBdf(text) };
}

/** What sysfs tells of a device. */
export interface VfioSysfs {
  readonly address: VfioAddress;
  /** Directory of the device. */
  readonly path: string;
  /** Driver that it is bound to, undefined for none. */
  readonly driver: string | undefined;
  /** Number of its IOMMU group, undefined without an IOMMU. */
  readonly group: number | undefined;
  /** Name of its device file for iommufd, such as `vfio0`; undefined where the kernel has none. */
  readonly deviceFile: string | undefined;
  /** True for a VF of SR-IOV. */
  readonly isVirtfn: boolean;
}

/**
 * Looks a device up.
 * @param sysfs where sysfs is mounted
 * @throws {Fault} ENODEV when there is no such device
 */
export function lookUpVfio(address: VfioAddress, sysfs = '/sys'): VfioSysfs {
  const path = join(sysfs, 'bus', address.bus, 'devices', address.name);
  if (!existsSync(path))
    throw new Fault('ENODEV', `there is no device ${address.name}`, {
      hint: `look into ${join(sysfs, 'bus', address.bus, 'devices')}`,
    });
  const group = linkName(join(path, 'iommu_group'));
  return {
    address,
    path,
    driver: linkName(join(path, 'driver')),
    group: group === undefined ? undefined : Number(group),
    deviceFile: existsSync(join(path, 'vfio-dev'))
      ? readdirSync(join(path, 'vfio-dev')).find((name) => name.startsWith('vfio'))
      : undefined,
    isVirtfn: existsSync(join(path, 'physfn')),
  };
}

/** The other devices of a group that a driver of the kernel holds, as `0000:03:00.0 (xe)`. */
export function groupHolders({ address, group }: VfioSysfs, sysfs = '/sys'): string[] {
  const devices = join(sysfs, 'kernel/iommu_groups', String(group), 'devices');
  if (!existsSync(devices)) return [];
  return readdirSync(devices)
    .filter((name) => name !== address.name)
    .map((name) => ({ name, driver: linkName(join(devices, name, 'driver')) }))
    .filter(({ driver }) => driver !== undefined && !/vfio|^pci-stub$|^pcieport$/.test(driver))
    .map(({ name, driver }) => `${name} (${driver})`);
}

function linkName(path: string): string | undefined {
  try {
    return basename(readlinkSync(path));
  } catch {
    return undefined;
  }
}
