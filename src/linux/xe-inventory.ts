/** The PFs of a machine and their VFs: what they are, what they have, who holds them. */
import { platformOfDevice } from '../xe/platforms.ts';
import { type GucVersion, gtsOf, gucVersionOf, quotasOf, type VfQuotas } from './debugfs-xe.ts';
import { vfioHolders } from './sysfs-bind.ts';
import { nameOf } from './sysfs-holders.ts';
import type { Machine } from './sysfs-machine.ts';
import { type PciDevice, pciAddresses, pciDirectory, readPciDevice } from './sysfs-pci.ts';
import { tryNumber, tryText } from './sysfs-read.ts';
import { unsupportedReason } from './xe-support.ts';
import { lockHolder } from './xe-vf-lock.ts';

const VENDOR_INTEL = 0x8086;

/** A process that holds a VF, and through what. */
export interface VfHolder {
  readonly pid: number;
  readonly name: string;
  readonly through: 'vfio' | 'lock';
}

/** A VF as the machine shows it; undefined where no file says it, or not to this user. */
export interface VfInventory extends VfQuotas {
  readonly vfid: number;
  readonly bdf: string;
  readonly driver: string | undefined;
  readonly iommuGroup: string | undefined;
  readonly execQuantumMs: number | undefined;
  readonly preemptTimeoutUs: number | undefined;
  readonly schedPriority: string | undefined;
  readonly holders: readonly VfHolder[];
}

/** A PF as the machine shows it. */
export interface PfInventory {
  readonly bdf: string;
  readonly deviceId: number;
  readonly revisionId: number;
  readonly platform: string | undefined;
  readonly driver: string | undefined;
  readonly gucVersion: GucVersion | undefined;
  readonly totalVfs: number;
  readonly numVfs: number;
  readonly autoprobe: boolean;
  /** Why its VFs cannot be migrated; undefined when they can, null when that cannot be told. */
  readonly unsupported: string | undefined | null;
  readonly vfs: readonly VfInventory[];
}

/** Every PF of Intel that xe drives or that is a platform known here. */
export async function inventory(machine: Machine): Promise<PfInventory[]> {
  const found: PfInventory[] = [];
  for (const bdf of await pciAddresses(machine)) {
    if ((await tryNumber(`${pciDirectory(machine, bdf)}/vendor`)) !== VENDOR_INTEL) continue;
    const device = await readPciDevice(machine, bdf);
    if (device.sriov === undefined || device.physfn !== undefined) continue;
    const known = platformOfDevice(device.deviceId) !== undefined;
    if (known || device.driver === 'xe') found.push(await inventoryPf(machine, device));
  }
  return found;
}

async function inventoryPf(machine: Machine, device: PciDevice): Promise<PfInventory> {
  const { bdf, deviceId, revisionId, driver, sriov } = device;
  const gts = await gtsOf(machine, bdf);
  const [first] = gts;
  const vfs: VfInventory[] = [];
  for (const [at, vf] of (sriov?.vfs ?? []).entries())
    vfs.push(await inventoryVf(machine, bdf, at + 1, vf));
  return {
    bdf,
    deviceId,
    revisionId,
    driver,
    platform: platformOfDevice(deviceId)?.name,
    gucVersion: first && (await gucVersionOf(machine, bdf, first.gt)),
    totalVfs: sriov?.totalVfs ?? 0,
    numVfs: sriov?.numVfs ?? 0,
    autoprobe: sriov?.autoprobe ?? true,
    unsupported:
      gts.length === 0
        ? null
        : await unsupportedReason({ roots: machine, pf: bdf, vfid: 1, deviceId, gts }),
    vfs,
  };
}

async function inventoryVf(
  machine: Machine,
  pf: string,
  vfid: number,
  bdf: string,
): Promise<VfInventory> {
  const device = await readPciDevice(machine, bdf);
  const profile = `${pciDirectory(machine, pf)}/sriov_admin/vf${vfid}/profile`;
  const quotas = await quotasOf(machine, pf, vfid);
  const holders: VfHolder[] = (await vfioHolders(machine, device)).map((holder) => ({
    ...holder,
    through: 'vfio',
  }));
  const locker = await lockHolder(`${machine.run}/xe-vfio`, pf, vfid);
  if (locker !== undefined)
    holders.push({ pid: locker, name: await nameOf(locker), through: 'lock' });
  return {
    vfid,
    bdf,
    driver: device.driver,
    iommuGroup: device.iommuGroup,
    ...quotas,
    vramSize: quotas.vramSize ?? (await tryNumber(`${profile}/vram_quota`)),
    execQuantumMs: await tryNumber(`${profile}/exec_quantum_ms`),
    preemptTimeoutUs: await tryNumber(`${profile}/preempt_timeout_us`),
    schedPriority: /\[(\w+)\]/.exec((await tryText(`${profile}/sched_priority`)) ?? '')?.[1],
    holders,
  };
}
