/** Stock QEMU with `vfio-user-pci` on a served VF, out of the guest rig (docs/guest-rig.md). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { findRig, type Rig } from '../../guest/rig.mjs';
import { GTTMMADR, PCI_VENDOR_ID_INTEL, PLATFORMS, XE_BAR } from '../../src/xe/platforms.ts';
import { memfdMappings, openDescriptors, openMemfds } from '../support/process-resources.ts';
import { QemuProcess, type QmpPciDevice } from '../support/qemu-process.ts';
import { ServeProcess } from '../support/serve-process.ts';
import { waitFor } from '../support/wait-for.ts';
import { runCli } from './cli.ts';

const DEVICE_ID = 'vf';
const VRAM_BYTES = 256 * 2 ** 20;
/** What QEMU calls the memfd of `memory-backend-memfd`. */
const GUEST_MEMORY_NAME = 'memory-backend-memfd';
const GUEST_MEMORY_BYTES = 256 * 2 ** 20;
/** SeaBIOS needs a second or two under TCG. */
const FIRMWARE_TIMEOUT_MS = 60_000;
const CLEANUP_TIMEOUT_MS = 20_000;
const PCI_BASE_CLASS_DISPLAY = 0x03;

/** A VF that is served, and what a guest has to find. */
interface Case {
  readonly platform: 'bmg' | 'ptl';
  readonly deviceId: number;
  readonly args: readonly string[];
  readonly bars: readonly {
    readonly bar: number;
    readonly size: number;
    readonly prefetch: boolean;
    /** Bytes of the BAR that are a memfd: all of VRAM, all of the GGTT's page table. */
    readonly mappedLength: number;
  }[];
}

const GTTMMADR_BAR = {
  bar: XE_BAR.GTTMMADR,
  size: GTTMMADR.size,
  prefetch: false,
  mappedLength: GTTMMADR.ggttEnd - GTTMMADR.ggttStart,
};

const CASES: readonly Case[] = [
  {
    platform: 'bmg',
    deviceId: PLATFORMS.bmg.defaultDeviceId,
    args: ['--ggtt', '1G', '--vram', '256M'],
    bars: [
      GTTMMADR_BAR,
      {
        bar: XE_BAR.LMEM,
        size: VRAM_BYTES,
        prefetch: true,
        mappedLength: VRAM_BYTES,
      },
    ],
  },
  {
    platform: 'ptl',
    deviceId: PLATFORMS.ptl.defaultDeviceId,
    args: ['--ggtt', '1G'],
    bars: [GTTMMADR_BAR],
  },
];

const { rig, reason } = findRig();

/** The rig; without one the test is skipped with the reason. */
function needRig(context: TestContext): Rig {
  if (rig === undefined) return context.skip(reason);
  return rig;
}

/** Whether something is a part of the VF, which outlives every client, and not of a client. */
function isVfMemory(name: string): boolean {
  return name.startsWith('xe-');
}

/** What a server holds for its clients and for itself: descriptors, and mappings of memfds. */
function held(pid: number): unknown {
  return {
    descriptors: openDescriptors(pid).filter((each) => !isVfMemory(each.replace('/memfd:', ''))),
    mappings: memfdMappings(pid)
      .filter(({ name }) => !isVfMemory(name))
      .map(({ name, length, offset }) => `${name} ${offset} ${length}`)
      .sort(),
  };
}

/** The memory of the VF, which the server makes for the first client and then keeps. */
function vfMemory(pid: number): unknown {
  return {
    memfds: openMemfds(pid).filter(({ name }) => isVfMemory(name)),
    mappings: memfdMappings(pid).filter(({ name }) => isVfMemory(name)),
  };
}

describe.each(CASES.map((each) => [each.platform, each] as const))(
  'stock QEMU on a served %s VF',
  (_, expected) => {
    let directory = '';
    let socket = '';
    let server: ServeProcess | undefined;
    let qemu: QemuProcess | undefined;
    let heldBefore: unknown;

    async function startQemu(from: Rig): Promise<QemuProcess> {
      qemu = await QemuProcess.start({ rig: from, socket, deviceId: DEVICE_ID, directory });
      return qemu;
    }

    function running(): { server: ServeProcess; qemu: QemuProcess } {
      if (server === undefined || qemu === undefined) throw new Error('the setup did not finish');
      return { server, qemu };
    }

    beforeAll(async () => {
      if (rig === undefined) return;
      directory = mkdtempSync(join(tmpdir(), 'xe-vfio-qemu-'));
      socket = join(directory, 'vf.sock');
      const platform = ['--platform', expected.platform, '--vfs', '1', '--vf', '1'];
      server = await ServeProcess.start(socket, [...platform, ...expected.args]);
      heldBefore = held(server.pid);
      await startQemu(rig);
    });

    afterAll(async () => {
      await qemu?.kill();
      await server?.stop();
      if (directory !== '') rmSync(directory, { recursive: true, force: true });
    });

    /** The device, once the firmware has given every BAR an address. */
    function assignedDevice(from: QemuProcess): Promise<QmpPciDevice> {
      return waitFor('the firmware assigns the BARs', FIRMWARE_TIMEOUT_MS, async () => {
        const device = await from.pciDevice(DEVICE_ID);
        return device.regions.every((region) => region.address !== undefined) ? device : undefined;
      });
    }

    it('shows the device with its ids and BARs', async (context) => {
      needRig(context);
      const device = await running().qemu.pciDevice(DEVICE_ID);
      expect(device.vendor).toBe(PCI_VENDOR_ID_INTEL);
      expect(device.device).toBe(expected.deviceId);
      expect(device.class >> 8).toBe(PCI_BASE_CLASS_DISPLAY);
      expect(
        device.regions.map(({ bar, size, prefetch, memType64 }) => ({
          bar,
          size,
          prefetch,
          memType64,
        })),
      ).toEqual(
        expected.bars.map(({ bar, size, prefetch }) => ({ bar, size, prefetch, memType64: true })),
      );
    });

    it('lets the firmware assign the BARs', async (context) => {
      needRig(context);
      const device = await assignedDevice(running().qemu);
      for (const { address, size } of device.regions) {
        expect(address).toBeGreaterThan(GUEST_MEMORY_BYTES);
        // A BAR is naturally aligned.
        expect((address ?? 0) % size).toBe(0);
      }
    });

    it('maps the memfd-backed parts of the BARs', (context) => {
      needRig(context);
      const { server, qemu } = running();
      const served = new Set(
        openMemfds(server.pid)
          .filter(({ name }) => isVfMemory(name))
          .map(({ inode }) => inode),
      );
      const parts = memfdMappings(qemu.pid).filter(({ inode }) => served.has(inode));
      expect(parts.map(({ permissions }) => permissions)).toEqual(expected.bars.map(() => 'rw-s'));
      expect(parts.map(({ length }) => length).sort()).toEqual(
        expected.bars.map((bar) => bar.mappedLength).sort(),
      );
    });

    it('has the guest memory mapped in the server', async (context) => {
      needRig(context);
      const { server, qemu } = running();
      await assignedDevice(qemu);
      const guestMemory = new Set(
        openMemfds(qemu.pid)
          .filter(({ name }) => name === GUEST_MEMORY_NAME)
          .map(({ inode }) => inode),
      );
      const inServer = memfdMappings(server.pid).filter(({ inode }) => guestMemory.has(inode));
      expect(inServer.length).toBeGreaterThan(0);
    });

    it('shows who maps the VRAM, so that a pre-copy need not compare all of it', async (context) => {
      needRig(context);
      const { server, qemu } = running();
      const [, vram] = expected.bars;
      if (vram === undefined) return context.skip('this VF has no VRAM');
      await assignedDevice(qemu);
      const file = join(directory, 'vf.xevf');
      const saved = await runCli(['save', socket, file, '--resume', '--json']);
      expect(saved.code).toBe(0);
      const line = server.log.split('\n').find((text) => text.includes('precopy-stopped'));
      const told = JSON.parse(line ?? '{}') as Record<string, unknown>;
      if (told['because'] !== 'the kernel moved or reclaimed memory')
        expect(told).toMatchObject({ find: 'page-tables' });
    });

    it('is ready for the next QEMU after SIGKILL, and keeps nothing of the last', async (context) => {
      const from = needRig(context);
      const { server } = running();
      const vfMemoryBefore = vfMemory(server.pid);
      for (let round = 1; round <= 3; round += 1) {
        await running().qemu.kill();
        await expect
          .poll(() => held(server.pid), { timeout: CLEANUP_TIMEOUT_MS })
          .toEqual(heldBefore);
        expect(vfMemory(server.pid)).toEqual(vfMemoryBefore);
        const next = await assignedDevice(await startQemu(from));
        expect(next.device).toBe(expected.deviceId);
      }
    });
  },
);
