/** Machines that are served as files while a test runs. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  LinuxXeSriovVfio,
  type LinuxXeSriovVfioOptions,
} from '../../../src/linux/xe-sriov-vfio.ts';
import { FakeMachine, type FakeMachineOptions, PF } from './fake-machine.ts';
import { fuseUnavailable } from './fuse-mount.ts';
import { FuseServer } from './fuse-server.ts';

/** Why tests that need FUSE are skipped; undefined when they run. */
export const noFuse = fuseUnavailable();
/** For the names of tests: says why they are skipped. */
export const skipNote = noFuse === undefined ? '' : ` (skipped: ${noFuse})`;

/** A machine and where its files are. */
export interface ServedMachine {
  readonly machine: FakeMachine;
  readonly server: FuseServer;
  /** The root of the machine's files. */
  readonly root: string;
  /** Opens a VF of the machine through its files. */
  openVf(vf: number, options?: Partial<LinuxXeSriovVfioOptions>): Promise<LinuxXeSriovVfio>;
}

const closers: Array<() => Promise<void> | void> = [];

/** Closes everything that this file made; for `afterEach`. */
export async function closeMachines(): Promise<void> {
  for (const close of closers.splice(0).reverse()) await close();
}

/** Has something closed with the machines. */
export function alsoClose(close: () => Promise<void> | void): void {
  closers.push(close);
}

/**
 * Makes a machine and serves it.
 * @param vfs VFs that are enabled, without a driver of the host
 * @param vram bytes of each, on a discrete part
 */
export function serveMachine(
  options: FakeMachineOptions = {},
  vfs = 0,
  vram = 4 * 2 ** 20,
): ServedMachine {
  const runDirectory = mkdtempSync(join(tmpdir(), 'xe-vfio-run-'));
  const machine = new FakeMachine({ runDirectory, ...options });
  const server = new FuseServer(machine.tree);
  closers.push(() => {
    server.close();
    machine.close();
    rmSync(runDirectory, { recursive: true });
  });
  machine.autoprobe = false;
  if (vfs > 0) machine.enable(vfs, vram);
  return {
    machine,
    server,
    root: server.path,
    openVf: async (vf, given = {}) => {
      const pf = await LinuxXeSriovVfio.open({
        pf: PF,
        vf,
        sysfs: `${server.path}/sys`,
        lockDirectory: join(runDirectory, 'xe-vfio'),
        ...given,
      });
      closers.push(() => pf.close());
      return pf;
    },
  };
}
