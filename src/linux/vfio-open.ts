/**
 * Opens a VFIO device of the kernel: by its own file and iommufd where the kernel has both, else by its
 * group and a container.
 *
 * Source: drivers/vfio/group.c, drivers/vfio/device_cdev.c.
 */
import { closeSync, existsSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { Fault } from '../base/fault.ts';
import { closeFd } from '../sys/descriptor.ts';
import { IoctlArgument, ioctl } from '../sys/ioctl.ts';
import { faultOfFile } from './sysfs-read.ts';
import { VfioDeviceFile } from './vfio-device-file.ts';
import type { VfioIommu } from './vfio-iommu.ts';
import { Iommufd, iommufdPath } from './vfio-iommufd.ts';
import { getStruct, putStruct } from './vfio-struct.ts';
import { groupHolders, lookUpVfio, parseVfioAddress, type VfioSysfs } from './vfio-sysfs.ts';
import { Type1Container } from './vfio-type1.ts';
import { VFIO_GROUP_FLAGS, VFIO_IOCTL, VFIO_STRUCT } from './vfio-uapi.ts';

/** Which interface of the kernel to use. */
export type VfioInterface = 'group' | 'iommufd';

/** How a device is opened. */
export interface OpenVfioOptions {
  /** The better one that the kernel has for this device unless given. */
  readonly via?: VfioInterface | undefined;
  /** Where sysfs is mounted; /sys unless given. */
  readonly sysfs?: string | undefined;
  /** Where the files of devices are; /dev unless given. */
  readonly dev?: string | undefined;
}

/** An open device of the kernel. */
export interface OpenedVfio {
  readonly file: VfioDeviceFile;
  readonly iommu: VfioIommu;
  readonly sysfs: VfioSysfs;
  readonly via: VfioInterface;
  /** Ends the use of the device: interrupts, mappings and descriptors go. Idempotent. */
  close(): void;
}

/**
 * Opens a device, which resets it when its driver can.
 *
 * @param address `0000:03:00.1`, or the UUID of a mediated device
 * @throws {Fault} ENODEV when there is no such device, when no VFIO driver has it or when there is no
 * IOMMU; EBUSY when it is in use; EPERM when its group is shared with other drivers; EACCES, EINVAL
 */
export function openVfio(
  address: string,
  { via, sysfs, dev = '/dev' }: OpenVfioOptions = {},
): OpenedVfio {
  const found = lookUpVfio(parseVfioAddress(address), sysfs);
  const { name } = found.address;
  if (found.group === undefined)
    throw new Fault(
      'ENODEV',
      `${name} is in no IOMMU group: there is no IOMMU, or VFIO has no hold of it`,
      {
        hint: 'boot with intel_iommu=on or amd_iommu=on, and bind it to vfio-pci',
      },
    );
  if (found.deviceFile === undefined && !existsSync(`${dev}/vfio/${found.group}`))
    throw new Fault('ENODEV', `${name} is bound to ${found.driver ?? 'no driver'}, not to VFIO`, {
      hint: `xe-vfio bind ${name}`,
    });
  const files = found.deviceFile !== undefined && existsSync(iommufdPath(dev));
  const chosen = via ?? (files ? 'iommufd' : 'group');
  return chosen === 'group' ? openByGroup(found, dev, sysfs) : openByFile(found, dev);
}

function openByFile(found: VfioSysfs, dev: string): OpenedVfio {
  const { name } = found.address;
  if (found.deviceFile === undefined)
    throw new Fault('EOPNOTSUPP', `the kernel has no device file for ${name}`, {
      hint: 'it lacks CONFIG_VFIO_DEVICE_CDEV; use the group',
    });
  const iommu = Iommufd.open(dev);
  let fd = -1;
  try {
    fd = openNode(join(dev, 'vfio/devices', found.deviceFile), name);
    iommu.attach(fd, name);
  } catch (error) {
    if (fd >= 0) closeSync(fd);
    iommu.close();
    throw error;
  }
  const file = fd;
  return opened(found, file, iommu, 'iommufd', () => closeSync(file));
}

function openByGroup(found: VfioSysfs, dev: string, sysfs: string | undefined): OpenedVfio {
  const { name } = found.address;
  const iommu = Type1Container.open(dev);
  let group = -1;
  try {
    group = openNode(`${dev}/vfio/${found.group}`, name);
    checkViable(group, found, sysfs);
    // The container's descriptor is passed by its address.
    using container = new IoctlArgument(4);
    container.view.setInt32(0, iommu.fd, true);
    ioctl(
      group,
      VFIO_IOCTL.GROUP_SET_CONTAINER,
      container.address,
      `put the group of ${name} into a container`,
    );
    iommu.setIommu();
    const bytes = new TextEncoder().encode(name);
    using text = new IoctlArgument(bytes.length + 1);
    text.bytes.set(bytes);
    const fd = ioctl(group, VFIO_IOCTL.GROUP_GET_DEVICE_FD, text.address, `open ${name}`);
    const groupFd = group;
    return opened(found, fd, iommu, 'group', () => {
      closeFd(fd);
      closeSync(groupFd);
    });
  } catch (error) {
    if (group >= 0) closeSync(group);
    iommu.close();
    throw error;
  }
}

/** @throws {Fault} EPERM when other drivers hold devices that share the group */
function checkViable(group: number, found: VfioSysfs, sysfs: string | undefined): void {
  const { group_status } = VFIO_STRUCT;
  using argument = new IoctlArgument(group_status.size);
  putStruct(argument.view, 0, group_status, { argsz: group_status.size });
  ioctl(group, VFIO_IOCTL.GROUP_GET_STATUS, argument.address, 'ask for the state of a group');
  const { flags } = getStruct(argument.view, 0, group_status);
  if ((flags & VFIO_GROUP_FLAGS.VIABLE) !== 0) return;
  const others = groupHolders(found, sysfs).join(', ') || 'a device of another driver';
  throw new Fault('EPERM', `IOMMU group ${found.group} also holds ${others}`, {
    hint: 'everything in the group must be bound to a VFIO driver, or to none',
  });
}

function openNode(path: string, name: string): number {
  try {
    return openSync(path, 'r+');
  } catch (error) {
    const fault = faultOfFile(error, `open ${path}`);
    if (fault.code === 'EBUSY')
      throw new Fault('EBUSY', `${name} is in use by another process`, {
        cause: fault,
        hint: `fuser -v ${path} tells by which`,
      });
    if (fault.code === 'EACCES')
      throw new Fault('EACCES', `${path} may not be opened`, {
        cause: fault,
        hint: 'run it as root, or give the file to this user',
      });
    throw fault;
  }
}

function opened(
  sysfs: VfioSysfs,
  fd: number,
  iommu: VfioIommu,
  via: VfioInterface,
  close: () => void,
): OpenedVfio {
  let open = true;
  return {
    file: new VfioDeviceFile(fd, sysfs.address.name),
    iommu,
    sysfs,
    via,
    close() {
      if (!open) return;
      open = false;
      // The device first: the driver quiets it while its mappings are still there.
      close();
      iommu.close();
    },
  };
}
