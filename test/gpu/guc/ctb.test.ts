import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { EventFd } from '../../../src/sys/eventfd.ts';
import { CTB_STATUS } from '../../../src/xe/guc/ctb.ts';
import { HXG_TYPE } from '../../../src/xe/guc/hxg.ts';
import { H2G_ACTION } from '../../../src/xe/guc/vf-actions.ts';
import {
  control,
  driverInGuestMemory,
  driverInVram,
  H2G_SIZE,
  LAYOUT,
  makeGpu,
  QUOTA,
  type VfDriver,
  writePte,
} from '../vf-driver.ts';

const open: Array<{ close(): void }> = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

function booted(place: 'guest' | 'vram' = 'guest') {
  const gpu = makeGpu();
  open.push(gpu);
  const driver = place === 'guest' ? driverInGuestMemory(gpu) : driverInVram(gpu);
  const eventfd = new EventFd();
  open.push(eventfd);
  gpu.vf(1).setIrqTrigger(1, 0, eventfd.fd);
  driver.boot();
  return { gpu, driver, eventfd };
}

/** Payload of REGISTER_CONTEXT. */
function context(id: number, lrc = QUOTA.ggttStart + 0x10_0000 + id * 0x1_0000): number[] {
  return [1, id, 0, 1, 0, 0, 0, 0, 0, (lrc | 0x119) >>> 0, 0];
}

/** The VF's contexts, by what the GuC answers to a policy update of each id. */
function registered(driver: VfDriver, ids: readonly number[]): number[] {
  return ids.filter((id) => {
    driver.send(H2G_ACTION.UPDATE_CONTEXT_POLICIES, [id], HXG_TYPE.REQUEST);
    return driver.take()[0]?.[1] === 0xf0000000;
  });
}

describe('command transport buffers', () => {
  it.each(['guest', 'vram'] as const)('carry a conversation (memory in %s)', (place) => {
    const { driver, eventfd } = booted(place);
    driver.send(H2G_ACTION.REGISTER_CONTEXT, context(5));
    expect(driver.take()).toEqual([]);
    expect(eventfd.take()).toBe(0);
    driver.send(H2G_ACTION.SCHED_CONTEXT_MODE_SET, [5, 1]);
    expect(driver.take()).toEqual([[3, 0x90001002, 5, 1]]);
    expect(eventfd.take()).toBe(1);
    const fence = driver.send(0x0509, [0x10010002, 0x50, 0x14], HXG_TYPE.REQUEST);
    expect(driver.take()).toEqual([[((fence << 16) | 1) >>> 0, 0xf0000000]]);
    driver.send(H2G_ACTION.TLB_INVALIDATION, [77, 3]);
    driver.send(H2G_ACTION.TLB_INVALIDATION_ALL, [78, 0]);
    expect(driver.take()).toEqual([
      [2, 0x90007001, 77],
      [2, 0x90007001, 78],
    ]);
    driver.send(H2G_ACTION.SCHED_CONTEXT_MODE_SET, [5, 0]);
    driver.send(H2G_ACTION.DEREGISTER_CONTEXT, [5]);
    expect(driver.take()).toEqual([
      [3, 0x90001002, 5, 0],
      [2, 0x90004600, 5],
    ]);
    expect(registered(driver, [5])).toEqual([]);
  });

  it('set the GuC bytes of the interrupt page before the interrupt', () => {
    const { driver, eventfd } = booted();
    driver.send(H2G_ACTION.TLB_INVALIDATION, [1, 0]);
    expect(eventfd.take()).toBe(1);
    const page = new Uint8Array(driver.memory.buffer, LAYOUT.memirq, 4096);
    const set = [...page.keys()].filter((at) => page[at] !== 0).map((at) => [at, page[at]]);
    expect(set).toEqual([
      [15, 0xff],
      [0x400, 0xff],
    ]);
  });

  it('answer requests, fast requests only to refuse them, and no events', () => {
    const { driver } = booted();
    driver.send(H2G_ACTION.UPDATE_SCHEDULING_POLICIES_KLV, [], HXG_TYPE.FAST_REQUEST);
    driver.send(0x7777, [], HXG_TYPE.EVENT);
    expect(driver.take()).toEqual([]);
    const fast = driver.send(0x7777, [], HXG_TYPE.FAST_REQUEST);
    expect(driver.take()).toEqual([[((fast << 16) | 1) >>> 0, 0xe0000030]]);
    const fence = driver.send(0x7777, [1, 2, 3], HXG_TYPE.REQUEST);
    expect(driver.take()).toEqual([[((fence << 16) | 1) >>> 0, 0xe0000030]]);
  });

  it('wrap, with NOPs before the end, as often as it takes', () => {
    const { driver } = booted();
    for (let n = 0; n < 3000; n++) {
      driver.send(H2G_ACTION.TLB_INVALIDATION, [n, 0, 0, 0, 0].slice(0, 2 + (n % 4)));
      expect(driver.take()).toEqual([[2, 0x90007001, n]]);
    }
    expect(driver.desc('h2g', 'STATUS')).toBe(0);
    expect(driver.desc('h2g', 'HEAD')).toBe(driver.desc('h2g', 'TAIL'));
  });

  it('also take a message that goes around the end', () => {
    const { driver } = booted();
    const size = H2G_SIZE / 4;
    while (driver.desc('h2g', 'TAIL') !== size - 2)
      driver.send(H2G_ACTION.SCHED_CONTEXT, [], HXG_TYPE.EVENT);
    driver.memory.setUint32(LAYOUT.h2g + (size - 2) * 4, 0x0001_0003, true);
    driver.memory.setUint32(LAYOUT.h2g + (size - 1) * 4, 0x2000_7000, true);
    driver.memory.setUint32(LAYOUT.h2g, 42, true);
    driver.memory.setUint32(LAYOUT.h2g + 4, 0, true);
    driver.setDesc('h2g', 'TAIL', 2);
    driver.notify();
    expect(driver.take()).toEqual([[2, 0x90007001, 42]]);
  });

  it('skip a stretch of NOPs, as a driver leaves after recovery', () => {
    const { driver } = booted();
    driver.setDesc('h2g', 'TAIL', 900);
    driver.notify();
    expect(driver.desc('h2g', 'HEAD')).toBe(900);
    expect(driver.desc('h2g', 'STATUS')).toBe(0);
  });

  it('wait while G2H has no room and go on when there is', () => {
    const { driver } = booted();
    let sent = 0;
    for (; driver.desc('h2g', 'HEAD') === driver.desc('h2g', 'TAIL'); sent++)
      driver.send(H2G_ACTION.TLB_INVALIDATION, [sent, 0]);
    const first = driver.take();
    expect(first).toHaveLength(sent - 1);
    driver.notify();
    expect(driver.take()).toEqual([[2, 0x90007001, sent - 1]]);
    expect(driver.desc('g2h', 'STATUS')).toBe(0);
  });

  it.each([
    ['a tail outside of the buffer', 1024, 0, CTB_STATUS.OVERFLOW],
    ['a message longer than what is there', 3, 0x0001_0003, CTB_STATUS.UNDERFLOW],
  ])('break on %s, visibly, and only until they are set up again', (_, tail, header, status) => {
    const { driver } = booted();
    driver.memory.setUint32(LAYOUT.h2g, header, true);
    driver.setDesc('h2g', 'TAIL', tail);
    driver.notify();
    expect(driver.desc('h2g', 'STATUS')).toBe(status);
    driver.setDesc('h2g', 'TAIL', 0);
    driver.send(H2G_ACTION.TLB_INVALIDATION, [1, 0]);
    expect(driver.take()).toEqual([]);
    for (const field of ['HEAD', 'TAIL', 'STATUS'] as const) {
      driver.setDesc('h2g', field, 0);
      driver.setDesc('g2h', field, 0);
    }
    driver.boot();
    driver.send(H2G_ACTION.TLB_INVALIDATION, [2, 0]);
    expect(driver.take()).toEqual([[2, 0x90007001, 2]]);
  });

  it('go unanswered while the VF is paused, and are served on resume', () => {
    const { gpu, driver } = booted();
    control(gpu, 0, 'PAUSE');
    driver.send(H2G_ACTION.TLB_INVALIDATION, [1, 0]);
    expect(driver.take()).toEqual([]);
    expect(driver.desc('h2g', 'HEAD')).toBe(0);
    control(gpu, 0, 'RESUME');
    expect(driver.take()).toEqual([[2, 0x90007001, 1]]);
  });

  it('do nothing to memory that the VF has not mapped', () => {
    const { gpu, driver } = booted();
    writePte(gpu.vf(1), driver.ggtt + LAYOUT.g2h, 0x7777_0000_0000, false);
    driver.send(H2G_ACTION.TLB_INVALIDATION, [1, 0]);
    expect(driver.desc('g2h', 'TAIL')).toBe(0);
    writePte(gpu.vf(1), driver.ggtt + LAYOUT.h2gDesc, QUOTA.vram, true);
    driver.send(H2G_ACTION.TLB_INVALIDATION, [1, 0]);
    expect(driver.desc('h2g', 'STATUS')).toBe(0);
  });

  it('survive whatever a driver puts into them', () => {
    const { gpu, driver } = booted();
    const actions = Object.values(H2G_ACTION);
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            header: fc.oneof(
              fc.constantFrom(...actions).map((action) => 0x2000_0000 | action),
              fc.nat(0xffff_ffff),
            ),
            payload: fc.array(fc.oneof(fc.nat(70), fc.nat(0xffff_ffff)), { maxLength: 30 }),
            length: fc.option(fc.nat(255), { freq: 5 }),
          }),
          { minLength: 1, maxLength: 8 },
        ),
        fc.option(fc.nat(1100), { freq: 20 }),
        (messages, tail) => {
          let at = driver.desc('h2g', 'TAIL');
          if (at >= 1024) at = 0;
          for (const { header, payload, length } of messages) {
            for (const dword of [length ?? payload.length + 1, header, ...payload]) {
              driver.memory.setUint32(LAYOUT.h2g + at * 4, dword, true);
              at = (at + 1) % 1024;
            }
          }
          driver.setDesc('h2g', 'TAIL', tail ?? at);
          driver.notify();
          driver.take();
          if (driver.desc('h2g', 'STATUS') === 0) return;
          for (const field of ['HEAD', 'TAIL', 'STATUS'] as const) driver.setDesc('h2g', field, 0);
          driver.boot();
        },
      ),
      { numRuns: 3000 },
    );
    expect(gpu.digests(1).guc).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe('contexts', () => {
  it('must be within what the VF was given', () => {
    const { driver } = booted();
    const refusal = (payload: number[], action: number = H2G_ACTION.REGISTER_CONTEXT) => {
      driver.send(action, payload, HXG_TYPE.REQUEST);
      return driver.take()[0]?.[1];
    };
    expect(refusal(context(QUOTA.contexts))).toBe(0xe0000061);
    expect(refusal(context(1, QUOTA.ggttStart - 4096))).toBe(0xe0000080);
    expect(refusal(context(1, QUOTA.ggttStart + QUOTA.ggttSize))).toBe(0xe0000080);
    expect(refusal(context(1).with(2, 9))).toBe(0xe0000064);
    expect(refusal(context(1).with(4, 0x1000))).toBe(0xe0000080);
    expect(refusal(context(1).slice(0, 9))).toBe(0xe0000102);
    expect(refusal([1], H2G_ACTION.DEREGISTER_CONTEXT)).toBe(0xe0000100);
    expect(refusal(context(1))).toBe(0xf0000000);
    expect(refusal(context(1))).toBe(0xe0000101);
    expect(registered(driver, [0, 1, 2])).toEqual([1]);
  });

  it('can be parallel, with one LRC each', () => {
    const { driver } = booted();
    const lrc = (n: number) => [QUOTA.ggttStart + 0x20_0000 + n * 0x1_0000, 0];
    const wq = [QUOTA.ggttStart + 0x1000, 0, QUOTA.ggttStart + 0x2000, 0, 0x1000];
    const payload = [1, 7, 1, 3, ...wq, 2, ...lrc(0), ...lrc(1)];
    driver.send(H2G_ACTION.REGISTER_CONTEXT_MULTI_LRC, payload);
    expect(registered(driver, [7])).toEqual([7]);
    driver.send(H2G_ACTION.REGISTER_CONTEXT_MULTI_LRC, payload.with(1, 8).with(9, 3));
    expect(registered(driver, [8])).toEqual([]);
  });

  it('lose their doorbells with them', () => {
    const { gpu, driver } = booted();
    driver.send(H2G_ACTION.REGISTER_CONTEXT, context(1));
    const before = gpu.digests(1).guc;
    driver.send(H2G_ACTION.REGISTER_CONTEXT, context(2));
    driver.send(H2G_ACTION.ALLOCATE_DOORBELL, [2, 3, 0x7000, 1]);
    driver.send(H2G_ACTION.ALLOCATE_DOORBELL, [2, QUOTA.doorbells, 0x7000, 1], HXG_TYPE.REQUEST);
    expect(driver.take()[0]?.[1]).toBe(0xe0000063);
    driver.send(H2G_ACTION.DEALLOCATE_DOORBELL, [4], HXG_TYPE.REQUEST);
    expect(driver.take()[0]?.[1]).toBe(0xe0000063);
    const during = gpu.digests(1).guc;
    driver.send(H2G_ACTION.DEREGISTER_CONTEXT, [2]);
    driver.send(H2G_ACTION.DEALLOCATE_DOORBELL, [3], HXG_TYPE.REQUEST);
    expect(driver.take().at(-1)?.[1]).toBe(0xe0000063);
    expect(during).not.toBe(before);
  });
});
