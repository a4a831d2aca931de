/** The use case provision: enable, disable and size the VFs of a PF. */
import { machineAt } from '../linux/sysfs-machine.ts';
import { parseBdf } from '../linux/sysfs-pci.ts';
import { type ProvisionRequest, planProvision } from '../linux/xe-provision.ts';
import { type Change, makeChange } from './provision-change.ts';

export type { SchedPriority } from '../linux/xe-provision.ts';

/** How it is to be done. */
export interface ProvisionOptions extends ProvisionRequest {
  readonly root?: string | undefined;
  readonly dryRun?: boolean | undefined;
}

/** What became of it. */
export interface ProvisionResult extends Change {
  readonly pf: string;
  /** VFs that are enabled now, or would be. */
  readonly vfs: number;
}

/** Changes the VFs of a PF. @throws {Fault} what `planProvision` and `makeChange` throw */
export async function provision(options: ProvisionOptions): Promise<ProvisionResult> {
  const { root, dryRun = false } = options;
  const pf = parseBdf(options.pf);
  const plan = await planProvision(machineAt(root), { ...options, pf });
  return { pf, vfs: plan.vfs, ...(await makeChange(plan.steps, dryRun)) };
}
