/** The use cases bind and unbind: a VF to vfio-pci, and back. */
import { planBind, planUnbind } from '../linux/sysfs-bind.ts';
import { machineAt } from '../linux/sysfs-machine.ts';
import { parseBdf } from '../linux/sysfs-pci.ts';
import { type Change, makeChange } from './provision-change.ts';

/** How it is to be done. */
export interface BindOptions {
  readonly root?: string | undefined;
  readonly dryRun?: boolean | undefined;
}

/** What became of it. */
export interface BindResult extends Change {
  readonly bdf: string;
  /** The driver before. */
  readonly before: string | undefined;
  readonly iommuGroup: string | undefined;
}

/** Gives a VF to vfio-pci. @throws {Fault} what `planBind` and `makeChange` throw */
export async function bindVf(address: string, options: BindOptions = {}): Promise<BindResult> {
  const bdf = parseBdf(address);
  const { device, steps } = await planBind(machineAt(options.root), bdf);
  const change = await makeChange(steps, options.dryRun ?? false);
  return { bdf, before: device.driver, iommuGroup: device.iommuGroup, ...change };
}

/**
 * Takes a VF from vfio-pci.
 * @param options.probe lets a driver of this host have it
 * @throws {Fault} what `planUnbind` and `makeChange` throw
 */
export async function unbindVf(
  address: string,
  options: BindOptions & { readonly probe?: boolean | undefined } = {},
): Promise<BindResult> {
  const bdf = parseBdf(address);
  const { device, steps } = await planUnbind(machineAt(options.root), bdf, options.probe ?? false);
  const change = await makeChange(steps, options.dryRun ?? false);
  return { bdf, before: device.driver, iommuGroup: device.iommuGroup, ...change };
}
