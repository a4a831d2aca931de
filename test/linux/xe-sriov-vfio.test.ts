import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { EmulatedHost } from '../../src/app/emulated-host.ts';
import { LinuxXeSriovVfio } from '../../src/linux/xe-sriov-vfio.ts';
import { migrate } from '../../src/migration/session.ts';
import { MIG_STATE } from '../../src/vfio/migration-state.ts';
import { XeVfioPci } from '../../src/xe-vfio-pci/xe-vfio-pci.ts';
import { FakeMachine, PF } from '../support/fuse/fake-machine.ts';
import { FuseServer } from '../support/fuse/fuse-server.ts';

test('mig', async () => {
  const m = new FakeMachine();
  m.enable(2);
  const s = new FuseServer(m.tree);
  const lockDirectory = await mkdtemp(join(tmpdir(), 'x'));
  const pf = await LinuxXeSriovVfio.open({ pf: PF, vf: 1, sysfs: `${s.path}/sys`, lockDirectory });
  expect(pf.migrationUnsupportedReason()).toBe(undefined);
  console.log(pf.profile);
  const source = await XeVfioPci.open({ pciFunction: m.gpu.vf(1), pf, vfid: 1 });
  const host = await EmulatedHost.create({
    platform: 'bmg',
    vfs: 1,
    vramSize: 16 * 2 ** 20,
    ggttSize: pf.profile.ggttSize,
  });
  const target = await host.open(1);
  console.time('migrate');
  const r = await migrate({ device: source }, { device: target });
  console.timeEnd('migrate');
  console.log(r, m.debugfs.calls, m.debugfs.hazards);
  const back = await migrate({ device: target }, { device: source });
  console.log(m.debugfs.calls, m.debugfs.hazards);
  await pf.close();
  s.close();
});
