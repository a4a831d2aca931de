/** Stock Linux guests with VFs of an emulated PF, out of the guest rig (docs/guest-rig.md). */
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GUEST_PATH } from '../../src/app/guest-initramfs.ts';
import { guestShell } from '../../src/app/guest-shell.ts';
import { PLATFORMS } from '../../src/xe/platforms.ts';
import {
  failures,
  GuestUnderTest,
  hasRig,
  needRig,
  ServedPf,
} from '../support/guest-under-test.ts';
import { lastDocument, runCli } from './cli.ts';

/** All cases take a minute or two under TCG; a machine that is busy with others needs more. */
const EXERCISER_TIMEOUT_MS = 900_000;
/** Cases that show in a second that a VF works. */
const QUICK = 'query,store';
/** Turns of the two VFs on the engines. */
const QUANTA_MS = [8, 24] as const;

describe.each(['ptl', 'bmg'] as const)('a stock guest with two %s VFs', (platform) => {
  const { discrete } = PLATFORMS[platform];
  let pf: ServedPf | undefined;
  let guest: GuestUnderTest | undefined;

  beforeAll(async () => {
    if (!hasRig) return;
    pf = await ServedPf.start(platform, 2, ['--exec-quantum', QUANTA_MS.join(',')]);
  });

  afterAll(async () => {
    await guest?.end();
    await pf?.stop();
  });

  function running(): GuestUnderTest {
    if (guest === undefined) throw new Error('the guest did not boot');
    return guest;
  }

  it('boots, and xe probes both cleanly', async (context) => {
    const rig = needRig(context);
    if (pf === undefined) throw new Error('the PF is not served');
    guest = await GuestUnderTest.boot(rig, [pf.socket(1), pf.socket(2)], discrete);
    expect(guest.devices.map(({ driver, renderNode }) => [driver, renderNode])).toEqual([
      ['xe', 'renderD128'],
      ['xe', 'renderD129'],
    ]);
    await guest.expectCleanLog();
    for (const vfid of [1, 2]) {
      const { faults, gucMessages } = await pf.server.ask({ op: 'counters', vfid });
      // The driver lets a watchdog run out on purpose, once for each class of engines.
      expect(faults).toEqual({ WATCHDOG: expect.any(Number) });
      expect(gucMessages.mailbox).toMatchObject({ VF2GUC_MATCH_VERSION: expect.any(Number) });
    }
  });

  it('obeys many commands, one after the other and at once', async (context) => {
    needRig(context);
    const { session } = running();
    for (let round = 0; round < 10; round++) {
      const results = await Promise.all(
        [0, 1, 2, 3].map((status) => session.run(`echo ${round}; exit ${status}`)),
      );
      expect(results).toEqual([0, 1, 2, 3].map((status) => ({ status, output: `${round}` })));
    }
    // Much output at once fills the port.
    const { output } = await session.run('seq 20000');
    expect(output.split('\n')).toHaveLength(20000);
  });

  it(
    'passes the exerciser whole',
    async (context) => {
      needRig(context);
      await running().session.mark('exercise');
      const result = await running().exercise(0);
      expect(failures(result)).toEqual([]);
      expect(result.ok).toBe(true);
      await running().expectCleanLog();
    },
    EXERCISER_TIMEOUT_MS,
  );

  it('works on both at once', async (context) => {
    needRig(context);
    const results = await Promise.all([0, 1].map((index) => running().exercise(index, QUICK)));
    expect(results.flatMap(failures)).toEqual([]);
    expect(results.map(({ ok }) => ok)).toEqual([true, true]);
  });

  it('gives both their shares of an engine', async (context) => {
    needRig(context);
    const devices = [0, 1].map(
      (index) => `--device /dev/dri/${running().device(index).renderNode}`,
    );
    const output = await running().must(`${GUEST_PATH.EXERCISER} --spin 3 ${devices.join(' ')}`);
    const laps = [...output.matchAll(/^laps \S+ (\d+)$/gm)].map(([, count]) => Number(count));
    expect(laps).toHaveLength(2);
    const [first = 0, second = 0] = laps;
    const ratio = second / first / (QUANTA_MS[1] / QUANTA_MS[0]);
    // With equal shares it would be 0.33.
    expect(ratio).toBeGreaterThan(0.6);
    expect(ratio).toBeLessThan(1.6);
  });

  it('lets go of a VF and takes it back ten times, and the other VF works on', async (context) => {
    needRig(context);
    await running().session.mark('rebind');
    const { address } = running().device(0);
    for (let round = 1; round <= 10; round++) {
      await running().must(`echo ${address} >/sys/bus/pci/drivers/xe/unbind`);
      await running().must(`echo ${address} >/sys/bus/pci/drivers/xe/bind`);
    }
    const results = await Promise.all([0, 1].map((index) => running().exercise(index, QUICK)));
    expect(results.flatMap(failures)).toEqual([]);
    await running().expectCleanLog();
  });

  it('works again after a function level reset', async (context) => {
    needRig(context);
    await running().session.mark('flr');
    const { address } = running().device(0);
    const device = `/sys/bus/pci/devices/${address}`;
    expect(await running().must(`cat ${device}/reset_method`)).toContain('flr');
    await running().must(`echo ${address} >/sys/bus/pci/drivers/xe/unbind`);
    await running().must(`echo flr >${device}/reset_method; echo 1 >${device}/reset`);
    await running().must(`echo ${address} >/sys/bus/pci/drivers/xe/bind`);
    const results = await Promise.all([0, 1].map((index) => running().exercise(index, QUICK)));
    expect(results.flatMap(failures)).toEqual([]);
    await running().expectCleanLog();
  });

  it('gives a shell on its console', async (context) => {
    needRig(context);
    const input = new PassThrough();
    const output = new PassThrough();
    const shell = guestShell(running().session, { input, output, columns: 132, rows: 43 });
    input.end('stty size; echo $((6 * 7)) in $(tty)\nexit\n');
    await shell;
    const text = output.setEncoding('utf8').read() as string;
    expect(text).toContain('43 132');
    expect(text).toContain('42 in /dev/ttyS0');
  });

  it('switches itself off', async (context) => {
    needRig(context);
    const { session } = running();
    await session.powerOff();
    expect(await session.ended).toMatchObject({ code: 0, signal: null });
  });
});

describe('several guests on one PF', () => {
  let pf: ServedPf | undefined;
  const guests: GuestUnderTest[] = [];

  beforeAll(async () => {
    if (hasRig) pf = await ServedPf.start('ptl', 2);
  });

  afterAll(async () => {
    for (const guest of guests) await guest.end();
    await pf?.stop();
  });

  it('boot, probe and work side by side', async (context) => {
    const rig = needRig(context);
    if (pf === undefined) throw new Error('the PF is not served');
    const sockets = [pf.socket(1), pf.socket(2)];
    const booted = await Promise.allSettled(
      sockets.map(async (socket) => {
        guests.push(await GuestUnderTest.boot(rig, [socket], false));
      }),
    );
    expect(booted.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled']);
    const results = await Promise.all(guests.map((guest) => guest.exercise(0, QUICK)));
    expect(results.flatMap(failures)).toEqual([]);
    for (const guest of guests) await guest.expectCleanLog();
  });

  it('one that is killed leaves the other alone', async (context) => {
    needRig(context);
    const [first, second] = guests;
    await first?.session.kill();
    const result = await second?.exercise(0, QUICK);
    expect(result && failures(result)).toEqual([]);
    await second?.expectCleanLog();
  });
});

it('a guest whose VF is not served ends with the words of QEMU', async (context) => {
  const rig = needRig(context);
  await expect(GuestUnderTest.boot(rig, ['/nowhere/vf.sock'], false)).rejects.toMatchObject({
    code: 'ENODEV',
    message: expect.stringContaining('/nowhere/vf.sock'),
  });
});

it('xe-vfio guest reports as JSON', async (context) => {
  const rig = needRig(context);
  const ended = await runCli(['guest', '--platform', 'wcl', '--exercise', QUICK, '--json']);
  expect(ended.stderr).not.toContain('error:');
  const document = lastDocument(ended);
  expect(document).toMatchObject({
    schema: 1,
    ok: true,
    platform: 'wcl',
    kernelRelease: rig.kernelRelease,
    times: {
      bootMs: expect.any(Number),
      probeMs: expect.any(Number),
      exerciseMs: expect.any(Number),
    },
    devices: [{ driver: 'xe', renderNode: 'renderD128' }],
    exercises: [{ ok: true, failed: 0 }],
    kernelLog: { unexpected: [] },
    counters: [{ vfid: 1, accesses: { reads: expect.any(Number) } }],
  });
  expect(ended.code).toBe(0);
});
