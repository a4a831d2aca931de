/**
 * A process that opens a VF through its files, begins to save it, lets it be reset and then sleeps in
 * the PF for ever. Arguments: root of the machine's files, lock directory.
 */
import { LinuxXeSriovVfio } from '../../src/linux/xe-sriov-vfio.ts';

const [root, lockDirectory] = process.argv.slice(2);
const vf = await LinuxXeSriovVfio.open({
  pf: '0000:03:00.0',
  vf: 1,
  sysfs: `${root}/sys`,
  lockDirectory,
});
await vf.suspendDevice(1);
await vf.stopCopyEnter(1);
await vf.dataRead(1, 1000);
process.stdout.write('reading\n');
process.stdin.once('data', () => void vf.dataRead(1, 2 ** 24));
setInterval(() => {}, 1e6);
