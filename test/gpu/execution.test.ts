/** The whole device, from a doorbell to the interrupt: real command streamers under a real scheduler. */
import { afterEach, describe, expect, test } from 'vitest';
import { EmulatedGpu } from '../../src/gpu/emulated-gpu.ts';
import { XePf } from '../../src/pf/xe-pf.ts';
import { EventFd } from '../../src/sys/eventfd.ts';
import { GUC_CLASS, H2G_ACTION, MAILBOX_ACTION } from '../../src/xe/guc/vf-actions.ts';
import {
  BB_END,
  bbStart,
  GGTT_BIT,
  memCopy,
  NOOP,
  sdi,
  USER_INTERRUPT,
} from './engine/assembler.ts';
import { SubmittingVf } from './guc/engine-gpu.ts';
import {
  control,
  GUC_MEMORY_SIZE,
  guestMemory,
  MIB,
  provision,
  QUOTA,
  restoreState,
  saveState,
  tileOf,
  VfDriver,
} from './vf-driver.ts';

const open: Array<{ close(): void }> = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

/** Pages of a context behind the driver's memory: its image at page 2n, then these. */
const RING_PAGE = 20;
const BATCH_PAGE = 21;
const DATA_PAGE = 22;
const MEMIRQ_PAGE = 23;

const until = async (what: () => boolean): Promise<void> => {
  while (!what()) await new Promise((resolve) => setImmediate(resolve));
};

/** A GPU with a VF whose driver has one kernel context on the render engine. */
function scene() {
  const gpu = new EmulatedGpu({ platform: 'ptl' });
  open.push(gpu);
  provision(gpu, 1);
  const vf = new SubmittingVf(gpu, 1, QUOTA, 'main');
  const view = new DataView(vf.images.buffer);
  const context = vf.context(1);
  const image = 2 * 4096 + 4096;
  const regs: ReadonlyArray<readonly [index: number, value: number]> = [
    [0x01, 0x1108_1019],
    [0x03, 0x0009_0009],
    [0x09, vf.page(RING_PAGE)],
    [0x0b, 1],
    [0x52, vf.page(MEMIRQ_PAGE) + 0x440],
    [0x57, vf.page(MEMIRQ_PAGE)],
    [0x59, vf.page(MEMIRQ_PAGE) + 0x400],
  ];
  for (const [index, value] of regs) view.setUint32(image + index * 4, value, true);
  view.setUint32(MEMIRQ_PAGE * 4096 + 0x440, 1, true);
  const put = (page: number, dwords: readonly number[]) => {
    for (const [n, dword] of dwords.entries()) view.setUint32(page * 4096 + n * 4, dword, true);
  };
  const submit = (...dwords: number[]) => {
    put(RING_PAGE, dwords);
    view.setUint32(image + 0x07 * 4, dwords.length * 4, true);
  };
  const data = (n = 0) => view.getUint32(DATA_PAGE * 4096 + n * 4, true);
  return { gpu, vf, view, context, put, submit, data };
}

describe('a context on a command streamer', () => {
  test('does its work and interrupts the driver', async () => {
    const { gpu, vf, view, submit, data } = scene();
    const msi = new EventFd();
    open.push(msi);
    gpu.vf(1).setIrqTrigger(1, 0, msi.fd);
    submit(...sdi(vf.page(DATA_PAGE), 0x600d, GGTT_BIT), USER_INTERRUPT, NOOP);
    vf.start(1);
    expect(data()).toBe(0);
    await until(() => view.getUint8(MEMIRQ_PAGE * 4096 + 0x400) === 0xff);
    expect(data()).toBe(0x600d);
    expect(view.getUint8(MEMIRQ_PAGE * 4096)).toBe(0xff);
    expect(msi.take()).toBeGreaterThan(0);
    expect(gpu.counters(1).snapshot().interrupts['rcs0']).toBe(1);
  });

  test('is moved out of the middle of an endless batch, which goes on at the new place', async () => {
    const { gpu, vf, view, put, submit, data } = scene();
    const batch = vf.page(BATCH_PAGE);
    const loop = [...sdi(vf.page(DATA_PAGE), 1, GGTT_BIT), 0x0280_0000, ...bbStart(batch, 0)];
    put(BATCH_PAGE, loop);
    submit(...bbStart(batch, 0), NOOP);
    vf.start(1);
    await until(() => data() === 1);

    const target = new EmulatedGpu({ platform: 'ptl' });
    open.push(target);
    const quota = { ...QUOTA, ggttStart: QUOTA.ggttStart + 256 * MIB };
    provision(target, 1, quota);
    for (const one of [gpu, target]) control(one, 0, 'PAUSE');
    const ptes = new Uint32Array((QUOTA.ggttSize / 4096) * 2);
    tileOf(gpu).ggtt.readPtes(QUOTA.ggttStart, ptes);
    tileOf(target).ggtt.writePtes(quota.ggttStart, ptes);
    restoreState(target, 0, saveState(gpu, 0));
    expect(target.digests(1).guc).toBe(gpu.digests(1).guc);
    const { buffer, byteOffset, byteLength } = vf.driver.memory;
    const bytes = new Uint8Array(buffer, byteOffset, byteLength).subarray(0, GUC_MEMORY_SIZE);
    for (const [iova, memory] of [
      [0x1_2345_6000, bytes],
      [0x2_0000_0000, vf.images],
    ] as const) {
      const { mapping } = guestMemory(iova, memory.length);
      target.vf(1).dmaMap({
        ...mapping,
        memory: {
          windows: [memory],
          read: (offset, into) => into.set(memory.subarray(offset, offset + into.length)),
          write: (offset, from) => memory.set(from, offset),
        },
      });
    }
    // What the driver's recovery does: the batch's own addresses, and the ring's.
    const moved = vf.page(DATA_PAGE) + 256 * MIB;
    view.setUint32(DATA_PAGE * 4096, 0, true);
    put(BATCH_PAGE, [...sdi(moved, 2, GGTT_BIT), 0x0280_0000, BB_END, NOOP, NOOP]);
    view.setUint32(3 * 4096 + 0x09 * 4, vf.page(RING_PAGE) + 256 * MIB, true);
    control(target, 0, 'RESUME');
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(data()).toBe(0);
    const driver = new VfDriver(target.vf(1), 'main', bytes, quota.ggttStart);
    driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_START, 1);
    driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_DONE, 1);
    // It may have stood behind the store; then it has ended and stores when it is started again.
    await until(() => view.getUint32(3 * 4096 + 0x05 * 4, true) === 16);
    view.setUint32(3 * 4096 + 0x05 * 4, 0, true);
    put(RING_PAGE, [...bbStart(batch + 256 * MIB, 0), NOOP]);
    driver.send(H2G_ACTION.SCHED_CONTEXT, [1]);
    await until(() => data() === 2);
    expect(target.counters(1).snapshot().faults).toEqual({});
  });
});

/** A clock of which each look takes a while, and turns that only the test gives. */
class SteppedTurns {
  time = 0;
  turn: () => number = () => Number.POSITIVE_INFINITY;
  readonly now = () => {
    this.time += 0.02;
    return this.time;
  };
  readonly source = {
    attach: (turn: () => number) => {
      this.turn = turn;
      return { wake: () => {}, close: () => {} };
    },
  };

  run(ms: number): void {
    for (const end = this.time + ms; this.time < end; ) this.turn();
  }
}

describe('VFs that copy without end', () => {
  const COPY_SIZE = 4096;

  /** A context on the copy engine whose batch copies a page, over and over again. */
  function copyForEver(vf: SubmittingVf): void {
    const view = new DataView(vf.images.buffer);
    const put = (page: number, dwords: readonly number[]) => {
      for (const [n, dword] of dwords.entries()) view.setUint32(page * 4096 + n * 4, dword, true);
    };
    const regs: ReadonlyArray<readonly [index: number, value: number]> = [
      [0x01, 0x1108_1019],
      [0x03, 0x0009_0009],
      [0x07, 16],
      [0x09, vf.page(RING_PAGE)],
      [0x0b, 1],
    ];
    for (const [index, value] of regs) view.setUint32(3 * 4096 + index * 4, value, true);
    put(RING_PAGE, [...bbStart(vf.page(BATCH_PAGE), 0), NOOP]);
    const copy = memCopy(vf.page(DATA_PAGE), vf.page(DATA_PAGE + 2), COPY_SIZE);
    put(BATCH_PAGE, [...copy, ...bbStart(vf.page(BATCH_PAGE), 0)]);
    vf.start(1, { engineClass: GUC_CLASS.BLITTER });
  }

  test.each([
    [10, 10],
    [10, 30],
    [80, 20],
  ])('move bytes by their shares: slices of %i and %i ms', (first, second) => {
    const turns = new SteppedTurns();
    const gpu = new EmulatedGpu({ platform: 'ptl', turns: turns.source, now: turns.now });
    open.push(gpu);
    const pf = new XePf({ device: gpu.device });
    pf.enableVfs(2);
    pf.provisioning.setExecQuantum(1, first);
    pf.provisioning.setExecQuantum(2, second);
    for (const vfid of [1, 2]) {
      const { ggttStart, ggttSize, contexts, doorbells } = pf.vfConfig(vfid);
      const quota = { ggttStart, ggttSize, vram: 0, contexts, doorbells };
      copyForEver(new SubmittingVf(gpu, vfid, quota, 'main'));
    }
    turns.run(800);
    const [one = 0, two = 0] = [1, 2].map((vfid) => gpu.counters(vfid).snapshot().copiedBytes);
    expect(one + two).toBeGreaterThan(1000 * COPY_SIZE);
    expect(one / (one + two)).toBeCloseTo(first / (first + second), 1);
    expect([1, 2].map((vfid) => gpu.counters(vfid).snapshot().faults)).toEqual([{}, {}]);
  });
});
