import type { Command } from 'commander';
import { listPfs, type PfInventory, type VfInventory } from '../../app/list.ts';
import { formatSize } from '../../base/size.ts';
import { type CommandContext, examples } from '../command.ts';
import { rootOption } from '../options.ts';
import { formatTable } from '../table.ts';

/** `list`. */
export function define(command: Command, context: CommandContext): void {
  rootOption(command).action(async ({ root }: { readonly root?: string }) => {
    context.doing = 'list';
    const pfs = await listPfs(root);
    context.output.result({ pfs }, () => (pfs.length === 0 ? none() : pfs.flatMap(pfLines)));
  });
  examples(command, ['xe-vfio list', 'xe-vfio list --json']);
}

function none(): string[] {
  return ['no Intel GPU with SR-IOV; xe-vfio doctor says what is missing'];
}

function pfLines(pf: PfInventory): string[] {
  const { bdf, platform, deviceId, driver, gucVersion, numVfs, totalVfs, unsupported } = pf;
  const id = `8086:${deviceId.toString(16).padStart(4, '0')}`;
  const guc = gucVersion && `${gucVersion.major}.${gucVersion.minor}.${gucVersion.patch}`;
  const can = {
    undefined: 'can migrate',
    null: 'migration unknown (debugfs cannot be read)',
  }[String(unsupported)];
  const head = [
    `PF ${bdf}`,
    `${platform ?? 'unknown platform'} (${id})`,
    `driver ${driver ?? 'none'}`,
    ...(guc === undefined ? [] : [`GuC ${guc}`]),
    `${numVfs} of ${totalVfs} VFs`,
    can ?? `cannot migrate: ${unsupported}`,
  ];
  if (pf.vfs.length === 0) return [head.join(', ')];
  return [head.join(', '), ...formatTable(COLUMNS, pf.vfs.map(vfRow)).map((line) => `  ${line}`)];
}

const COLUMNS = [
  { title: 'VF', align: 'right' },
  { title: 'address' },
  { title: 'driver' },
  { title: 'group', align: 'right' },
  { title: 'VRAM', align: 'right' },
  { title: 'GGTT', align: 'right' },
  { title: 'contexts', align: 'right' },
  { title: 'doorbells', align: 'right' },
  { title: 'quantum', align: 'right' },
  { title: 'preempt', align: 'right' },
  { title: 'priority' },
  { title: 'held by' },
] as const;

function vfRow(vf: VfInventory): string[] {
  const size = (bytes: number | undefined) => (bytes === undefined ? '-' : formatSize(bytes));
  const count = (value: number | undefined, unit = '') =>
    value === undefined ? '-' : `${value}${unit}`;
  return [
    String(vf.vfid),
    vf.bdf,
    vf.driver ?? '-',
    vf.iommuGroup ?? '-',
    size(vf.vramSize),
    size(vf.ggttSize),
    count(vf.contexts),
    count(vf.doorbells),
    count(vf.execQuantumMs, ' ms'),
    count(vf.preemptTimeoutUs, ' us'),
    vf.schedPriority ?? '-',
    vf.holders.map(({ pid, name }) => `${name} (pid ${pid})`).join(', ') || '-',
  ];
}
