import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { EmulatedGpuOptions } from '../../../src/gpu/emulated-gpu.ts';
import { control, driverInGuestMemory, gtOf, makeGpu, QUOTA, VfDriver } from '../vf-driver.ts';

const open: Array<{ close(): void }> = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});
function gpuOf(options: Partial<EmulatedGpuOptions> = {}) {
  const gpu = makeGpu(options);
  open.push(gpu);
  return gpu;
}
function mailboxOf(options: Partial<EmulatedGpuOptions> = {}, gt: 'main' | 'media' = 'main') {
  return new VfDriver(gpuOf(options).vf(1), gt, new Uint8Array(64), QUOTA.ggttStart);
}

describe('the mailbox', () => {
  it('has the conversation in which a driver starts', () => {
    const driver = mailboxOf();
    expect(driver.mailbox(0x5507)).toEqual([0xf0000000, 0, 0, 0]);
    // Asks for 1.2, is told 1.27.
    expect(driver.mailbox(0x5500, 0, 0x0001_0200)).toEqual([0xf0000000, 0x0001_1b00, 0, 0]);
    expect(driver.mailbox(0x5509, 0, 1)).toEqual([0xf0000002, QUOTA.ggttStart, 0, 0]);
    expect(driver.mailbox(0x5509, 0, 2)).toEqual([0xf0000002, QUOTA.ggttSize, 0, 0]);
    expect(driver.mailbox(0x5509, 0, 3)).toEqual([0xf0000002, QUOTA.vram, 0, 0]);
    expect(driver.mailbox(0x5509, 0, 4)).toEqual([0xf0000001, QUOTA.contexts, 0, 0]);
    expect(driver.mailbox(0x5509, 0, 6)).toEqual([0xf0000001, QUOTA.doorbells, 0, 0]);
    expect(driver.mailbox(0x5509, 0, 0x3001)).toEqual([0xf0000001, 0, 0, 0]);
    expect(driver.mailbox(0x5509, 0, 0x3000)).toEqual([0xf0000001, 0x05004000, 0, 0]);
  });

  it('answers for each GT by itself', () => {
    const media = mailboxOf({}, 'media');
    expect(media.mailbox(0x5509, 0, 0x3000)).toEqual([0xf0000001, 0x03404000, 0, 0]);
    // VRAM is asked of the main GT only.
    expect(media.mailbox(0x5509, 0, 3)[0]).toBe(0xe0000105);
    expect(mailboxOf({ platform: 'ptl' }).mailbox(0x5509, 0, 3)[0]).toBe(0xe0000105);
  });

  it.each([
    ['an unknown action', [0x00001234], 0xe0000030],
    ['an event', [0x10005507], 0xe0000004],
    ['an unknown key', [0x5509, 0x7777], 0xe0000105],
    ['a newer minor', [0x5500, 0x0001_1c00], 0xe000000b],
    ['another major', [0x5500, 0x0002_0000], 0xe000000b],
    ['another branch', [0x5500, 0x0101_0200], 0xe000000b],
    ['a bit that must be zero', [0x5500, 0x0001_0201], 0xe000000b],
    ['an address outside of the GGTT', [0x0508, 0x0900_0002, 0x1000, 0], 0xe0000080],
    ['an address above 4 GiB', [0x0508, 0x0900_0002, QUOTA.ggttStart, 1], 0xe0000080],
    ['a wrong length', [0x0508, 0x0900_0001, QUOTA.ggttStart, 0], 0xe0000050],
    ['a CTB of no whole pages', [0x0508, 0x0904_0001, 100, 0], 0xe0000102],
    ['CTBs that nobody described', [0x4509, 1], 0xe0000304],
    ['recovery of what was not moved', [0x0001_550f], 0xe000000a],
    ['the end of such a recovery', [0x0001_5508], 0xe000000a],
  ])('refuses %s', (_, message, failure) => {
    const driver = mailboxOf();
    driver.post(message);
    driver.notify();
    expect(driver.flags()).toEqual([failure, 0, 0, 0]);
  });

  it('accepts any version when asked for none, and tells when a key is not known', () => {
    const driver = mailboxOf({ vfAbiVersion: { major: 1, minor: 36, patch: 2 } });
    expect(driver.mailbox(0x5500)).toEqual([0xf0000000, 0x0001_2402, 0, 0]);
    expect(driver.mailbox(0x0508, 0, 0x0fff_0001, 1)).toEqual([0xf0000000, 0, 0, 0]);
  });

  it('does nothing when it is rung with an answer or nothing in it', () => {
    const driver = mailboxOf();
    driver.notify();
    expect(driver.flags()).toEqual([0, 0, 0, 0]);
    driver.post([0xf0005507, 1, 2, 3]);
    driver.notify();
    expect(driver.flags()).toEqual([0xf0005507, 1, 2, 3]);
  });

  it('keeps a message while the VF is paused and answers it on resume', () => {
    const gpu = gpuOf();
    const driver = driverInGuestMemory(gpu);
    driver.boot();
    control(gpu, 0, 'PAUSE');
    expect(driver.mailbox(0x5509, 0, 4)).toEqual([0x5509, 4, 0, 0]);
    control(gpu, 0, 'RESUME');
    expect(driver.flags()).toEqual([0xf0000001, QUOTA.contexts, 0, 0]);
  });

  it('is silent while the VF is stopped or being reset', () => {
    const gpu = gpuOf();
    const driver = driverInGuestMemory(gpu);
    control(gpu, 0, 'STOP');
    expect(driver.mailbox(0x5507)[0]).toBe(0x5507);
    control(gpu, 0, 'FLR_START');
    expect(driver.mailbox(0x5507)[0]).toBe(0x5507);
    control(gpu, 0, 'FLR_FINISH');
    expect(driver.mailbox(0x5507)[0]).toBe(0xf0000000);
  });

  it('answers every message with a success or a failure of the GuC', () => {
    const gpu = gpuOf();
    const driver = driverInGuestMemory(gpu);
    const actions = [0x0508, 0x4509, 0x5500, 0x5507, 0x5508, 0x5509, 0x550f];
    fc.assert(
      fc.property(
        fc.oneof(fc.constantFrom(...actions), fc.integer({ min: 1, max: 0xffff })),
        fc.nat(0x7fff),
        fc.array(fc.oneof(fc.nat(0xffff_ffff), fc.nat(16)), { minLength: 3, maxLength: 3 }),
        (action, high, data) => {
          driver.post([((high << 16) | action) >>> 0, ...data]);
          driver.notify();
          expect([0xe, 0xf]).toContain((driver.flags()[0] ?? 0) >>> 28);
        },
      ),
      { numRuns: 5000 },
    );
    expect(gtOf(gpu, 0).readVfFlag(2, 0)).toBe(0);
  });
});
