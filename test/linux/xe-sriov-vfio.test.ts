import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { DeviceFault, Fault, StreamFault } from '../../src/base/fault.ts';
import type { LinuxXeSriovVfio } from '../../src/linux/xe-sriov-vfio.ts';
import { foreignEventFds } from '../../src/sys/eventfd.ts';
import { XeVfioPci } from '../../src/xe-vfio-pci/xe-vfio-pci.ts';
import { PF } from '../support/fuse/fake-machine.ts';
import {
  alsoClose,
  closeMachines,
  noFuse,
  type ServedMachine,
  serveMachine,
  skipNote,
} from '../support/fuse/machines.ts';
import { goldenBytes, manifest } from '../support/stream-builder.ts';
import { waitFor } from '../support/wait-for.ts';

const MIB = 2 ** 20;
const VRAM = 4 * MIB;

afterEach(closeMachines);

async function readAll(vf: LinuxXeSriovVfio, piece = MIB): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (;;) {
    const views = await vf.dataRead(vf.vfid, piece);
    if (views.length === 0) return Buffer.concat(parts);
    parts.push(...views.map((view) => Buffer.from(view)));
  }
}

async function saved(vf: LinuxXeSriovVfio): Promise<Buffer> {
  await vf.suspendDevice(vf.vfid);
  await vf.stopCopyEnter(vf.vfid);
  const stream = await readAll(vf);
  await vf.stopCopyExit(vf.vfid);
  return stream;
}

/** What the variant driver does around the reset of a VF. */
async function reset({ machine }: ServedMachine, vf: LinuxXeSriovVfio): Promise<void> {
  await vf.flrPrepare(vf.vfid);
  await machine.gpu.vf(vf.vfid).functionLevelReset();
  await vf.waitFlrDone(vf.vfid);
}

/** Fills a VF with something that a reset would clear. */
function fill({ machine }: ServedMachine, vfid: number): void {
  const vf = machine.gpu.vf(vfid);
  const bytes = Uint8Array.from({ length: 4096 }, (_, at) => at % 251);
  for (let at = 0; at < VRAM; at += MIB) vf.barWrite(2, at, bytes, 0, bytes.length);
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'done',
    (error: unknown) => (error as Fault).code,
  );

describe.skipIf(noFuse)(`a VF behind the files of its PF${skipNote}`, () => {
  test('is what its files say', async () => {
    const served = serveMachine({}, 2);
    const vf = await served.openVf(2);
    expect(vf.profile).toEqual({
      platform: 'bmg',
      deviceId: 0xe20b,
      revisionId: 0,
      gucVersion: { major: 70, minor: 58, patch: 0 },
      ...(({ ggttSize, vramSize, contexts, doorbells }) => ({
        ggttSize,
        vramSize,
        contexts,
        doorbells,
      }))(served.machine.pf.vfConfig(2)),
    });
    expect(vf.migrationSupported()).toBe(true);
    // Nothing was done to it.
    expect(served.machine.debugfs.calls).toEqual([]);
  });

  test('announces exactly what it delivers, and that is what the PF made', async () => {
    const served = serveMachine({}, 1);
    const vf = await served.openVf(1);
    fill(served, 1);
    await vf.suspendDevice(1);
    const size = await vf.stopCopySize(1);
    await vf.stopCopyEnter(1);
    const stream = await readAll(vf, 234_567);
    await vf.stopCopyExit(1);
    expect(stream.length).toBe(size);
    expect(stream.equals(await madeByPf(served))).toBe(true);
    expect(served.machine.debugfs.hazards).toEqual([]);
  });

  /** The same state as the emulated PF itself gives it. */
  async function madeByPf({ machine }: ServedMachine): Promise<Buffer> {
    const { sriovVfio } = machine.pf;
    await sriovVfio.stopCopyEnter(1);
    const views = await sriovVfio.dataRead(1, 2 ** 30);
    const bytes = Buffer.concat(views.map((view) => Buffer.from(view)));
    await sriovVfio.stopCopyExit(1);
    return bytes;
  }

  test.each([
    ['of the driver', { unsupported: true }, /disabled/],
    ['that only firmware tells', { gucVersion: '70.53.1' }, /70\.54\.0 or newer.*70\.53\.1/],
    ['because firmware is silent', { gucVersion: '?' }, /does not tell/],
  ])('is not saved on a PF without support, %s', async (_, options, reason) => {
    const served = serveMachine(options, 1);
    const vf = await served.openVf(1);
    expect(vf.migrationUnsupportedReason()).toMatch(reason);
    await vf.suspendDevice(1);
    for (const call of [
      () => vf.stopCopySize(1),
      () => vf.stopCopyEnter(1),
      () => vf.resumeDataEnter(1),
    ])
      expect(await codeOf(call())).toBe('ENOPKG');
    const device = await XeVfioPci.open({
      pciFunction: served.machine.gpu.vf(1),
      pf: vf,
      vfid: 1,
      eventFds: foreignEventFds,
    });
    expect(device.migrationFlags).toBe(0);
    expect(served.machine.debugfs.calls.filter((call) => /save|restore/.test(call))).toEqual([]);
    expect(served.machine.debugfs.hazards).toEqual([]);
  });

  test('has one holder, who is named to the next', async () => {
    const served = serveMachine({}, 2);
    const vf = await served.openVf(1);
    await expect(served.openVf(1)).rejects.toMatchObject({
      code: 'EBUSY',
      message: expect.stringContaining(`held by process ${process.pid}`),
    });
    await served.openVf(2);
    await vf.close();
    await served.openVf(1);
  });

  test('is refused while a program that knows no lock has its data open', async () => {
    const served = serveMachine({}, 1);
    const path = `${served.root}/sys/kernel/debug/dri/${PF}/sriov/vf1/migration_data`;
    const script = `require('fs').openSync(process.argv[1], 'r+'); console.log('open'); setInterval(() => {}, 1e6)`;
    const other = spawn(process.execPath, ['-e', script, path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    alsoClose(() => void other.kill('SIGKILL'));
    await once(other.stdout, 'data');
    await expect(served.openVf(1)).rejects.toMatchObject({
      code: 'EBUSY',
      message: expect.stringContaining(`(pid ${other.pid})`),
    });
    other.kill('SIGKILL');
    await once(other, 'exit');
    await served.openVf(1);
  });

  test.each([
    ['a VF that is not enabled', { vf: 3 }, 'EINVAL'],
    ['what is no address', { pf: 'card0' }, 'EINVAL'],
    ['no device', { pf: '0000:04:00.0' }, 'ENODEV'],
    ['a VF instead of its PF', { pf: '0000:03:00.1' }, 'ENODEV'],
  ])('does not open %s', async (_, options, code) => {
    const served = serveMachine({}, 2);
    expect(await codeOf(served.openVf(1, options))).toBe(code);
  });

  test('says what lockdown means, and a debugfs that is not mounted', async () => {
    const shut = serveMachine(
      { lockdown: true, lockdownText: 'none [integrity] confidentiality' },
      1,
    );
    await expect(shut.openVf(1)).rejects.toMatchObject({
      code: 'EPERM',
      message: expect.stringContaining('kernel lockdown (integrity)'),
      hint: expect.stringContaining('Secure Boot'),
    });
    await expect(serveMachine({ debugfs: false }, 1).openVf(1)).rejects.toMatchObject({
      code: 'ENOENT',
      hint: expect.stringContaining('mount -t debugfs'),
    });
  });

  test('is left alone once it is not enabled any more', async () => {
    const served = serveMachine({}, 2);
    const vf = await served.openVf(2);
    served.machine.vfs = [];
    for (const call of [() => vf.suspendDevice(2), () => vf.error(2), () => vf.stopCopyEnter(2)])
      expect(await codeOf(call())).toBe('EINVAL');
    expect(await codeOf(vf.suspendDevice(1))).toBe('EINVAL');
    // Giving the VF back must pass all the same: disabling waits for it.
    await vf.flrPrepare(2);
    await vf.close();
    expect(served.machine.debugfs.calls).toEqual([]);
  });

  test('runs on, on every GT, when one did not pause', async () => {
    const served = serveMachine({}, 1);
    const vf = await served.openVf(1);
    served.machine.gpu.faults.add({ kind: 'vf-control', gt: 1, command: 1, error: 'EIO' });
    await expect(vf.suspendDevice(1)).rejects.toMatchObject({ code: 'EIO' });
    expect(served.machine.debugfs.calls).toEqual(['vf1/pause', 'vf1/gt0-resume', 'vf1/gt1-resume']);
    for (const state of served.machine.pf.control.states(1)) expect(state).not.toContain('PAUSED');
    await vf.suspendDevice(1);
  });

  test('is failed when it cannot run on or again', async () => {
    const served = serveMachine({}, 1);
    const vf = await served.openVf(1);
    const refuse = (gt: number, command: number) =>
      served.machine.gpu.faults.add({ kind: 'vf-control', gt, command, error: 'EIO' });
    refuse(1, 1);
    refuse(0, 2);
    await expect(vf.suspendDevice(1)).rejects.toBeInstanceOf(DeviceFault);
    await reset(served, vf);
    await vf.suspendDevice(1);
    refuse(1, 2);
    await expect(vf.resumeDevice(1)).rejects.toBeInstanceOf(DeviceFault);
    await reset(served, vf);
    await vf.suspendDevice(1);
    await vf.resumeDevice(1);
  });

  test('is let out of saving early, unharmed', async () => {
    const served = serveMachine({}, 1);
    const vf = await served.openVf(1);
    fill(served, 1);
    const before = served.machine.digests(1);
    await vf.suspendDevice(1);
    await vf.stopCopyEnter(1);
    await vf.dataRead(1, 3 * MIB);
    await vf.stopCopyExit(1);
    await vf.resumeDevice(1);
    expect(served.machine.digests(1)).toEqual(before);
    expect((await saved(vf)).length).toBeGreaterThan(VRAM);
  });

  test('is in error when the PF cannot save it, until it is reset', async () => {
    const served = serveMachine({}, 1);
    const vf = await served.openVf(1);
    await vf.suspendDevice(1);
    served.machine.gpu.faults.add({ kind: 'save-restore', operation: 'save', error: 'EIO' });
    await vf.stopCopyEnter(1);
    expect(await codeOf(readAll(vf))).toBe('EIO');
    await expect(vf.stopCopyExit(1)).rejects.toBeInstanceOf(DeviceFault);
    await reset(served, vf);
    expect((await saved(vf)).length).toBeGreaterThan(VRAM);
  });

  test('wakes its reader with a reset, though the PF does not', async () => {
    const served = serveMachine({}, 1);
    const vf = await served.openVf(1);
    const device = await XeVfioPci.open({
      pciFunction: served.machine.gpu.vf(1),
      pf: vf,
      vfid: 1,
      eventFds: foreignEventFds,
    });
    const data = await device.setMigrationState(3);
    if (data === undefined) throw new Error('no data');
    await data.read(MIB);
    // Somebody else resets the VF: no file tells us, and the next read sleeps.
    await served.machine.pf.control.resetVf(1);
    const reading = codeOf(data.read(2 * VRAM));
    await device.reset();
    expect(await reading).toBe('ENODEV');
    expect(await device.migrationState()).toBe(2);
    await waitFor('nobody sleeps in the PF', 5000, () => served.server.underway === 0 || undefined);
    expect((await saved(vf)).length).toBeGreaterThan(VRAM);
    expect(served.machine.debugfs.hazards).toEqual([]);
    await vf.resumeDevice(1);
    await device.close();
  });

  test('gives up on a PF that gives nothing', async () => {
    const served = serveMachine({}, 1);
    const vf = await served.openVf(1, { stallMs: 300 });
    await vf.suspendDevice(1);
    await vf.stopCopyEnter(1);
    await readAll(vf);
    await vf.stopCopyExit(1);
    await vf.stopCopyEnter(1);
    await served.machine.pf.control.resetVf(1);
    expect(await codeOf(readAll(vf))).toBe('ETIMEDOUT');
    await expect(vf.stopCopyExit(1)).rejects.toBeInstanceOf(DeviceFault);
  });

  test('leaves no half packet to the next restore, whatever ended the save', async () => {
    const served = serveMachine({}, 2);
    const [vf, other] = [await served.openVf(1), await served.openVf(2)];
    fill(served, 2);
    const stream = await saved(other);
    // A reset while a packet of VRAM is half read.
    await vf.suspendDevice(1);
    await vf.stopCopyEnter(1);
    await vf.dataRead(1, 5 * MIB);
    expect(served.machine.debugfs.migration(1).halfPacket).toBe(true);
    await reset(served, vf);
    expect(served.machine.debugfs.migration(1).halfPacket).toBe(false);
    await vf.suspendDevice(1);
    await vf.resumeDataEnter(1);
    await vf.dataWrite(1, stream);
    await vf.resumeDataExit(1);
    expect(served.machine.digests(1).vram).toBe(served.machine.digests(2).vram);
    expect(served.machine.debugfs.hazards).toEqual([]);
  });

  test('heals what a holder that was killed has left behind', async () => {
    const served = serveMachine({}, 2);
    const stream = await saved(await served.openVf(2));
    const lockDirectory = `${served.machine.options.runDirectory}/xe-vfio`;
    const lock = `${lockDirectory}/${PF}-vf1.lock`;
    mkdirSync(lockDirectory, { recursive: true });
    writeFileSync(lock, JSON.stringify({ pid: 1, session: 'save' }));
    const { pf, debugfs } = served.machine;
    await pf.control.operate(1, 'pause');
    debugfs.migration(1).triggerSave();
    await debugfs.migration(1).read(100, new AbortController().signal);
    const vf = await served.openVf(1);
    await reset(served, vf);
    await vf.suspendDevice(1);
    await vf.resumeDataEnter(1);
    await vf.dataWrite(1, stream);
    await vf.resumeDataExit(1);
    expect(debugfs.calls.filter((call) => /vf1.(save|restore)/.test(call))).toEqual([
      'vf1/save',
      'vf1/save-end',
      'vf1/restore',
      'vf1/restore-end',
    ]);
    expect(debugfs.hazards).toEqual([]);
    expect(JSON.parse(readFileSync(lock, 'utf8'))).toEqual({ pid: process.pid, session: null });
  });

  test('waits for a reset that the PF is at, and tells one that failed', async () => {
    const served = serveMachine({}, 1);
    const vf = await served.openVf(1);
    const { faults, calls } = served.machine.debugfs;
    faults.set('vf1/reset', new Fault('EUCLEAN', 'at it'));
    await vf.waitFlrDone(1);
    expect(calls).toEqual(['vf1/reset', 'vf1/reset']);
    faults.set('vf1/reset', new Fault('ETIMEDOUT', 'no answer'));
    expect(await codeOf(vf.waitFlrDone(1))).toBe('ETIMEDOUT');
  });

  test('takes a stream in pieces of any size, and straight into its memory', async () => {
    const served = serveMachine({}, 2, 10 * MIB);
    const [vf, other] = [await served.openVf(1), await served.openVf(2)];
    fill(served, 2);
    const stream = await saved(other);
    for (const piece of [7777, 3 * MIB, stream.length]) {
      await reset(served, vf);
      await vf.suspendDevice(1);
      await vf.resumeDataEnter(1);
      for (let at = 0; at < stream.length; ) {
        const window = vf.dataWindow(1, Math.min(piece, stream.length - at));
        const length = window?.length ?? Math.min(piece, stream.length - at, 24);
        const part = stream.subarray(at, at + length);
        if (window === undefined) await vf.dataWrite(1, part);
        else {
          window.set(part);
          await vf.dataCommit(1, length);
        }
        at += length;
      }
      await vf.resumeDataExit(1);
      await vf.resumeDevice(1);
      expect(served.machine.digests(1).vram).toBe(served.machine.digests(2).vram);
    }
    expect(served.machine.debugfs.hazards).toEqual([]);
  });

  test('is in error after a restore that firmware refuses, until it is reset', async () => {
    const served = serveMachine({}, 2);
    const [vf, other] = [await served.openVf(1), await served.openVf(2)];
    const stream = await saved(other);
    await vf.suspendDevice(1);
    served.machine.gpu.faults.add({ kind: 'save-restore', operation: 'restore', error: 'EIO' });
    await vf.resumeDataEnter(1);
    // The PF takes the packet and says so only later.
    const written = await codeOf(vf.dataWrite(1, stream));
    const ended = await vf.resumeDataExit(1).catch((error: unknown) => error);
    expect(written).toBe('EIO');
    expect(ended).toBeInstanceOf(StreamFault);
    expect(await codeOf(vf.resumeDataEnter(1))).not.toBe('done');
    await reset(served, vf);
    await vf.suspendDevice(1);
    await vf.resumeDataEnter(1);
    await vf.dataWrite(1, stream);
    await vf.resumeDataExit(1);
  });

  test.each(['ptl', 'bmg'] as const)(
    'no golden stream for %s, cut or hostile, reaches the PF with a header that harms it',
    async (platform) => {
      const served = serveMachine({ platform, restoreTimeoutMs: 10 }, 1);
      const vf = await served.openVf(1);
      const streams = manifest.vectors.filter(
        ({ file }) => file.includes('ptl') === (platform === 'ptl'),
      );
      expect(streams.length).toBeGreaterThan(5);
      for (const vector of streams) {
        const { file } = vector;
        await vf.suspendDevice(1);
        await vf.resumeDataEnter(1);
        const written = await codeOf(vf.dataWrite(1, goldenBytes(vector)));
        const ended = await codeOf(vf.resumeDataExit(1));
        expect([file, ended]).not.toEqual([file, 'done']);
        if (written !== 'done') expect(ended).toBe(written);
        await reset(served, vf);
        expect(served.machine.debugfs.migration(1).halfPacket).toBe(false);
      }
      expect(served.machine.debugfs.hazards).toEqual([]);
      expect(served.machine.debugfs.calls).not.toContain('vf1/restore-end');
    },
  );
});
