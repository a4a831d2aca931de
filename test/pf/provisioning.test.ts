import { describe, expect, it } from 'vitest';
import { Fault } from '../../src/base/fault.ts';
import type { ProvisioningProfile } from '../../src/pf/provisioning-profile.ts';
import { decodeKlvs } from '../../src/xe/guc/klv.ts';
import { VF_CFG_KLV } from '../../src/xe/guc/pf-actions.ts';
import { GoldenDevice } from './golden-device.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return error instanceof Fault ? error.code : 'not a fault';
  }
}

function namesOf(klvs: Uint32Array): string[] {
  const specs = Object.entries(VF_CFG_KLV);
  return [...decodeKlvs(klvs)].map(
    ({ key }) => specs.find(([, spec]) => spec.key === key)?.[0] ?? 'unknown',
  );
}

/** What firmware of a GT was told last, as `name=value`. */
function lastConfigs(device: GoldenDevice, gt: number, count: number): string[] {
  const configs = device.gts[gt]?.guc.configs.slice(-count) ?? [];
  return configs.map((klvs) => {
    const values = [...decodeKlvs(klvs)].map(({ value }) => value[0]);
    return namesOf(klvs)
      .map((name, at) => `${name}=${values[at]}`)
      .join(' ');
  });
}

describe('enabling VFs', () => {
  it('shares everything out fairly', () => {
    const { pf } = new GoldenDevice('bmg', { vfs: 4, profile: {} });
    const { ggttStart, ...config } = pf.vfConfig(4);
    expect(config).toEqual({
      ggttSize: 512 * MIB,
      vramSize: 2 * GIB,
      contexts: 8192,
      doorbells: 32,
      execQuantumMs: 16,
      preemptTimeoutUs: 16_000,
    });
    expect(ggttStart % (2 * MIB)).toBe(0);
    for (const vfid of [1, 2, 3, 4]) expect(pf.provisioning.validity(vfid)).toBeUndefined();
  });

  it('shares out to 63 VFs on GGTT regions whose PTE pages can be mapped', () => {
    const { pf } = new GoldenDevice('ptl', { vfs: 63, profile: {} });
    const starts = Array.from({ length: 63 }, (_, n) => pf.vfConfig(n + 1).ggttStart);
    expect(starts.every((start) => start % (2 * MIB) === 0)).toBe(true);
    expect(new Set(starts).size).toBe(63);
    expect(pf.vfConfig(63)).toMatchObject({ ggttSize: 56 * MIB, contexts: 1024, doorbells: 4 });
  });

  it('gives more when the PF renders nothing', () => {
    const { pf } = new GoldenDevice('bmg', { vfs: 1, profile: {}, adminOnly: true });
    expect(pf.vfConfig(1)).toMatchObject({
      ggttSize: 3584 * MIB,
      vramSize: 11 * GIB,
      contexts: 64_512,
      doorbells: 240,
    });
  });

  it('gives less than the profile where there is less', () => {
    const { pf } = new GoldenDevice('bmg', { vfs: 0, vramUsable: 3 * GIB });
    pf.provisioning.setSpare('vram', 2560 * MIB);
    pf.provisioning.setSpare('doorbells', 250);
    pf.enableVfs(2);
    expect(pf.vfConfig(1)).toMatchObject({ vramSize: 256 * MIB, doorbells: 3 });
  });

  it('takes what the profile says', () => {
    const profile: ProvisioningProfile = {
      ggttSize: 5000,
      vramSize: 3 * MIB,
      contexts: 100,
      doorbells: 0,
      execQuantumMs: 200_000,
      preemptTimeoutUs: 0,
    };
    const { pf } = new GoldenDevice('bmg', { vfs: 2, profile });
    expect(pf.vfConfig(2)).toMatchObject({
      ggttSize: 8192,
      vramSize: 4 * MIB,
      contexts: 100,
      doorbells: 0,
      execQuantumMs: 100_000,
      preemptTimeoutUs: 0,
    });
    expect(pf.provisioning.validity(2)).toBeUndefined();
  });

  it('is refused as Linux refuses it', async () => {
    const device = new GoldenDevice('ptl', { vfs: 0 });
    const { pf } = device;
    expect(codeOf(() => pf.enableVfs(-1))).toBe('EINVAL');
    expect(codeOf(() => pf.enableVfs(0))).toBe('EINVAL');
    expect(codeOf(() => pf.enableVfs(64))).toBe('ERANGE');
    pf.enableVfs(3);
    expect(pf.numVfs).toBe(3);
    expect(codeOf(() => pf.enableVfs(3))).toBe('EBUSY');
    expect(codeOf(() => pf.vfConfig(0))).toBe('EINVAL');
    expect(codeOf(() => pf.vfConfig(4))).toBe('EINVAL');
    const disabled = device.run(() => pf.disableVfs());
    expect(codeOf(() => pf.enableVfs(1))).toBe('EBUSY');
    expect(await disabled).toMatchObject({ value: undefined });
    expect(pf.numVfs).toBe(0);
    pf.enableVfs(63);
  });

  it('takes everything back when it fails, and when VFs are disabled', async () => {
    const device = new GoldenDevice('bmg', { vfs: 0, vramUsable: 64 * MIB });
    expect(codeOf(() => device.pf.enableVfs(2))).toBe('ENOSPC');
    expect(device.pf.provisioning.validity(1)).toMatchObject({ code: 'ENODATA' });
    device.pf.enableVfs(2, { vramSize: 2 * MIB });
    const before = device.pf.vfConfig(1);
    await device.must(() => device.pf.disableVfs());
    expect(device.vram.size).toBe(0);
    expect(device.pf.provisioning.validity(1)).toMatchObject({ code: 'ENODATA' });
    expect(device.pf.provisioning.config(0)).toMatchObject({ execQuantumMs: 0 });
    device.pf.enableVfs(2, { vramSize: 2 * MIB });
    expect(device.pf.vfConfig(1)).toEqual(before);
  });
});

describe('provisioning by hand', () => {
  it('ends automatic provisioning until it is restored without VFs', async () => {
    const device = new GoldenDevice('bmg');
    const { pf } = device;
    expect(pf.provisioning.mode).toBe('auto');
    pf.provisioning.setContexts(1, 500);
    expect(pf.provisioning.mode).toBe('custom');
    expect(codeOf(() => pf.provisioning.restoreAuto(pf.numVfs, 63))).toBe('EBUSY');
    await device.must(() => pf.disableVfs());
    expect(pf.provisioning.config(1)).toMatchObject({ contexts: 500, vramSize: 2 * MIB });
    pf.enableVfs(3);
    expect(pf.provisioning.validity(3)).toMatchObject({ code: 'ENODATA' });
    await device.must(() => pf.disableVfs());
    pf.provisioning.restoreAuto(pf.numVfs, 63);
    expect(pf.provisioning.validity(1)).toMatchObject({ code: 'ENODATA' });
    pf.enableVfs(3);
    expect(pf.provisioning.validity(3)).toBeUndefined();
  });

  it('says what is missing', () => {
    const { pf } = new GoldenDevice('bmg', { vfs: 0 });
    const { provisioning } = pf;
    const code = () => provisioning.validity(7)?.code;
    expect(code()).toBe('ENODATA');
    provisioning.setDoorbells(7, 4);
    expect(code()).toBe('ENOKEY');
    provisioning.setGgtt(7, MIB);
    provisioning.setContexts(7, 16);
    expect(code()).toBe('ENOKEY');
    provisioning.setVram(7, MIB);
    expect(code()).toBeUndefined();
    provisioning.setDoorbells(7, 0);
    expect(code()).toBeUndefined();
  });

  it('keeps to the limits', () => {
    const { pf } = new GoldenDevice('ptl');
    const { provisioning } = pf;
    const GGTT = 4 * GIB;
    for (const [action, code] of [
      [() => provisioning.setContexts(1, 65_536), 'EINVAL'],
      [() => provisioning.setContexts(1, 60_000), 'EDQUOT'],
      [() => provisioning.setDoorbells(1, 257), 'EINVAL'],
      [() => provisioning.setDoorbells(1, 250), 'ENOSPC'],
      [() => provisioning.setGgtt(1, GGTT), 'ENOSPC'],
      [() => provisioning.setVram(1, MIB), 'EPERM'],
      [() => provisioning.setSpare('ggtt', 64 * MIB - 1), 'EINVAL'],
      [() => provisioning.setSpare('contexts', 255), 'EINVAL'],
      [() => provisioning.setSpare('contexts', 65_536), 'EINVAL'],
      [() => provisioning.setSpare('doorbells', 257), 'EINVAL'],
      [() => provisioning.setSpare('vram', 127 * MIB), 'EINVAL'],
      [() => provisioning.setSpare('vram', 0), undefined],
      [() => provisioning.setSchedPriority(1, 1), 'EOPNOTSUPP'],
      [() => provisioning.setSchedPriority(0, 1), undefined],
    ] as const)
      expect(codeOf(action), action.toString()).toBe(code);
    expect(provisioning.spare).toMatchObject({ vram: 128 * MIB });
    // The old value is gone when the new one could not be had, as in Linux.
    expect(provisioning.config(1)).toMatchObject({ contexts: 0, doorbells: 0, ggttSize: 0 });
  });

  it('refuses a threshold that the firmware does not know', () => {
    const gucVersion = { major: 70, minor: 52, patch: 3 };
    const old = new GoldenDevice('ptl', { gucVersion });
    const set = (device: GoldenDevice) =>
      codeOf(() => device.pf.provisioning.setThreshold(1, 'MULTI_LRC_COUNT', 3));
    expect(set(old)).toBe('EKEYREJECTED');
    const recent = new GoldenDevice('ptl');
    expect(set(recent)).toBeUndefined();
    expect(lastConfigs(recent, 0, 1)).toEqual(['THRESHOLD_MULTI_LRC_COUNT=3']);
  });
});

describe('what firmware is told', () => {
  it('of a first value: only that', () => {
    const device = new GoldenDevice('bmg', { vfs: 0 });
    device.pf.provisioning.setContexts(1, 16);
    expect(lastConfigs(device, 0, 9)).toEqual(['BEGIN_CONTEXT_ID=65519 NUM_CONTEXTS=16']);
    expect(lastConfigs(device, 1, 9)).toEqual(['BEGIN_CONTEXT_ID=65519 NUM_CONTEXTS=16']);
  });

  it('of a GGTT: the same on both GTs, then of VRAM: on the main GT', () => {
    const device = new GoldenDevice('bmg', { vfs: 0 });
    device.pf.provisioning.setGgtt(1, 65_536);
    device.pf.provisioning.setVram(1, MIB);
    const ggtt = `GGTT_START=${0xfee0_0000 - 65_536} GGTT_SIZE=65536`;
    expect(lastConfigs(device, 0, 9)).toEqual([ggtt, `LMEM_SIZE=${2 * MIB}`]);
    expect(lastConfigs(device, 1, 9)).toEqual([ggtt]);
  });

  it('of a changed value: first nothing, then all the rest anew, then the new value', () => {
    const device = new GoldenDevice('bmg', { vfs: 1 });
    device.pf.provisioning.setDoorbells(1, 7);
    const [zero, all, value] = device.gts[0]?.guc.configs.slice(-3) ?? [];
    expect([zero, value].map((klvs) => namesOf(klvs as Uint32Array))).toEqual([
      ['BEGIN_DOORBELL_ID', 'NUM_DOORBELLS'],
      ['BEGIN_DOORBELL_ID', 'NUM_DOORBELLS'],
    ]);
    expect(namesOf(all as Uint32Array)).toEqual([
      'GGTT_START',
      'GGTT_SIZE',
      'BEGIN_CONTEXT_ID',
      'NUM_CONTEXTS',
      'NUM_DOORBELLS',
      'LMEM_SIZE',
      'EXEC_QUANTUM',
      'PREEMPT_TIMEOUT',
      'THRESHOLD_CAT_ERR',
      'THRESHOLD_ENGINE_RESET',
      'THRESHOLD_PAGE_FAULT',
      'THRESHOLD_H2G_STORM',
      'THRESHOLD_IRQ_STORM',
      'THRESHOLD_DOORBELL_STORM',
      'THRESHOLD_MULTI_LRC_COUNT',
    ]);
    expect(device.gts.map(({ guc }) => guc.heldBuffers)).toEqual([0, 0]);
  });

  it('when it does not take it: the value is taken back', () => {
    const device = new GoldenDevice('bmg', { vfs: 0 });
    const { provisioning } = device.pf;
    const [gt] = device.gts;
    if (gt === undefined) throw new Error('no GT');
    const set = [
      () => provisioning.setGgtt(1, 65_536),
      () => provisioning.setVram(1, MIB),
      () => provisioning.setContexts(1, 10),
      () => provisioning.setDoorbells(1, 10),
    ];
    gt.guc.send = () => 0;
    for (const action of set) expect(codeOf(action), action.toString()).toBe('ENOKEY');
    gt.guc.send = () => 99;
    for (const action of set) expect(codeOf(action), action.toString()).toBe('EPROTO');
    expect(device.vram.size).toBe(0);
    expect(provisioning.config(1)).toMatchObject({ ggttSize: 0, vramSize: 0, contexts: 0 });
  });
});
