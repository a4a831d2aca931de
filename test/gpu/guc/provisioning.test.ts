import { afterEach, describe, expect, it } from 'vitest';
import { Fault } from '../../../src/base/fault.ts';
import { EmulatedGpu } from '../../../src/gpu/emulated-gpu.ts';
import { hxgRequest } from '../../../src/xe/guc/hxg.ts';
import { PF2GUC_ACTION } from '../../../src/xe/guc/pf-actions.ts';
import { gtOf, makeGpu, QUOTA, VfDriver } from '../vf-driver.ts';

const open: Array<{ close(): void }> = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});
function kept<T extends { close(): void }>(one: T): T {
  open.push(one);
  return one;
}

function push(gpu: EmulatedGpu, action: number, head: number[], klvs: number[]): number {
  const { guc } = gtOf(gpu, 0);
  const buffer = guc.buffer(klvs.length * 4);
  buffer.bytes.set(new Uint8Array(Uint32Array.from(klvs).buffer));
  try {
    return guc.send([hxgRequest(action), ...head, buffer.ggttAddress, 0, klvs.length]);
  } finally {
    buffer.release();
  }
}

const CFG = PF2GUC_ACTION.UPDATE_VF_CFG.action;
const POLICY = PF2GUC_ACTION.UPDATE_VGT_POLICY.action;

describe('provisioning by KLVs', () => {
  it('counts what was taken, up to the first that is not known', () => {
    const gpu = kept(new EmulatedGpu({ platform: 'ptl' }));
    expect(push(gpu, CFG, [1], [0x0004_0001, 9, 0x8a01_0001, 16])).toBe(2);
    expect(push(gpu, CFG, [1], [0x0006_0001, 9, 0x7777_0001, 0, 0x0004_0001, 1])).toBe(1);
    // A length that does not belong to the key.
    expect(push(gpu, CFG, [1], [0x0004_0002, 9, 9])).toBe(0);
    expect(push(gpu, CFG, [1], [0x8a0e_0008, 1, 2, 3, 4, 5, 6, 7, 8])).toBe(1);
    expect(push(gpu, CFG, [0], [0x8a01_0001, 16])).toBe(1);
    expect(push(gpu, POLICY, [], [0x8001_0001, 1, 0x8004_0000])).toBe(2);
    expect(() => push(gpu, CFG, [1], [0x0004_0001])).toThrow(/MALFORMED_KLV/);
    expect(() => push(gpu, CFG, [64], [0x0004_0001, 1])).toThrow(/INVALID_VFID/);
  });

  it('knows fewer keys when firmware is older', () => {
    const gucVersion = { major: 70, minor: 52, patch: 0 };
    const gpu = kept(new EmulatedGpu({ platform: 'ptl', gucVersion }));
    expect(gtOf(gpu, 1).guc.version).toEqual(gucVersion);
    expect(push(gpu, CFG, [1], [0x8a08_0001, 1, 0x8a0d_0001, 1])).toBe(1);
  });

  it('is forgotten when asked with nothing', () => {
    const gpu = kept(makeGpu());
    const driver = new VfDriver(gpu.vf(1), 'main', new Uint8Array(64), QUOTA.ggttStart);
    expect(driver.mailbox(0x5509, 0, 4)[1]).toBe(QUOTA.contexts);
    expect(gtOf(gpu, 0).guc.send([CFG, 1, 0, 0, 0])).toBe(0);
    expect(driver.mailbox(0x5509, 0, 4)[1]).toBe(0);
  });
});

describe('GuC buffers', () => {
  it('are zeroed, apart from each other, and 8 MiB in all', () => {
    const gpu = kept(new EmulatedGpu({ platform: 'ptl' }));
    const { guc } = gtOf(gpu, 0);
    const code = (size: number) => {
      try {
        guc.buffer(size).release();
        return 'ok';
      } catch (error) {
        return error instanceof Fault ? error.code : error;
      }
    };
    expect([0, -1, 1.5, 8 * 2 ** 20 + 1].map(code)).toEqual(Array(4).fill('ENOBUFS'));
    const first = guc.buffer(100);
    const second = guc.buffer(2 ** 20);
    first.bytes.fill(0xff);
    expect(second.ggttAddress).toBeGreaterThanOrEqual(first.ggttAddress + 100);
    expect(code(8 * 2 ** 20)).toBe('ENOBUFS');
    first.release();
    first.release();
    const third = guc.buffer(90);
    expect(third.ggttAddress).toBe(first.ggttAddress);
    expect(third.bytes.every((byte) => byte === 0)).toBe(true);
    second.release();
    third.release();
    expect(code(8 * 2 ** 20)).toBe('ok');
  });
});
