/** list, provision, bind, unbind and doctor on a machine that is served as files. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import { main } from '../../src/cli/main.ts';
import { PF } from '../support/fuse/fake-machine.ts';
import {
  alsoClose,
  closeMachines,
  noFuse,
  type ServedMachine,
  serveMachine,
  skipNote,
} from '../support/fuse/machines.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const VF1 = '0000:03:00.1';
const VF2 = '0000:03:00.2';

afterEach(closeMachines);

async function run({ root }: { readonly root: string }, ...argv: string[]) {
  let [stdout, stderr] = ['', ''];
  const code = await main([...argv, '--root', root], {
    stdout: { write: (text) => (stdout += text) },
    stderr: { write: (text) => (stderr += text) },
  });
  return { code, stdout, stderr };
}

/** Runs with --json; the document, without `schema`. */
async function json(served: { readonly root: string }, ...argv: string[]) {
  const { code, stdout } = await run(served, ...argv, '--json');
  const { schema, ...document } = JSON.parse(stdout) as Record<string, unknown>;
  expect(schema).toBe(1);
  return { code, document };
}

/** A process that has a file open. */
async function holder(path: string): Promise<number> {
  const script = `require('fs').openSync(process.argv[1], 'r'); console.log('open'); setInterval(() => {}, 1e6)`;
  const child = spawn(process.execPath, ['-e', script, path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  alsoClose(() => void child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child.pid ?? 0;
}

describe.skipIf(noFuse)(`list${skipNote}`, () => {
  test('shows PFs, VFs, shares and holders', async () => {
    const served = serveMachine({}, 2, 64 * MIB);
    served.machine.vf(2).driver = 'vfio-pci';
    served.machine.processes.add(await holder(`${served.root}/dev/vfio/22`));
    await served.openVf(1);
    const { code, stdout, stderr } = await run(served, 'list');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(
      /^PF 0000:03:00\.0, bmg \(8086:e20b\), driver xe, GuC 70\.58\.0, 2 of 7 VFs, can migrate\n/,
    );
    expect(stdout).toMatch(/ 1 {2}0000:03:00\.1 {2}- .*64 MiB.*0 ms.*low .*\(pid \d+\)\n/);
    expect(stdout).toMatch(/ 2 {2}0000:03:00\.2 {2}vfio-pci +22 .*node \(pid \d+\)\n$/);
    const { document } = await json(served, 'list');
    expect(document).toMatchObject({
      pfs: [
        {
          bdf: PF,
          totalVfs: 7,
          vfs: [
            { vfid: 1, vramSize: 64 * MIB, holders: [{ pid: process.pid, through: 'lock' }] },
            { vfid: 2, driver: 'vfio-pci', holders: [{ through: 'vfio' }] },
          ],
        },
      ],
    });
  });

  test('says why a PF cannot migrate, and that there is none', async () => {
    const old = serveMachine({ gucVersion: '70.44.1' }, 1);
    expect((await run(old, 'list')).stdout).toContain('cannot migrate: GuC firmware 70.54.0');
    const shut = serveMachine({ debugfs: false }, 1);
    expect((await run(shut, 'list')).stdout).toContain('migration unknown');
    const empty = mkdtempSync(join(tmpdir(), 'xe-vfio-root-'));
    alsoClose(() => rmSync(empty, { recursive: true }));
    expect((await run({ root: empty }, 'list')).stdout).toContain('no Intel GPU with SR-IOV');
  });
});

describe.skipIf(noFuse)(`provision${skipNote}`, () => {
  const busy = (served: ServedMachine) => served.machine.pf.numVfs;

  test('prints the writes of a dry run, makes none, and then exactly those', async () => {
    const served = serveMachine();
    served.machine.autoprobe = true;
    const flags = ['--vfs', '2', '--vram', '1G', '--exec-quantum', '20', '--priority', 'normal'];
    const dry = await run(served, 'provision', PF, ...flags, '--dry-run');
    const at = `${served.root}/sys/bus/pci/devices/${PF}`;
    expect([dry.code, dry.stderr]).toEqual([0, '']);
    expect(dry.stdout.split('\n')).toEqual([
      `echo 0 > ${at}/sriov_drivers_autoprobe`,
      `echo ${GIB} > ${at}/sriov_admin/vf1/profile/vram_quota`,
      `echo ${GIB} > ${at}/sriov_admin/vf2/profile/vram_quota`,
      `echo 20 > ${at}/sriov_admin/vf1/profile/exec_quantum_ms`,
      `echo 20 > ${at}/sriov_admin/vf2/profile/exec_quantum_ms`,
      `echo normal > ${at}/sriov_admin/.bulk_profile/sched_priority`,
      `echo low > ${at}/sriov_admin/pf/profile/sched_priority`,
      `echo 2 > ${at}/sriov_numvfs`,
      '',
    ]);
    expect([served.machine.writes, busy(served)]).toEqual([[], 0]);

    const { code, document } = await json(served, 'provision', PF, ...flags);
    expect(code).toBe(0);
    expect(document).toMatchObject({ ok: true, pf: PF, vfs: 2, changed: true, dryRun: false });
    expect(served.machine.writes).toHaveLength(8);
    expect(served.machine.pf.vfConfig(2).vramSize).toBe(GIB);
    expect(served.machine.priority).toEqual({ pf: 0, vf: 1 });
    expect(served.machine.vfs.map(({ driver }) => driver)).toEqual([undefined, undefined]);
    expect((await json(served, 'provision', PF, ...flags)).document).toMatchObject({
      changed: false,
      writes: [],
    });
  });

  test('changes one VF, and disables all', async () => {
    const served = serveMachine({}, 2);
    expect((await run(served, 'provision', PF, '--vf', '2', '--preempt-timeout', '500')).code).toBe(
      0,
    );
    expect(served.machine.writes).toEqual(['vf2/preempt_timeout_us=500']);
    expect((await run(served, 'provision', PF, '--vram', '8M')).code).toBe(0);
    expect(served.machine.pf.vfConfig(1).vramSize).toBe(8 * MIB);
    expect((await run(served, 'provision', PF, '--vfs', '0')).code).toBe(0);
    expect(busy(served)).toBe(0);
  });

  test.each([
    ['more than the PF has', ['--vfs', '8'], 1, 'ERANGE'],
    ['other VFs are enabled', ['--vfs', '3'], 5, 'EBUSY'],
    ['a VF beyond them', ['--vf', '3', '--exec-quantum', '1'], 1, 'EINVAL'],
    ['a priority of one VF', ['--vf', '1', '--priority', 'normal'], 5, 'EOPNOTSUPP'],
    ['nothing at all', [], 2, 'EINVAL'],
    ['a priority that only a PF has', ['--priority', 'high'], 2, 'EINVAL'],
  ])('refuses %s', async (_, flags, exit, errno) => {
    const served = serveMachine({}, 2);
    const { code, stderr } = await run(served, 'provision', PF, ...flags);
    expect(code).toBe(exit);
    expect(stderr).toMatch(new RegExp(`^error: .*\ncause: ${errno} .*\nhint: .*\n$`));
    expect(served.machine.writes).toEqual([]);
  });

  test('takes no VF from a process or a driver', async () => {
    const served = serveMachine({}, 2);
    served.machine.vf(1).driver = 'xe';
    const driven = await run(served, 'provision', PF, '--vfs', '0');
    expect(driven.stderr).toContain('VF1 (0000:03:00.1) is driven by xe of this host');
    served.machine.vf(1).driver = 'vfio-pci';
    const pid = await holder(`${served.root}/dev/vfio/21`);
    served.machine.processes.add(pid);
    for (const flags of [
      ['--vfs', '0'],
      ['--vram', '8M'],
    ]) {
      const { code, stderr } = await run(served, 'provision', PF, ...flags);
      expect([code, stderr]).toEqual([5, expect.stringContaining(`node (pid ${pid})`)]);
    }
    expect(served.machine.writes).toEqual([]);
  });

  test.each([
    ['EBUSY', 5, /VF enabling is locked/],
    ['EINVAL', 1, /sriov_numvfs: EINVAL/],
    ['ENOSPC', 1, /do not fit/],
  ] as const)('puts everything back when the kernel answers %s', async (errno, exit, meaning) => {
    const served = serveMachine();
    served.machine.autoprobe = true;
    served.machine.faults.set('sriov_numvfs', new Fault(errno, 'no'));
    const { code, stderr } = await run(served, 'provision', PF, '--vfs', '2', '--vram', '1G');
    expect(code).toBe(exit);
    expect(stderr).toMatch(meaning);
    expect(stderr).toContain('everything was put back');
    expect(served.machine.autoprobe).toBe(true);
    expect(served.machine.writes.slice(-3)).toEqual([
      'vf2/vram_quota=0',
      'vf1/vram_quota=0',
      'sriov_drivers_autoprobe=1',
    ]);
  });

  test('disables VFs that got nothing, and says what could not be put back', async () => {
    const served = serveMachine();
    // Somebody set a quota by hand: the PF gives VFs nothing by itself from then on.
    served.machine.pf.provisioning.setGgtt(7, 2 ** 24);
    const custom = await run(served, 'provision', PF, '--vfs', '2');
    expect(custom.stderr).toContain('provisioning by hand is in force');
    expect(custom.stderr).toContain('restore_auto_provisioning');
    expect(served.machine.vfs).toEqual([]);

    const stuck = serveMachine();
    stuck.machine.faults.set('vf2/vram_quota', new Fault('ENOSPC', 'no'));
    stuck.machine.beforeWrite = (what) => {
      if (what === 'vf2/vram_quota')
        stuck.machine.faults.set('vf1/vram_quota', new Fault('EIO', 'no'));
    };
    const { stderr } = await run(stuck, 'provision', PF, '--vfs', '2', '--vram', '1G');
    expect(stderr).toMatch(
      /there is not so much.*; not put back: echo 0 > .*vf1.*vram_quota \(EIO\)/,
    );
  });

  test('refuses what is no PF of xe', async () => {
    const served = serveMachine({}, 1);
    expect((await run(served, 'provision', VF1, '--vfs', '1')).stderr).toContain('not to xe');
    expect((await run(served, 'provision', '04:00.0', '--vfs', '1')).code).toBe(3);
  });
});

describe.skipIf(noFuse)(`bind and unbind${skipNote}`, () => {
  test('a VF goes to vfio-pci and back, by the writes that a dry run shows', async () => {
    const served = serveMachine({}, 1);
    served.machine.vf(1).driver = 'xe';
    const pci = `${served.root}/sys/bus/pci`;
    expect((await run(served, 'bind', VF1, '--dry-run')).stdout.split('\n')).toEqual([
      `echo vfio-pci > ${pci}/devices/${VF1}/driver_override`,
      `echo ${VF1} > ${pci}/drivers/xe/unbind`,
      `echo ${VF1} > ${pci}/drivers_probe`,
      '',
    ]);
    expect(served.machine.writes).toEqual([]);
    const { code, stdout } = await run(served, 'bind', VF1);
    expect([code, stdout]).toEqual([0, `${VF1} is bound to vfio-pci: /dev/vfio/21\n`]);
    expect(served.machine.vf(1)).toMatchObject({ driver: 'vfio-pci', override: 'vfio-pci' });
    expect((await json(served, 'bind', VF1)).document).toMatchObject({ changed: false });

    expect((await run(served, 'unbind', VF1)).code).toBe(0);
    expect(served.machine.vf(1)).toMatchObject({ driver: undefined, override: undefined });
    await run(served, 'bind', '03:00.1');
    const back = await json(served, 'unbind', VF1, '--probe');
    expect(back.document).toMatchObject({ ok: true, before: 'vfio-pci', changed: true });
    expect(served.machine.vf(1).driver).toBe('xe');
  });

  test.each([
    ['refuses the device', 'vfio-pci', /the driver refuses the device/],
    ['does not take it', undefined, /has driver none/],
  ])('the old driver has its VF back when vfio-pci %s', async (_, refusing, reason) => {
    const served = serveMachine({ probeFails: refusing === undefined ? [] : [refusing] }, 1);
    const vf = served.machine.vf(1);
    vf.driver = 'xe';
    if (refusing === undefined)
      served.machine.beforeWrite = (what) => {
        if (what === 'drivers_probe' && vf.override === 'vfio-pci') vf.override = 'none-such';
      };
    const { code, stderr } = await run(served, 'bind', VF1);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(reason);
    expect(stderr).toContain('everything was put back');
    expect(vf).toMatchObject({ driver: 'xe', override: undefined });
  });

  test.each([
    ['without IOMMU', { iommu: false }, VF1, 5, /intel_iommu=on/],
    ['without the driver', { drivers: ['xe'] }, VF1, 5, /modprobe vfio-pci/],
    ['for a PF', {}, PF, 1, /is no VF/],
    ['for nothing', {}, VF2, 3, /no PCI device/],
    ['for what is no address', {}, 'card0', 1, /no PCI address/],
  ])('does nothing %s', async (_, options, address, exit, reason) => {
    const served = serveMachine(options, 1);
    const { code, stderr } = await run(served, 'bind', address);
    expect([code, stderr]).toEqual([exit, expect.stringMatching(reason)]);
    expect(served.machine.writes).toEqual([]);
  });

  test('takes no VF that is in use, and only from vfio-pci', async () => {
    const served = serveMachine({}, 2);
    served.machine.vf(1).driver = 'vfio-pci';
    served.machine.vf(2).driver = 'xe';
    const pid = await holder(`${served.root}/dev/vfio/21`);
    served.machine.processes.add(pid);
    const held = await run(served, 'unbind', VF1);
    expect([held.code, held.stderr]).toEqual([5, expect.stringContaining(`node (pid ${pid})`)]);
    const foreign = await run(served, 'unbind', VF2);
    expect(foreign.stderr).toContain('bound to xe, not to vfio-pci');
    expect(served.machine.writes).toEqual([]);
  });
});

describe.skipIf(noFuse)(`doctor${skipNote}`, () => {
  interface Check {
    readonly name: string;
    readonly status: string;
    readonly found: string;
    readonly fix?: string;
  }
  const examine = async (options: object, vfs = 0, driver?: string) => {
    const served = serveMachine(options, vfs);
    if (driver !== undefined) served.machine.vf(1).driver = driver;
    const { code, document } = await json(served, 'doctor');
    return { code, checks: document['checks'] as Check[] };
  };

  test('finds nothing wrong with a machine that is ready', async () => {
    const served = serveMachine({}, 1);
    served.machine.vf(1).driver = 'vfio-pci';
    const { code, stdout } = await run(served, 'doctor');
    expect(stdout).not.toMatch(/^(fail|unknown)/m);
    expect(stdout).toMatch(/^ok +kernel +7\.3\.4\+deb13-amd64 +7\.0 or newer$/m);
    expect(stdout).toMatch(/^ok +0000:03:00\.0 guc +70\.58\.0 +70\.54\.0 or newer$/m);
    expect(stdout).toMatch(/^ok +VF1 0000:03:00\.1 +group 21, driver vfio-pci, 4 MiB/m);
    expect(code).toBe(0);
    expect(served.machine.writes).toEqual([]);
  });

  test.each([
    ['kernel', { kernel: '6.12.48-amd64' }, '6.12.48-amd64'],
    ['CONFIG_DRM_XE', { config: 'CONFIG_PCI_IOV=y' }, 'not set'],
    ['vfio access', { config: 'CONFIG_VFIO_GROUP=y' }, 'none'],
    ['module vfio_pci', { drivers: ['xe'] }, 'not loaded'],
    ['iommu', { iommu: false }, 'no IOMMU groups'],
    ['lockdown', { lockdownText: 'none [integrity] confidentiality' }, 'integrity'],
    ['debugfs', { debugfs: false }, 'empty or not readable'],
    [`${PF} guc`, { gucVersion: '70.49.4' }, '70.49.4'],
    [`${PF} migration`, { unsupported: true }, 'disabled'],
    [`${PF} vfs`, {}, '0 of 7 enabled'],
  ])('says what is wrong with %s and how to mend it', async (name, options, found) => {
    const { code, checks } = await examine(options);
    const bad = checks.find((check) => check.name === name);
    expect(bad).toMatchObject({ found: expect.stringContaining(found), fix: expect.any(String) });
    expect(code).toBe(bad?.status === 'warn' ? 0 : 5);
    for (const { status, fix } of checks) expect(fix === undefined).toBe(status === 'ok');
  });

  test('names the command that binds a VF', async () => {
    const { checks } = await examine({}, 1, 'xe');
    expect(checks.find(({ name }) => name === `VF1 ${VF1}`)).toMatchObject({
      status: 'warn',
      fix: `xe-vfio bind ${VF1}`,
    });
  });

  test('records files, and a cycle only of a VF that was named', async () => {
    const served = serveMachine({}, 1);
    const directory = mkdtempSync(join(tmpdir(), 'xe-vfio-record-'));
    alsoClose(() => rmSync(directory, { recursive: true }));
    expect((await run(served, 'doctor', '--record', directory)).code).toBe(0);
    expect(served.machine.debugfs.calls).toEqual([]);
    const read = () => JSON.parse(readFileSync(join(directory, 'record.json'), 'utf8'));
    const files = new Map(
      (read().files as Array<{ path: string }>).map((file) => [file.path, file]),
    );
    expect(files.get('debugfs/sriov/vf1/pause')).toEqual({
      path: 'debugfs/sriov/vf1/pause',
      mode: '0100200',
    });
    expect(files.get('debugfs/gt0/uc/guc_info')).toMatchObject({
      text: expect.stringContaining('found release version 70.58.0'),
    });
    expect(files.get('sysfs/sriov_numvfs')).toMatchObject({ text: '1\n' });

    const { code, stdout } = await run(served, 'doctor', PF, '--record', directory, '--vf', '1');
    expect(code).toBe(0);
    const { cycle } = read();
    expect(cycle.steps.map(({ step }: { step: string }) => step)).toEqual(
      'pause size save read finish resume'.split(' '),
    );
    expect(cycle.packets.map(({ type }: { type: string }) => type)).toEqual(
      'DESCRIPTOR GUC GGTT MMIO VRAM GUC MMIO TRAILER'.split(' '),
    );
    expect(cycle.steps[3].bytes).toBe(cycle.size);
    expect(stdout).toContain('8 packets');
    expect(served.machine.pf.control.states(1)[0]).not.toContain('PAUSED');
    expect((await run(served, 'doctor', '--vf', '1')).code).toBe(2);
  });
});
