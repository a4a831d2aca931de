/** A stock guest with VFs of a served PF, for tests that need the rig. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, type TestContext } from 'vitest';
import { buildExerciser } from '../../guest/exerciser/build.mjs';
import { findRig } from '../../guest/rig.mjs';
import { type ExerciseResult, runExerciser } from '../../src/app/guest-exerciser.ts';
import { GUEST_PATH } from '../../src/app/guest-initramfs.ts';
import { judgeKernelLog, logLineText } from '../../src/app/guest-log.ts';
import type { GuestRig } from '../../src/app/guest-rig.ts';
import { type GuestDevice, GuestSession } from '../../src/app/guest-session.ts';
import { ServerProcess } from '../../src/app/server-process.ts';

const { rig, reason } = findRig();

/** The rig; without one the test is skipped with the reason. */
export function needRig(context: TestContext): GuestRig {
  if (rig === undefined) return context.skip(reason);
  return rig;
}

/** Whether there is a rig: what tests share is made only then. */
export const hasRig = rig !== undefined;

/** A PF with VFs in a server of its own. */
export class ServedPf {
  readonly directory: string;
  readonly server: ServerProcess;

  private constructor(directory: string, server: ServerProcess) {
    this.directory = directory;
    this.server = server;
  }

  /** @param more options of `xe-vfio serve` */
  static async start(
    platform: string,
    vfs: number,
    more: readonly string[] = [],
  ): Promise<ServedPf> {
    const directory = mkdtempSync(join(tmpdir(), 'xe-vfio-pf-'));
    // Enough for a page of 1 GiB beside what the driver needs.
    const vram = platform === 'bmg' ? ['--vram', '3G'] : [];
    const vf = ['--vfs', String(vfs), '--vf', 'all'];
    const socket = join(directory, 'vf%d.sock');
    const server = await ServerProcess.start([
      ...['--platform', platform, '--socket', socket],
      ...vf,
      ...vram,
      ...more,
    ]);
    return new ServedPf(directory, server);
  }

  socket(vfid: number): string {
    return join(this.directory, `vf${vfid}.sock`);
  }

  async stop(): Promise<void> {
    await this.server.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** A guest that has booted and loaded xe. */
export class GuestUnderTest {
  readonly session: GuestSession;
  readonly #directory: string;
  /** The VFs in the order of their sockets. */
  readonly devices: readonly GuestDevice[];

  private constructor(session: GuestSession, directory: string, devices: readonly GuestDevice[]) {
    this.session = session;
    this.#directory = directory;
    this.devices = devices;
  }

  /** @param sockets of the VFs that the guest gets */
  static async boot(
    from: GuestRig,
    sockets: readonly string[],
    discrete: boolean,
  ): Promise<GuestUnderTest> {
    const directory = mkdtempSync(join(tmpdir(), 'xe-vfio-guest-'));
    const exerciser = buildExerciser(from.root, join(from.directory, 'exerciser'));
    const session = await GuestSession.start({
      rig: from,
      directory,
      vfSockets: sockets,
      discrete,
      files: [{ path: GUEST_PATH.EXERCISER, from: exerciser }],
    });
    try {
      await session.waitBoot();
      const { devices } = await session.waitProbe();
      return new GuestUnderTest(session, directory, devices);
    } catch (error) {
      await session.kill();
      rmSync(directory, { recursive: true, force: true });
      throw error;
    }
  }

  /** A VF by its place among the sockets. */
  device(index: number): GuestDevice {
    const device = this.devices[index];
    if (device === undefined) throw new Error(`the guest has no VF ${index}`);
    return device;
  }

  /** Runs a command that must succeed. */
  async must(command: string): Promise<string> {
    const { status, output } = await this.session.run(command);
    if (status !== 0) throw new Error(`${command}: exit status ${status}\n${output}`);
    return output;
  }

  /** Runs cases of the exerciser, all of them unless named, on the VF. */
  async exercise(index: number, list = ''): Promise<ExerciseResult> {
    const device = (await this.session.devices())[index];
    if (device?.renderNode === undefined) throw new Error(`VF ${index} has no render node`);
    return await runExerciser(this.session, device.renderNode, list, () => {});
  }

  /** Fails when there is an error, a warning or worse in the kernel log that is not on the list. */
  async expectCleanLog(): Promise<void> {
    const addresses = this.devices.map(({ address }) => address);
    const { unexpected } = judgeKernelLog(await this.session.dmesg(), addresses);
    expect(unexpected.map(logLineText)).toEqual([]);
  }

  /** Switches the guest off. */
  async end(): Promise<void> {
    await this.session.powerOff();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** The names and words of the cases that failed. */
export function failures({ cases }: ExerciseResult): string[] {
  return cases
    .filter(({ outcome }) => outcome === 'FAIL')
    .map(({ name, detail }) => `${name}: ${detail}`);
}
