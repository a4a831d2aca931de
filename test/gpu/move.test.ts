import { afterEach, describe, expect, it } from 'vitest';
import type { EmulatedGpu } from '../../src/gpu/emulated-gpu.ts';
import { EventFd } from '../../src/sys/eventfd.ts';
import { HXG_TYPE } from '../../src/xe/guc/hxg.ts';
import { VF_NOTIFY } from '../../src/xe/guc/pf-actions.ts';
import {
  CONTEXT_POLICY_KLV,
  CONTEXT_TYPE,
  H2G_ACTION,
  MAILBOX_ACTION,
} from '../../src/xe/guc/vf-actions.ts';
import { LRC_FIRST_COMMAND, LRC_PPHWSP_SIZE, LRC_REG } from '../../src/xe/lrc.ts';
import { GUC_INTR } from '../../src/xe/memirq.ts';
import {
  control,
  driverInGuestMemory,
  GUC_MEMORY_SIZE,
  gtOf,
  guestMemory,
  LAYOUT,
  MIB,
  makeGpu,
  QUOTA,
  restoreState,
  saveState,
  type TestQuota,
  tileOf,
  VfDriver,
  writeDword,
} from './vf-driver.ts';

const open: Array<{ close(): void }> = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

const ELSEWHERE: TestQuota = { ...QUOTA, ggttStart: 640 * MIB };

/** Moves GGTT, flags and GuC state of VF 1 as a PF's driver does. VRAM is not used here. */
function move(from: EmulatedGpu, to: EmulatedGpu, vfid: number, quota = ELSEWHERE): void {
  const ptes = new Uint32Array((QUOTA.ggttSize / 4096) * 2);
  tileOf(from).ggtt.readPtes(QUOTA.ggttStart, ptes);
  for (let at = 0; at < ptes.length; at += 2) ptes[at] = ((ptes[at] ?? 0) & ~0xffc) | (vfid << 2);
  tileOf(to).ggtt.writePtes(quota.ggttStart, ptes);
  for (const gt of [0, 1]) {
    for (let n = 0; n < 4; n++) gtOf(to, gt).writeVfFlag(vfid, n, gtOf(from, gt).readVfFlag(1, n));
    restoreState(to, gt, saveState(from, gt), vfid);
  }
}

function ptesOf(gpu: EmulatedGpu): Uint32Array {
  const ptes = new Uint32Array((ELSEWHERE.ggttSize / 4096) * 2);
  tileOf(gpu).ggtt.readPtes(ELSEWHERE.ggttStart, ptes);
  return ptes;
}

function scene(sourceDriver: (gpu: EmulatedGpu) => VfDriver = driverInGuestMemory) {
  const source = makeGpu();
  const target = makeGpu({}, ELSEWHERE);
  open.push(source, target);
  const driver = sourceDriver(source);
  driver.boot();
  driver.send(H2G_ACTION.REGISTER_CONTEXT, [
    1,
    5,
    0,
    1,
    0,
    0,
    0,
    0,
    0,
    QUOTA.ggttStart + 0x10_0119,
    0,
  ]);
  driver.send(H2G_ACTION.UPDATE_CONTEXT_POLICIES, [
    5,
    (CONTEXT_POLICY_KLV.EXECUTION_QUANTUM << 16) | 1,
    1000,
  ]);
  driver.send(H2G_ACTION.SCHED_CONTEXT_MODE_SET, [5, 1]);
  driver.send(H2G_ACTION.ALLOCATE_DOORBELL, [5, 1, 0x4000, 0]);
  driver.take();
  return { source, target, driver };
}

/** The driver's memory as the target reaches it: the guest's memory did not move. */
function driverOnTarget(target: EmulatedGpu, memory: DataView): VfDriver {
  const bytes = new Uint8Array(memory.buffer, memory.byteOffset, memory.byteLength);
  const { mapping } = guestMemory(0x1_2345_6000, GUC_MEMORY_SIZE);
  const shared = {
    windows: [bytes],
    read: (offset: number, into: Uint8Array) =>
      into.set(bytes.subarray(offset, offset + into.length)),
    write: (offset: number, from: Uint8Array) => bytes.set(from, offset),
  };
  target.vf(1).dmaMap({ ...mapping, memory: shared });
  return new VfDriver(target.vf(1), 'main', bytes, ELSEWHERE.ggttStart);
}

describe('a VF that is moved', () => {
  it('is the same elsewhere: digests agree and tell apart what differs', () => {
    const { source, target } = scene();
    for (const gpu of [source, target]) for (const gt of [0, 1]) control(gpu, gt, 'PAUSE');
    const before = target.digests(1);
    move(source, target, 1);
    expect(target.digests(1)).toEqual(source.digests(1));
    expect(target.digests(1).ggtt).not.toBe(before.ggtt);
    expect(target.digests(1).guc).not.toBe(before.guc);
    writeDword(target.vf(1), 2, 4 * MIB, 1);
    gtOf(target, 1).writeVfFlag(1, 3, 1);
    const after = target.digests(1);
    expect(after.vram).not.toBe(source.digests(1).vram);
    expect(after.mmio).not.toBe(source.digests(1).mmio);
    expect([after.ggtt, after.guc]).toEqual([source.digests(1).ggtt, source.digests(1).guc]);
  });

  it('is told, recovers, and only then is heard again', async () => {
    const { source, target, driver: old } = scene();
    const events: number[] = [];
    gtOf(target, 0).guc.onEvent(([, , event = 0]) => events.push(event));
    for (const gpu of [source, target]) for (const gt of [0, 1]) control(gpu, gt, 'PAUSE');
    // Rung on the source while paused: the message must not be lost.
    old.send(H2G_ACTION.TLB_INVALIDATION, [99, 0]);
    move(source, target, 1);
    const eventfd = new EventFd();
    open.push(eventfd);
    const driver = driverOnTarget(target, old.memory);
    target.vf(1).setIrqTrigger(1, 0, eventfd.fd);
    control(target, 0, 'RESUME');
    // SW_INT_0 and the GuC's source byte, then the interrupt.
    expect(eventfd.take()).toBe(1);
    expect(driver.memory.getUint8(LAYOUT.memirq)).toBe(0xff);
    expect(driver.memory.getUint8(LAYOUT.memirq + 0x400)).toBe(0xff);
    expect(driver.take()).toEqual([]);
    const { VF2GUC_RESFIX_START, VF2GUC_RESFIX_DONE } = MAILBOX_ACTION;
    expect(driver.mailbox(VF2GUC_RESFIX_START, 0)[0]).toBe(0xe0000060);
    expect(driver.mailbox(VF2GUC_RESFIX_DONE, 1)[0]).toBe(0xe0000107);
    expect(driver.mailbox(VF2GUC_RESFIX_START, 1)[0]).toBe(0xf0000000);
    expect(driver.mailbox(0x5509, 0, 1)[1]).toBe(ELSEWHERE.ggttStart);
    expect(driver.mailbox(VF2GUC_RESFIX_DONE, 2)[0]).toBe(0xe0000107);
    expect(driver.take()).toEqual([]);
    expect(driver.mailbox(VF2GUC_RESFIX_DONE, 1)[0]).toBe(0xf0000000);
    expect(driver.take()).toEqual([[2, 0x90007001, 99]]);
    await Promise.resolve();
    expect(events).toContain(VF_NOTIFY.FIXUP_DONE);
    // The context is there still.
    driver.send(H2G_ACTION.SCHED_CONTEXT_MODE_SET, [5, 0]);
    expect(driver.take()).toEqual([[3, 0x90001002, 5, 0]]);
  });

  it('must begin to recover anew when it is moved again meanwhile', () => {
    const { source, target, driver: old } = scene();
    for (const gpu of [source, target]) for (const gt of [0, 1]) control(gpu, gt, 'PAUSE');
    move(source, target, 1);
    const driver = driverOnTarget(target, old.memory);
    control(target, 0, 'RESUME');
    driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_START, 1);
    control(target, 0, 'PAUSE');
    restoreState(target, 0, saveState(target, 0));
    control(target, 0, 'RESUME');
    expect(driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_DONE, 1)[0]).toBe(0xe0000107);
    expect(driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_START, 2)[0]).toBe(0xf0000000);
    expect(driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_DONE, 2)[0]).toBe(0xf0000000);
  });

  it('covers with one recovery what it is told while it begins another', () => {
    const { source, target, driver: old } = scene();
    for (const gpu of [source, target]) for (const gt of [0, 1]) control(gpu, gt, 'PAUSE');
    move(source, target, 1);
    const driver = driverOnTarget(target, old.memory);
    control(target, 0, 'RESUME');
    const pending = () => driver.memory.getUint8(LAYOUT.memirq + GUC_INTR.SW_INT_0);
    expect(pending()).toBe(0xff);
    // The driver had not looked at it: it was on its way to begin for an earlier move.
    expect(driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_START, 7)[0]).toBe(0xf0000000);
    expect(pending()).toBe(0);
    expect(driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_DONE, 7)[0]).toBe(0xf0000000);
    driver.take();
    // It had looked at it after all, and begins once more: that must not be its end.
    expect(driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_START, 8)[0]).toBe(0xf0000000);
    driver.send(H2G_ACTION.TLB_INVALIDATION, [99, 0]);
    expect(driver.take()).toEqual([]);
    expect(driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_DONE, 7)[0]).toBe(0xe0000107);
    expect(driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_DONE, 8)[0]).toBe(0xf0000000);
    driver.notify();
    expect(driver.take()).toEqual([[2, 0x90007001, 99]]);
  });

  it('is told once, however often it is paused before it has recovered', () => {
    const { source, target, driver: old } = scene();
    for (const gpu of [source, target]) for (const gt of [0, 1]) control(gpu, gt, 'PAUSE');
    move(source, target, 1);
    const eventfd = new EventFd();
    open.push(eventfd);
    const driver = driverOnTarget(target, old.memory);
    target.vf(1).setIrqTrigger(1, 0, eventfd.fd);
    control(target, 0, 'RESUME');
    expect(eventfd.take()).toBe(1);
    control(target, 0, 'PAUSE');
    control(target, 0, 'RESUME');
    expect(eventfd.take()).toBe(0);
    expect(driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_START, 1)[0]).toBe(0xf0000000);
    control(target, 0, 'PAUSE');
    control(target, 0, 'RESUME');
    expect(driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_DONE, 1)[0]).toBe(0xf0000000);
  });

  it.each([
    ['before it was told', 'untold'],
    ['before it has begun', 'told'],
    ['with its marker', 'begun'],
    ['when it is done', 'done'],
  ])('goes on with its recovery when it is moved unnoticed, %s', (_, at) => {
    const { source, target, driver: old } = scene();
    const third = makeGpu({}, ELSEWHERE);
    open.push(third);
    for (const gpu of [source, target, third]) for (const gt of [0, 1]) control(gpu, gt, 'PAUSE');
    move(source, target, 1);
    if (at !== 'untold') control(target, 0, 'RESUME');
    const { VF2GUC_RESFIX_START, VF2GUC_RESFIX_DONE } = MAILBOX_ACTION;
    const before = driverOnTarget(target, old.memory);
    if (at === 'begun' || at === 'done') before.mailbox(VF2GUC_RESFIX_START, 3);
    if (at === 'done') before.mailbox(VF2GUC_RESFIX_DONE, 3);
    if (at !== 'untold') control(target, 0, 'PAUSE');
    const state = saveState(target, 0);
    restoreState(third, 0, state, 1);
    third.resumeUnnoticed(1);
    const eventfd = new EventFd();
    open.push(eventfd);
    third.vf(1).setIrqTrigger(1, 0, eventfd.fd);
    const driver = driverOnTarget(third, old.memory);
    tileOf(third).ggtt.writePtes(ELSEWHERE.ggttStart, ptesOf(target));
    control(third, 0, 'RESUME');
    expect(eventfd.take()).toBe(at === 'untold' ? 1 : 0);
    if (at === 'untold' || at === 'told')
      expect(driver.mailbox(VF2GUC_RESFIX_START, 3)[0]).toBe(0xf0000000);
    driver.send(H2G_ACTION.TLB_INVALIDATION, [99, 0]);
    expect(driver.take()).toHaveLength(at === 'done' ? 1 : 0);
    if (at !== 'done') expect(driver.mailbox(VF2GUC_RESFIX_DONE, 3)[0]).toBe(0xf0000000);
    driver.notify();
    expect(driver.take()).toHaveLength(at === 'done' ? 0 : 1);
  });

  it('is starting until a second after both GuCs had all of it, and when one is reset', () => {
    let now = 50;
    const gpu = makeGpu({ now: () => now });
    const target = makeGpu({ now: () => now + 7 }, ELSEWHERE);
    open.push(gpu, target);
    const drivers = [driverInGuestMemory(gpu), driverInGuestMemory(gpu, 'media')] as const;
    const [main, media] = drivers;
    const startingFor = (ms: number) => {
      now += ms - 1;
      const before = gpu.unready(1);
      now += 1;
      return before && !gpu.unready(1);
    };
    const optIn = (driver: VfDriver) =>
      driver.send(H2G_ACTION.OPT_IN_FEATURE_KLV, [QUOTA.ggttStart, 0, 1], HXG_TYPE.REQUEST);
    expect(gpu.unready(1)).toBe(false);
    main.boot();
    media.boot();
    optIn(main);
    now += 5000;
    expect(gpu.unready(1)).toBe(true);
    optIn(media);
    expect(startingFor(1000)).toBe(true);
    // Jobs that have no page tables are part of a start, others are not.
    const register = (id: number, flags: number, type = 0) =>
      media.send(H2G_ACTION.REGISTER_CONTEXT, [
        ...[1 | type, id, 1, 1, 0, 0, 0, 0, 0, QUOTA.ggttStart + flags, 0],
      ]);
    register(5, 0x119);
    expect(gpu.unready(1)).toBe(false);
    register(6, 0x19);
    expect(startingFor(1000)).toBe(true);
    media.send(H2G_ACTION.DEREGISTER_CONTEXT, [6]);
    now += 400;
    // It goes on to be one where the VF is moved to without a word.
    for (const each of [gpu, target]) for (const gt of [0, 1]) control(each, gt, 'PAUSE');
    move(gpu, target, 1);
    target.resumeUnnoticed(1);
    expect([gpu.unready(1), target.unready(1)]).toEqual([true, true]);
    now += 600;
    expect([gpu.unready(1), target.unready(1)]).toEqual([false, false]);
    for (const gt of [0, 1]) control(gpu, gt, 'RESUME');
    // One for compression metadata, whose ring stock xe empties when it leaves.
    const lrc = LAYOUT.g2h + 0x6000;
    const setLrc = (index: number, value: number) =>
      media.memory.setUint32(lrc + LRC_PPHWSP_SIZE + index * 4, value, true);
    setLrc(LRC_FIRST_COMMAND, 0x1100_1001);
    setLrc(LRC_REG.CTX_RING_TAIL, 24);
    setLrc(LRC_REG.CTX_RING_CTL, 1);
    register(7, media.ggtt - QUOTA.ggttStart + lrc + 0x119, CONTEXT_TYPE.COMPRESSION_SAVE << 1);
    expect(gpu.unready(1)).toBe(false);
    setLrc(LRC_REG.CTX_RING_HEAD, 24);
    expect(gpu.unready(1)).toBe(true);
    setLrc(LRC_REG.CTX_RING_HEAD, 0);
    expect(gpu.unready(1)).toBe(false);
    // Then its memory is something else's.
    setLrc(LRC_FIRST_COMMAND, 0);
    expect(gpu.unready(1)).toBe(true);
    setLrc(LRC_FIRST_COMMAND, 0x1100_1001);
    main.mailbox(MAILBOX_ACTION.VF2GUC_VF_RESET);
    expect(gpu.unready(1)).toBe(true);
    main.boot();
    optIn(main);
    expect(startingFor(1000)).toBe(true);
    // The driver has gone.
    for (const driver of drivers) driver.mailbox(MAILBOX_ACTION.VF2GUC_VF_RESET);
    expect(gpu.unready(1)).toBe(false);
  });

  it('has nothing to recover from when its driver never came', () => {
    const source = makeGpu();
    const target = makeGpu({}, ELSEWHERE);
    open.push(source, target);
    for (const gpu of [source, target]) for (const gt of [0, 1]) control(gpu, gt, 'PAUSE');
    move(source, target, 1);
    control(target, 0, 'RESUME');
    const driver = driverInGuestMemory(target, 'main', ELSEWHERE);
    driver.boot();
    driver.send(H2G_ACTION.TLB_INVALIDATION, [1, 0], HXG_TYPE.FAST_REQUEST);
    expect(driver.take()).toHaveLength(1);
  });

  it('goes on where it was when saving was all that happened', () => {
    const { source, driver } = scene();
    control(source, 0, 'PAUSE');
    saveState(source, 0);
    control(source, 0, 'RESUME');
    driver.send(H2G_ACTION.SCHED_CONTEXT_MODE_SET, [5, 0]);
    expect(driver.take()).toEqual([[3, 0x90001002, 5, 0]]);
  });
});
