/**
 * PCI devices as sysfs shows them.
 *
 * Source: Documentation/ABI/testing/sysfs-bus-pci; drivers/pci/pci-sysfs.c, iov.c.
 */
import { stat } from 'node:fs/promises';
import { Fault } from '../base/fault.ts';
import { namesIn, type Roots, tryLink, tryNumber, tryText } from './sysfs-read.ts';

/** One PCI device. */
export interface PciDevice {
  /** Such as `0000:03:00.0`. */
  readonly bdf: string;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revisionId: number;
  /** The driver it is bound to, undefined when none. */
  readonly driver: string | undefined;
  /** The only driver that may bind it, undefined when any may. */
  readonly driverOverride: string | undefined;
  /** Number of its IOMMU group, undefined without IOMMU. */
  readonly iommuGroup: string | undefined;
  /** Its PF, when it is a VF. */
  readonly physfn: string | undefined;
  /** What it is as a PF, undefined when it is none. */
  readonly sriov: PciSriov | undefined;
}

/** A PF's SR-IOV attributes. */
export interface PciSriov {
  readonly totalVfs: number;
  readonly numVfs: number;
  /** True when drivers bind VFs as they appear. */
  readonly autoprobe: boolean;
  /** The VFs that are enabled, VF 1 first. */
  readonly vfs: readonly string[];
}

const BDF = /^[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/;

/**
 * A PCI address in its full form; the domain may be left out.
 * @throws {Fault} EINVAL for anything else
 * @example parseBdf('03:00.0') // '0000:03:00.0'
 */
export function parseBdf(text: string): string {
  const full = (text.split(':').length === 2 ? `0000:${text}` : text).toLowerCase();
  if (BDF.test(full)) return full;
  throw new Fault('EINVAL', `"${text}" is no PCI address`, {
    hint: 'write it as 0000:03:00.0, as lspci -D does',
  });
}

/** The directory of a device. */
export function pciDirectory({ sysfs }: Roots, bdf: string): string {
  return `${sysfs}/bus/pci/devices/${bdf}`;
}

/** One device. @throws {Fault} ENODEV when it is not there */
export async function readPciDevice(roots: Roots, bdf: string): Promise<PciDevice> {
  const at = pciDirectory(roots, bdf);
  const vendorId = await tryNumber(`${at}/vendor`);
  if (vendorId === undefined)
    throw new Fault('ENODEV', `there is no PCI device ${bdf}`, { hint: 'xe-vfio list' });
  const override = await tryText(`${at}/driver_override`);
  return {
    bdf,
    vendorId,
    deviceId: (await tryNumber(`${at}/device`)) ?? 0,
    revisionId: (await tryNumber(`${at}/revision`)) ?? 0,
    driver: await tryLink(`${at}/driver`),
    driverOverride:
      override === undefined || override === '(null)' || override === '' ? undefined : override,
    iommuGroup: await tryLink(`${at}/iommu_group`),
    physfn: await tryLink(`${at}/physfn`),
    sriov: await readSriov(at),
  };
}

async function readSriov(at: string): Promise<PciSriov | undefined> {
  const totalVfs = await tryNumber(`${at}/sriov_totalvfs`);
  if (totalVfs === undefined) return undefined;
  const numVfs = (await tryNumber(`${at}/sriov_numvfs`)) ?? 0;
  const links = await Promise.all(
    Array.from({ length: numVfs }, (_, n) => tryLink(`${at}/virtfn${n}`)),
  );
  return {
    totalVfs,
    numVfs,
    autoprobe: (await tryNumber(`${at}/sriov_drivers_autoprobe`)) !== 0,
    vfs: links.filter((bdf) => bdf !== undefined),
  };
}

/** The addresses of all PCI devices. */
export async function pciAddresses({ sysfs }: Roots): Promise<string[]> {
  return await namesIn(`${sysfs}/bus/pci/devices`);
}

/** True when a driver of this name is registered for PCI. */
export async function hasPciDriver({ sysfs }: Roots, name: string): Promise<boolean> {
  return (await stat(`${sysfs}/bus/pci/drivers/${name}`).catch(() => undefined)) !== undefined;
}

/** The devices of an IOMMU group. */
export async function groupDevices({ sysfs }: Roots, group: string): Promise<string[]> {
  return await namesIn(`${sysfs}/kernel/iommu_groups/${group}/devices`);
}
