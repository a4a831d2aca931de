import { afterEach, describe, expect, test } from 'vitest';
import { EmulatedHost, type EmulatedHostOptions } from '../../src/app/emulated-host.ts';
import { GuestLoad } from '../../src/app/guest-load.ts';
import type { MigrationFault } from '../../src/base/fault.ts';
import { migrate } from '../../src/migration/session.ts';
import { MIG_STATE } from '../../src/vfio/migration-state.ts';
import type { VfioDevice } from '../../src/vfio/vfio-device.ts';
import { attachGuest, guestRam } from '../support/guest-attach.ts';

const MIB = 2 ** 20;
const closers: Array<() => void> = [];

afterEach(() => {
  for (const close of closers.splice(0).reverse()) close();
});

async function host(options: EmulatedHostOptions): Promise<EmulatedHost> {
  const made = await EmulatedHost.create(options);
  closers.push(() => made.close());
  return made;
}

const closing = (close: () => void) => void closers.push(close);
const ramOfGuest = () => guestRam(closing);
const attach = (device: VfioDevice, ram: Uint8Array) => attachGuest(device, ram, closing);

describe.each(['bmg', 'ptl', 'wcl'] as const)('%s', (platform) => {
  const vram = platform === 'bmg' ? { vramSize: 64 * MIB } : {};

  test('a VF under load arrives whole, at another place of another PF', async () => {
    const a = await host({ platform, vfs: 2, ...vram });
    const b = await host({ platform, vfs: 2, ...vram });
    const source = await a.open(1);
    const target = await b.open(2);
    const ram = ramOfGuest();
    const load = await GuestLoad.boot(...attach(source, ram), 12345);
    for (let n = 0; n < 200; n++) await load.round();
    const fresh = b.digests(2);

    const result = await migrate(
      { device: source, profile: a.profile(1) },
      { device: target, profile: b.profile(2) },
      {
        beforePhase: async (phase) => {
          if (phase !== 'run') return;
          expect(b.digests(2)).toEqual(a.digests(1));
        },
      },
    );

    expect(await source.migrationState()).toBe(MIG_STATE.STOP);
    expect(await target.migrationState()).toBe(MIG_STATE.RUNNING);
    expect(result.streamBytes).toBeGreaterThan(a.profile(1).vramSize ?? 0);
    const moved = b.digests(2);
    for (const resource of ['ggtt', 'mmio', 'guc'] as const)
      expect(moved[resource]).not.toBe(fresh[resource]);
    expect(moved.vram === fresh.vram).toBe(platform !== 'bmg');
    expect(load.counts.gucMessages).toBeGreaterThan(1000);

    // The guest goes on with what its GuCs were told before.
    await load.move(...attach(target, ram), 1);
    const sent = load.counts.gucMessages;
    for (let n = 0; n < 100; n++) await load.round();
    expect(load.counts.gucMessages).toBe(sent + 600);
    expect(b.digests(2).guc).not.toBe(moved.guc);
  });

  test('goes back when the target refuses, and the load goes on', async () => {
    const a = await host({ platform, vfs: 1, ...vram });
    const b = await host({ platform, vfs: 1, contexts: 64, ...vram });
    const source = await a.open(1);
    const target = await b.open(1);
    const load = await GuestLoad.boot(...attach(source, ramOfGuest()), 99);
    for (let n = 0; n < 80; n++) await load.round();
    // Without profiles nothing is compared: firmware of the target finds the contexts out.
    const fault = (await migrate({ device: source }, { device: target }).catch(
      (error: unknown) => error,
    )) as MigrationFault;
    expect(fault).toMatchObject({ code: 'EIO', ends: { source: 'running', target: 'reset' } });
    await load.round();
    expect(await target.migrationState()).toBe(MIG_STATE.RUNNING);
  });
});

describe('quanta of an emulated PF', () => {
  const two = { platform: 'ptl', vfs: 2 } as const;

  test('can differ from VF to VF', async () => {
    using host = await EmulatedHost.create({ ...two, execQuantaMs: [8, 24] });
    const quanta = [1, 2].map((vfid) => host.pf.vfConfig(vfid).execQuantumMs);
    expect(quanta).toEqual([8, 24]);
  });

  test('are for every VF or for none', async () => {
    await expect(EmulatedHost.create({ ...two, preemptTimeoutsUs: [8] })).rejects.toThrow(
      expect.objectContaining({ code: 'EINVAL' }),
    );
  });
});

test('VRAM is refused on an integrated part', async () => {
  await expect(EmulatedHost.create({ platform: 'ptl', vfs: 1, vramSize: MIB })).rejects.toThrow(
    expect.objectContaining({ code: 'EPERM' }),
  );
});
