/**
 * Jobs as the kernel driver emits them into a ring.
 *
 * Source: drivers/gpu/drm/xe/xe_ring_ops.c, xe_gt.c:xe_gt_record_default_lrcs.
 */
import { describe, expect, test } from 'vitest';
import {
  A,
  ARB_OFF,
  ARB_ON,
  alu,
  BB_END,
  bbStart,
  CMP,
  flushDw,
  GGTT_BIT,
  gpr,
  lri,
  lrr,
  math,
  pipeControl,
  sdi,
  sdiQword,
  semaphoreWait,
  srm,
  USER_INTERRUPT,
} from './assembler.ts';
import { EngineRig, GGTT, PPGTT } from './engine-rig.ts';

const SEQNO = GGTT.data;
const START_SEQNO = GGTT.data + 8;
const STATE_INVALIDATE = 0x2034_4c1c;
const preparser = (off: boolean) => 0x0280_0100 | (off ? 1 : 0);
const timestamps = [
  ...srm(0x3a8, GGTT.lrc + 512, GGTT_BIT),
  ...srm(0x3a8, GGTT.regs + 0x23 * 4, GGTT_BIT),
];
const end = [USER_INTERRUPT, ARB_ON, preparser(false) & 0x0280_0000];

/** __emit_job_gen12_render_compute. */
const renderJob = (batch: number, ppgtt: boolean, seqno: number, fence?: number) => [
  ...timestamps,
  preparser(true),
  ...pipeControl(STATE_INVALIDATE | (1 << 14) | (1 << 21), 0xd0),
  preparser(false),
  ...sdi(START_SEQNO, seqno, GGTT_BIT),
  ...bbStart(batch, ppgtt ? 0x100 : 0),
  ARB_OFF,
  ...pipeControl(0x1010_10a1),
  ...(fence === undefined ? [] : sdiQword(fence, 0x1_0000_0001n)),
  ...pipeControl((1 << 24) | (1 << 14) | (1 << 20) | (1 << 7), SEQNO, BigInt(seqno)),
  ...end,
];

/** __emit_job_gen12_simple. */
const simpleJob = (batch: number, seqno: number, fence: number) => [
  ...timestamps,
  preparser(true),
  ...flushDw((1 << 14) | (1 << 18), START_SEQNO | 4, seqno),
  preparser(false),
  ...bbStart(batch),
  ARB_OFF,
  ...flushDw(0),
  ...sdiQword(fence, 0x1_0000_0001n),
  ...flushDw(1 << 14, SEQNO | 4, seqno),
  ...end,
];

/** emit_fake_watchdog. */
const fakeWatchdog = [
  ...lri(0x17c, 2, 0x178, 0),
  ...semaphoreWait(GGTT.lrc, 0xdead, CMP.EQ, GGTT_BIT),
  ...lri(0x178, 1),
];

describe('a job', () => {
  test.each(['rcs0', 'ccs0'])('of %s', (engine) => {
    const rig = new EngineRig({ engine });
    rig.ppgtt.put(PPGTT.batch, [...sdi(PPGTT.data, 7), BB_END]);
    rig.now = 5000n;
    rig.submit(ARB_ON, ...renderJob(PPGTT.batch, true, 0xffff_ff81, PPGTT.data + 8));
    expect(rig.run()).toBe('idle');
    expect(rig.ppgtt.get(PPGTT.data, 4)).toEqual([7, 0, 1, 1]);
    expect(rig.ggtt.get(SEQNO, 3)).toEqual([0xffff_ff81, 0, 0xffff_ff81]);
    expect(rig.msis).toBe(1);
    expect(rig.reg(5)).toBe(rig.reg(7));
  });

  test.each(['bcs0', 'bcs8', 'vcs0', 'vecs0'])('of %s', (engine) => {
    const rig = new EngineRig({ engine });
    rig.ppgtt.put(PPGTT.batch, [...sdi(PPGTT.data, 7), BB_END]);
    rig.submit(ARB_ON, ...simpleJob(PPGTT.batch, 3, PPGTT.data + 8));
    expect(rig.run()).toBe('idle');
    expect(rig.ppgtt.get(PPGTT.data, 4)).toEqual([7, 0, 1, 1]);
    expect(rig.ggtt.get(SEQNO, 3)).toEqual([3, 0, 3]);
    expect(rig.msis).toBe(1);
  });

  test('that records the default context: changes registers, waits for its reset', () => {
    const rig = new EngineRig({ kernel: true });
    const chicken = 0xb158;
    rig.ggtt.put(GGTT.batch, [
      ...[0x1100_0003, chicken, 0xff00_00ff, 0x7300, 0x0010_0010],
      ...lri(0xcc, 0x4080_0000),
      ...lrr(chicken, gpr(0), 1 << 19),
      ...lri(gpr(1), 0xf, gpr(2), 0x30),
      ...math(
        alu(A.LOAD, A.SRCA, 0),
        alu(A.LOADINV, A.SRCB, 1),
        alu(A.AND),
        alu(A.STORE, 0, A.ACCU),
        alu(A.LOAD, A.SRCA, 0),
        alu(A.LOAD, A.SRCB, 2),
        alu(A.OR),
        alu(A.STORE, 0, A.ACCU),
      ),
      ...lrr(gpr(0), chicken, 1 << 18),
      ...lri(gpr(0), 0, gpr(1), 0, gpr(2), 0),
      ...lri(0xcc, 0),
      // 3DSTATE_CONSTANT_GS without operands, as the driver leaves it.
      ...[0x7816_0009, ...new Array(10).fill(0)],
      BB_END,
    ]);
    rig.submit(ARB_ON, ...fakeWatchdog, ...renderJob(GGTT.batch, false, 0xffff_ff81));
    const execution = rig.load();
    expect(execution.turn(1000)).toBe('waiting');
    rig.now += 100n;
    expect(execution.turn(1000)).toBe('watchdog');
    const again = rig.load(execution.save());
    expect(again.turn(1000)).toBe('idle');
    again.save();
    expect(rig.ggtt.get(SEQNO)).toEqual([0xffff_ff81]);
    expect(rig.msis).toBe(1);

    // The image that was recorded is what other contexts begin with.
    const user = new EngineRig();
    for (let index = 0x60; index < 1024; index++) user.setReg(index, rig.reg(index));
    user.setReg(3, rig.reg(3));
    user.submit(0x1200_0002, chicken, PPGTT.data, 0, 0x1200_0002, 0x7300, PPGTT.data + 4, 0);
    user.submit(...srm(gpr(0), PPGTT.data + 8));
    user.ppgtt.put(PPGTT.data, [9, 9, 9]);
    user.run();
    expect(user.ppgtt.get(PPGTT.data, 3)).toEqual([0xff00_00f0, 0x10, 0]);
  });

  test('goes on after its GGTT was moved', () => {
    const rig = new EngineRig({ kernel: true });
    const delta = 0x80_0000;
    const batch = (base: number) => [
      ...sdi(base + GGTT.data, 1, GGTT_BIT),
      ...sdi(base + GGTT.data + 4, 2, GGTT_BIT),
      BB_END,
    ];
    rig.ggtt.put(GGTT.batch, batch(0));
    rig.submit(...bbStart(GGTT.batch, 0), ...sdi(GGTT.data + 8, 3, GGTT_BIT));
    const execution = rig.load();
    expect(execution.turn(2)).toBe('more');
    const position = execution.save().rebased(delta);

    const moved = new EngineRig({ kernel: true });
    moved.ggtt.pages.clear();
    for (const [address, page] of rig.ggtt.pages) moved.ggtt.pages.set(address + delta, page);
    // What the driver repairs: addresses in the image, the ring and its own batches.
    moved.ggtt.put(GGTT.regs + delta + 9 * 4, [GGTT.ring + delta]);
    moved.ggtt.put(GGTT.batch + delta, batch(delta));
    moved.ggtt.put(GGTT.ring + delta + 16, [GGTT.data + delta + 8]);
    const again = moved.load(position, delta);
    expect(again.turn(100)).toBe('idle');
    expect(moved.ggtt.get(GGTT.data + delta, 3)).toEqual([1, 2, 3]);
  });
});
