/** Every command there is; each file is loaded only when its command runs. */
import type { CommandEntry } from './command.ts';

/** The commands in the order that `--help` shows. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'demo',
    summary: 'migrate an emulated VF under load, and prove that nothing was lost',
    load: () => import('./commands/demo.ts'),
  },
  {
    name: 'serve',
    summary: 'offer a VF on a vfio-user socket',
    load: () => import('./commands/serve.ts'),
  },
  {
    name: 'migrate',
    summary: 'move the state of a VF to another one',
    load: () => import('./commands/migrate.ts'),
  },
  {
    name: 'receive',
    summary: 'take the state of a VF that another host sends',
    load: () => import('./commands/receive.ts'),
  },
  {
    name: 'rehome',
    summary: 'move a served VF to another VF or PF under the guest that uses it',
    load: () => import('./commands/rehome.ts'),
  },
  {
    name: 'save',
    summary: 'save the state of a VF to a file',
    load: () => import('./commands/save.ts'),
  },
  {
    name: 'restore',
    summary: 'restore a file to a VF',
    load: () => import('./commands/restore.ts'),
  },
  {
    name: 'migrate-vm',
    summary: 'move a running VM with a VF from one QEMU to another',
    load: () => import('./commands/migrate-vm.ts'),
  },
  {
    name: 'save-vm',
    summary: 'save a running VM with a VF into a directory',
    load: () => import('./commands/save-vm.ts'),
  },
  {
    name: 'restore-vm',
    summary: 'restore a saved VM into a QEMU that waits for it',
    load: () => import('./commands/restore-vm.ts'),
  },
  {
    name: 'check',
    summary: 'say whether a VF or file would fit into another VF, and why not',
    load: () => import('./commands/check.ts'),
  },
  {
    name: 'inspect',
    summary: 'show the packets of a stream or checkpoint',
    load: () => import('./commands/inspect.ts'),
  },
  {
    name: 'verify',
    summary: 'check a stream or checkpoint, whole or for a target',
    load: () => import('./commands/verify.ts'),
  },
  {
    name: 'diff',
    summary: 'name what differs between two streams or checkpoints',
    load: () => import('./commands/diff.ts'),
  },
  {
    name: 'stats',
    summary: 'show what a served VF was made to do so far',
    load: () => import('./commands/stats.ts'),
  },
  {
    name: 'guest',
    summary: 'boot a stock Linux guest with VFs and exercise them',
    load: () => import('./commands/guest.ts'),
  },
  {
    name: 'list',
    summary: 'show the PFs of this machine and their VFs, with shares and holders',
    load: () => import('./commands/list.ts'),
  },
  {
    name: 'provision',
    summary: 'enable the VFs of a PF and give them their shares',
    load: () => import('./commands/provision.ts'),
  },
  {
    name: 'bind',
    summary: 'give a VF to vfio-pci',
    load: () => import('./commands/bind.ts'),
  },
  {
    name: 'unbind',
    summary: 'take a VF from vfio-pci',
    load: () => import('./commands/unbind.ts'),
  },
  {
    name: 'doctor',
    summary: 'say what of this machine is not fit for VFs, and how to mend it',
    load: () => import('./commands/doctor.ts'),
  },
  {
    name: 'bench',
    summary: 'measure beside yardsticks, as ratios',
    load: () => import('./commands/bench.ts'),
  },
];
