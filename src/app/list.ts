/** The use case list: the PFs of this machine and their VFs. */
import { machineAt } from '../linux/sysfs-machine.ts';
import { inventory, type PfInventory } from '../linux/xe-inventory.ts';

export type { PfInventory, VfInventory } from '../linux/xe-inventory.ts';

/**
 * Looks at every PF; changes nothing.
 * @param root where the machine's /sys, /proc, /dev and /run are, `/` unless given
 */
export async function listPfs(root?: string): Promise<PfInventory[]> {
  return await inventory(machineAt(root));
}
