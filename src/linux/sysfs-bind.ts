/**
 * Giving a VF to vfio-pci and taking it back, through `driver_override`.
 *
 * Source: Documentation/ABI/testing/sysfs-bus-pci (driver_override); drivers/base/bus.c
 * (unbind_store, drivers_probe_store); drivers/vfio/group.c.
 */
import { stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Fault } from '../base/fault.ts';
import { type Holder, holdersOf, holdersText } from './sysfs-holders.ts';
import type { Machine } from './sysfs-machine.ts';
import {
  groupDevices,
  hasPciDriver,
  type PciDevice,
  pciDirectory,
  readPciDevice,
} from './sysfs-pci.ts';
import { namesIn, readText, tryLink } from './sysfs-read.ts';
import type { SysfsStep } from './sysfs-steps.ts';

/** The driver that gives a device to user space. */
export const VFIO_DRIVER = 'vfio-pci';
/** A driver's probe, and udev's device node, may come so late. */
const VERIFY_MS = 2000;
const LOOK_MS = 20;
const PROBE_MEANINGS = { EINVAL: 'the driver refuses the device; the kernel log says why' };

/** A change of a VF's driver, not yet made. */
export interface BindPlan {
  readonly device: PciDevice;
  /** Empty when the VF is as it should be. */
  readonly steps: readonly SysfsStep[];
}

/**
 * Plans to bind a VF to vfio-pci.
 *
 * @throws {Fault} ENODEV when there is no such device; EINVAL when it is no VF; EOPNOTSUPP without
 * IOMMU or vfio-pci; EBUSY when the VF is in use, or its group holds devices of the host
 */
export async function planBind(machine: Machine, bdf: string): Promise<BindPlan> {
  const device = await readVf(machine, bdf);
  if (device.iommuGroup === undefined)
    throw new Fault('EOPNOTSUPP', `${bdf} is in no IOMMU group: the IOMMU is off`, {
      hint: 'turn VT-d on in firmware and boot with intel_iommu=on',
    });
  if (!(await hasPciDriver(machine, VFIO_DRIVER)))
    throw new Fault('EOPNOTSUPP', 'the vfio-pci driver is not loaded', {
      hint: 'modprobe vfio-pci',
    });
  if (device.driver === VFIO_DRIVER) return { device, steps: [] };
  await checkGroup(machine, device, device.iommuGroup);
  await checkIdle(await hostHolders(machine, bdf), bdf);
  const probe = { path: `${machine.sysfs}/bus/pci/drivers_probe`, value: bdf };
  return {
    device,
    steps: [
      overrideStep(machine, device, VFIO_DRIVER, device.driver === undefined ? [] : [probe]),
      ...unbindSteps(machine, device),
      {
        ...probe,
        undo: [{ path: `${machine.sysfs}/bus/pci/drivers/${VFIO_DRIVER}/unbind`, value: bdf }],
        verify: async () => {
          await waitForDriver(machine, bdf, VFIO_DRIVER);
          await waitForNode(`${machine.dev}/vfio/${device.iommuGroup}`);
        },
        meanings: PROBE_MEANINGS,
      },
    ],
  };
}

/**
 * Plans to take a VF from vfio-pci.
 *
 * @param probe lets the driver of this host that wants it have it; it stays without one unless given
 * @throws {Fault} ENODEV, EINVAL as {@link planBind}; EBUSY when a process has it open
 */
export async function planUnbind(machine: Machine, bdf: string, probe: boolean): Promise<BindPlan> {
  const device = await readVf(machine, bdf);
  if (device.driver !== undefined && device.driver !== VFIO_DRIVER)
    throw new Fault('EINVAL', `${bdf} is bound to ${device.driver}, not to ${VFIO_DRIVER}`, {
      hint: 'only what bind did is taken back',
    });
  await checkIdle(await vfioHolders(machine, device), bdf);
  const probing = { path: `${machine.sysfs}/bus/pci/drivers_probe`, value: bdf };
  const steps: SysfsStep[] = [];
  if (device.driverOverride !== undefined)
    steps.push(overrideStep(machine, device, '', device.driver === undefined ? [] : [probing]));
  steps.push(...unbindSteps(machine, device));
  if (probe)
    steps.push({
      ...probing,
      undo: [],
      verify: () => waitForDriver(machine, bdf, 'any'),
      meanings: PROBE_MEANINGS,
    });
  return { device, steps };
}

/** The processes that have a VF open through VFIO. */
export async function vfioHolders(machine: Machine, device: PciDevice): Promise<Holder[]> {
  const at = pciDirectory(machine, device.bdf);
  const cdevs = await namesIn(`${at}/vfio-dev`);
  const nodes = cdevs.map((name) => `${machine.dev}/vfio/devices/${name}`);
  if (device.iommuGroup !== undefined) nodes.push(`${machine.dev}/vfio/${device.iommuGroup}`);
  return await holdersOf(nodes, machine.proc);
}

async function hostHolders(machine: Machine, bdf: string): Promise<Holder[]> {
  const nodes = await namesIn(`${pciDirectory(machine, bdf)}/drm`);
  return await holdersOf(
    nodes.map((name) => `${machine.dev}/dri/${name}`),
    machine.proc,
  );
}

async function readVf(machine: Machine, bdf: string): Promise<PciDevice> {
  const device = await readPciDevice(machine, bdf);
  if (device.physfn !== undefined) return device;
  throw new Fault('EINVAL', `${bdf} is no VF`, { hint: 'xe-vfio list shows PFs and their VFs' });
}

/** A group can be given to user space only whole. */
async function checkGroup(machine: Machine, device: PciDevice, group: string): Promise<void> {
  for (const bdf of await groupDevices(machine, group)) {
    if (bdf === device.bdf) continue;
    const { driver } = await readPciDevice(machine, bdf);
    if (driver === undefined || driver === VFIO_DRIVER || driver === 'pcieport') continue;
    throw new Fault('EBUSY', `IOMMU group ${group} also holds ${bdf}, which ${driver} drives`, {
      hint: 'another slot or ACS support in firmware puts devices into groups of their own',
    });
  }
}

function checkIdle(holders: readonly Holder[], bdf: string): void {
  if (holders.length === 0) return;
  throw new Fault('EBUSY', `${bdf} is in use by ${holdersText(holders)}`, {
    hint: 'end that process first',
  });
}

function overrideStep(
  machine: Machine,
  device: PciDevice,
  driver: string,
  undoAfter: SysfsStep['undo'],
): SysfsStep {
  const path = `${pciDirectory(machine, device.bdf)}/driver_override`;
  return {
    path,
    value: driver,
    undo: [{ path, value: device.driverOverride ?? '' }, ...undoAfter],
    verify: async () => {
      const text = await readText(path);
      if (text === driver || (driver === '' && text === '(null)')) return;
      throw new Fault('EIO', `${path} reads "${text}" after "${driver}" was written`);
    },
  };
}

function unbindSteps(machine: Machine, { bdf, driver }: PciDevice): SysfsStep[] {
  if (driver === undefined) return [];
  return [
    {
      path: `${machine.sysfs}/bus/pci/drivers/${driver}/unbind`,
      value: bdf,
      undo: [],
      verify: () => waitForDriver(machine, bdf, 'none'),
      meanings: { ENODEV: 'another driver has taken it meanwhile' },
    },
  ];
}

/**
 * @param wanted a driver's name, `none`, or `any`
 * @throws {Fault} ETIMEDOUT when the device does not come to it
 */
async function waitForDriver(machine: Machine, bdf: string, wanted: string): Promise<void> {
  const path = `${pciDirectory(machine, bdf)}/driver`;
  const deadline = performance.now() + VERIFY_MS;
  for (;;) {
    const found = (await tryLink(path)) ?? 'none';
    if (found === wanted || (wanted === 'any' && found !== 'none')) return;
    if (performance.now() > deadline)
      throw new Fault('ETIMEDOUT', `${bdf} has driver ${found}, wanted is ${wanted}`, {
        hint: 'the kernel log says why a driver refused the device',
      });
    await sleep(LOOK_MS);
  }
}

async function waitForNode(path: string): Promise<void> {
  const deadline = performance.now() + VERIFY_MS;
  while ((await stat(path).catch(() => undefined)) === undefined) {
    if (performance.now() > deadline)
      throw new Fault('ETIMEDOUT', `${path} does not appear`, { hint: 'is udev running?' });
    await sleep(LOOK_MS);
  }
}
