/** A VF whose PF is reached only through files moves to an emulated one and back, under load. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { EmulatedHost } from '../../src/app/emulated-host.ts';
import { GuestLoad } from '../../src/app/guest-load.ts';
import type { MigrationFault } from '../../src/base/fault.ts';
import { migrate } from '../../src/migration/session.ts';
import { foreignEventFds } from '../../src/sys/eventfd.ts';
import { MIG_STATE } from '../../src/vfio/migration-state.ts';
import { XeVfioPci } from '../../src/xe-vfio-pci/xe-vfio-pci.ts';
import {
  alsoClose,
  closeMachines,
  noFuse,
  type ServedMachine,
  serveMachine,
  skipNote,
} from '../support/fuse/machines.ts';
import { attachGuest, guestRam } from '../support/guest-attach.ts';
import { waitFor } from '../support/wait-for.ts';

const MIB = 2 ** 20;

afterEach(closeMachines);

async function openReal(served: ServedMachine): Promise<XeVfioPci> {
  const pf = await served.openVf(1);
  return await XeVfioPci.open({
    pciFunction: served.machine.gpu.vf(1),
    pf,
    vfid: 1,
    eventFds: foreignEventFds,
  });
}

describe.skipIf(noFuse)(`a VF behind files${skipNote}`, () => {
  test.each([
    ['bmg', 12 * MIB],
    ['ptl', 0],
  ] as const)('moves to an emulated %s and back, under load', async (platform, vram) => {
    const served = serveMachine({ platform }, 1, vram);
    const { ggttSize } = served.machine.pf.vfConfig(1);
    const host = await EmulatedHost.create({
      platform,
      vfs: 1,
      ggttSize,
      ...(vram > 0 ? { vramSize: vram } : {}),
    });
    alsoClose(() => host.close());
    const [real, emulated] = [await openReal(served), await host.open(1)];
    const ram = guestRam(alsoClose);
    const place = attachGuest(real, ram, alsoClose);
    const load = await GuestLoad.boot(...place, 7);
    for (let n = 0; n < 60; n++) await load.round();

    await migrate(
      { device: real },
      { device: emulated },
      {
        beforePhase: async (phase) => {
          if (phase === 'run') expect(host.digests(1)).toEqual(served.machine.digests(1));
        },
      },
    );
    await load.move(...attachGuest(emulated, ram, alsoClose), 1);
    for (let n = 0; n < 40; n++) await load.round();
    await migrate(
      { device: emulated },
      { device: real },
      {
        beforePhase: async (phase) => {
          if (phase === 'run') expect(served.machine.digests(1)).toEqual(host.digests(1));
        },
      },
    );
    await load.move(...place, 1);
    const sent = load.counts.gucMessages;
    for (let n = 0; n < 40; n++) await load.round();

    expect(load.counts.gucMessages).toBeGreaterThan(sent);
    expect(await real.migrationState()).toBe(MIG_STATE.RUNNING);
    expect(served.machine.debugfs.hazards).toEqual([]);
    expect(served.machine.debugfs.calls.filter((call) => !call.endsWith('reset'))).toEqual(
      ['pause', 'save', 'save-end', 'pause', 'restore', 'restore-end', 'resume'].map(
        (call) => `vf1/${call}`,
      ),
    );
  });

  test('runs on when the target refuses its state, and takes it at a second try', async () => {
    const served = serveMachine({}, 1);
    const { ggttSize } = served.machine.pf.vfConfig(1);
    const target = async (contexts?: number) => {
      const host = await EmulatedHost.create({
        platform: 'bmg',
        vfs: 1,
        ggttSize,
        vramSize: 4 * MIB,
        contexts,
      });
      alsoClose(() => host.close());
      return await host.open(1);
    };
    const real = await openReal(served);
    const ram = guestRam(alsoClose);
    const load = await GuestLoad.boot(...attachGuest(real, ram, alsoClose), 9);
    for (let n = 0; n < 80; n++) await load.round();
    const fault = (await migrate({ device: real }, { device: await target(64) }).catch(
      (error: unknown) => error,
    )) as MigrationFault;
    expect(fault).toMatchObject({ code: 'EIO', ends: { source: 'running', target: 'reset' } });
    await load.round();
    await migrate({ device: real }, { device: await target() });
    expect(served.machine.debugfs.hazards).toEqual([]);
  });

  test('whose holder is killed while it sleeps in the PF is free, and healed', async () => {
    const served = serveMachine({}, 1);
    const { machine, server, root } = served;
    const lockDirectory = `${machine.options.runDirectory}/xe-vfio`;
    const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));
    const child = spawn(
      process.execPath,
      [
        '--import',
        file('../support/ts-loader.mjs'),
        file('./holder-child.ts'),
        root,
        lockDirectory,
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    alsoClose(() => void child.kill('SIGKILL'));
    await once(child.stdout, 'data');
    await expect(served.openVf(1)).rejects.toMatchObject({
      code: 'EBUSY',
      message: expect.stringContaining(String(child.pid)),
    });
    await machine.pf.control.resetVf(1);
    child.stdin.write('go\n');
    await waitFor('it sleeps in the PF', 10_000, () => server.underway > 0 || undefined);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await waitFor('nobody sleeps in the PF', 10_000, () => server.underway === 0 || undefined);

    const host = await EmulatedHost.create({
      platform: 'bmg',
      vfs: 1,
      vramSize: 4 * MIB,
      ggttSize: machine.pf.vfConfig(1).ggttSize,
    });
    alsoClose(() => host.close());
    const real = await openReal(served);
    await migrate({ device: await host.open(1) }, { device: real });
    expect(machine.debugfs.hazards).toEqual([]);
    expect(machine.digests(1).vram).toBe(host.digests(1).vram);
  });
});
