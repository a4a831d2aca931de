/**
 * What a batch without privilege may not do.
 *
 * Source: Intel's PRM, "User Mode Privileged Commands" and "User Mode Non-Privileged Registers".
 */
import { describe, expect, test } from 'vitest';
import {
  ARB_CHECK,
  ARB_OFF,
  at,
  atomicInline,
  BB_END,
  bbStart,
  CMP,
  condEnd,
  flushDw,
  GGTT_BIT,
  gpr,
  lri,
  lrm,
  lrr,
  pipeControl,
  sdi,
  semaphoreWait,
  srm,
} from './assembler.ts';
import { EngineRig, GGTT, PPGTT } from './engine-rig.ts';

const { data } = PPGTT;
const SECRET = 0x5ec2_e700;

/** A rig in which the same address is mapped in both spaces. */
function rigWithAlias(engine = 'rcs0'): EngineRig {
  const rig = new EngineRig({ engine });
  rig.ppgtt.map(GGTT.data, 4096);
  rig.ggtt.put(GGTT.data, [SECRET, SECRET]);
  return rig;
}

describe('with the GGTT bit a command of a user batch is a NOOP', () => {
  test.each<[string, number[]]>([
    ['MI_STORE_DATA_IMM', sdi(GGTT.data, 1, GGTT_BIT)],
    ['MI_STORE_REGISTER_MEM', srm(gpr(0), GGTT.data, GGTT_BIT)],
    ['MI_ATOMIC', atomicInline(7, GGTT.data, 1n, 0n, GGTT_BIT)],
    ['MI_COPY_MEM_MEM to it', [0x1720_0003, ...at(GGTT.data), ...at(data)]],
    ['MI_COPY_MEM_MEM from it', [0x1740_0003, ...at(data), ...at(GGTT.data)]],
    ['MI_SEMAPHORE_WAIT', semaphoreWait(GGTT.data, 1, CMP.EQ, GGTT_BIT)],
    ['MI_CONDITIONAL_BATCH_BUFFER_END', condEnd(GGTT.data, 1, CMP.EQ, GGTT_BIT)],
    ['MI_LOAD_REGISTER_MEM', [...lrm(gpr(1), GGTT.data, GGTT_BIT), ...srm(gpr(1), data)]],
    ['PIPE_CONTROL', pipeControl((1 << 14) | (1 << 24), GGTT.data, 1n)],
    ['PIPE_CONTROL by index', pipeControl((1 << 14) | (1 << 21), 0x200, 1n)],
    ['MI_STORE_DATA_INDEX', [0x1080_0001, 0x200, 1]],
  ])('%s', (_, command) => {
    const rig = rigWithAlias();
    expect(rig.runBatch(...lri(gpr(0), 7), ...command, ...sdi(data + 64, 1))).toBe('idle');
    expect(rig.ggtt.get(GGTT.data, 2)).toEqual([SECRET, SECRET]);
    expect(rig.ggtt.get(GGTT.lrc + 0x200)).toEqual([0]);
    expect(rig.ppgtt.get(GGTT.data, 2)).toEqual([0, 0]);
    expect(rig.ppgtt.get(data)).toEqual([0]);
    expect(rig.ppgtt.get(data + 64)).toEqual([1]);
  });

  test.each<[string, number[]]>([
    ['MI_FLUSH_DW', flushDw(1 << 14, GGTT.data | 4, 1)],
    ['MI_FLUSH_DW by index', flushDw((1 << 14) | (1 << 21), 0x200, 1)],
  ])('%s', (_, command) => {
    const rig = rigWithAlias('bcs0');
    expect(rig.runBatch(...command)).toBe('idle');
    expect(rig.ggtt.get(GGTT.data)).toEqual([SECRET]);
    expect(rig.ggtt.get(GGTT.lrc + 0x200)).toEqual([0]);
    expect(rig.ppgtt.get(GGTT.data)).toEqual([0]);
  });

  test('but a flush still interrupts', () => {
    const rig = rigWithAlias('bcs0');
    rig.ggtt.writeU32(GGTT.memirq + 0x440, 0x10);
    rig.runBatch(...flushDw((1 << 14) | (1 << 8), GGTT.data | 4, 1));
    expect(rig.msis).toBe(1);
  });
});

describe('a user batch', () => {
  test('starts no batch in the GGTT', () => {
    const rig = new EngineRig();
    rig.ggtt.put(GGTT.batch, [...sdi(data, SECRET), BB_END]);
    rig.ppgtt.map(GGTT.batch, 4096).put(GGTT.batch, [...sdi(data, 1), BB_END]);
    expect(rig.runBatch(...bbStart(GGTT.batch, 0))).toBe('idle');
    expect(rig.ppgtt.get(data)).toEqual([1]);
  });

  test('does not become privileged by a nested batch', () => {
    const rig = rigWithAlias();
    rig.ppgtt.put(PPGTT.second, [...sdi(GGTT.data, 1, GGTT_BIT), BB_END]);
    rig.runBatch(...bbStart(PPGTT.second, 1 << 22), ...sdi(GGTT.data, 2, GGTT_BIT));
    expect(rig.ggtt.get(GGTT.data)).toEqual([SECRET]);
  });

  test('of a context without a PPGTT is not privileged either', () => {
    const rig = new EngineRig({ kernel: true });
    rig.ggtt.put(GGTT.batch, [...sdi(GGTT.data, 1, GGTT_BIT), ...sdi(GGTT.data + 4, 2), BB_END]);
    rig.submit(...bbStart(GGTT.batch));
    expect(rig.run()).toBe('idle');
    expect(rig.ggtt.get(GGTT.data, 2)).toEqual([0, 2]);
  });

  test('does not switch arbitration', () => {
    const rig = new EngineRig();
    rig.ppgtt.put(PPGTT.batch, [ARB_OFF, ARB_CHECK, ...bbStart(PPGTT.batch)]);
    rig.submit(...bbStart(PPGTT.batch));
    const execution = rig.load();
    execution.turn(50);
    expect(execution.preemptible).toBe(true);
  });

  test('has NOOPs for privileged commands that are gone', () => {
    const rig = new EngineRig();
    expect(rig.runBatch(0x1180_0001, 0, 0, ...sdi(data, 1))).toBe('idle');
    expect(rig.ppgtt.get(data)).toEqual([1]);
    expect(new EngineRig().runRing(0x1180_0000, 0)).toBe('hang');
  });
});

describe('registers', () => {
  /** Writes a register from a user batch in every way, and reads it back from the ring. */
  function written(engine: string, offset: number): number {
    const rig = new EngineRig({ engine });
    const absolute = rig.engine.mmioBase + offset;
    rig.ppgtt.put(data, [7]);
    rig.runBatch(
      0x1100_0001,
      absolute,
      7,
      0x1480_0002,
      absolute,
      ...at(data),
      ...lri(gpr(0), 7),
      ...lrr(gpr(0), absolute, 1 << 18),
    );
    rig.submit(0x1200_0002, absolute, ...at(data + 4));
    rig.run();
    return rig.ppgtt.get(data + 4)[0] as number;
  }

  test.each([
    ['CS_GPR_R15', 0x67c],
    ['MI_PREDICATE_RESULT', 0x418],
    ['MI_PREDICATE_RESULT_2', 0x3bc],
    ['3DPRIM_BASE_VERTEX', 0x440],
    ['GPGPU_DISPATCHDIMZ', 0x508],
  ])('%s may be written', (_, offset) => {
    for (const engine of ['rcs0', 'bcs0', 'vcs0']) expect(written(engine, offset)).toBe(7);
  });

  test.each([
    ['RING_MI_MODE', 0x9c],
    ['RING_IMR', 0xa8],
    ['PR_CTR_THRSH', 0x17c],
    ['RING_FORCE_TO_NONPRIV', 0x4d0],
    ['the one behind the GPRs', 0x680],
  ])('%s may not be written', (_, offset) => {
    for (const engine of ['rcs0', 'bcs0', 'vcs0']) expect(written(engine, offset)).toBe(0);
  });

  test('that the PF driver allows may be written, on render engines', () => {
    const ffMode = 0x6210;
    expect(written('rcs0', ffMode - 0x2000)).toBe(7);
    expect(written('ccs0', ffMode - 0x1_a000)).toBe(0);
    expect(written('rcs0', 0xb158 - 0x2000)).toBe(0);
  });

  test('are not written by the post-sync of a user batch either', () => {
    const rig = new EngineRig();
    rig.runBatch(...pipeControl((1 << 14) | (1 << 23), 0x209c, 0xffff_ffffn));
    rig.submit(0x1200_0002, 0x209c, ...at(data));
    rig.run();
    expect(rig.ppgtt.get(data)).toEqual([0]);
  });

  test('may be read', () => {
    const rig = new EngineRig();
    rig.now = 99n;
    rig.runBatch(...srm(0x358, data), ...srm(0x3a8, data + 4));
    expect(rig.ppgtt.get(data, 2)).toEqual([99, 0]);
  });
});
