import { describe, expect, test } from 'vitest';
import {
  ARB_CHECK,
  ARB_OFF,
  ARB_ON,
  BB_END,
  bbStart,
  CMP,
  GGTT_BIT,
  gpr,
  lri,
  NOOP,
  sdi,
  semaphoreWait,
} from './assembler.ts';
import { EngineRig, GGTT, PPGTT } from './engine-rig.ts';

const { batch, data } = PPGTT;

describe('MI_SEMAPHORE_WAIT', () => {
  test.each([
    ['GT', CMP.GT, 4, 5],
    ['GTE', CMP.GTE, 4, 6],
    ['LT', CMP.LT, 6, 4],
    ['LTE', CMP.LTE, 6, 5],
    ['EQ', CMP.EQ, 4, 5],
    ['NEQ', CMP.NEQ, 5, 4],
  ])('waits until memory is %s', (name, operation, before, after) => {
    const rig = new EngineRig();
    const inline = name === 'GT' ? 4 : 5;
    rig.ppgtt.put(data, [before]);
    rig.ppgtt.put(batch, [...semaphoreWait(data, inline, operation), ...sdi(data + 4, 1), BB_END]);
    rig.submit(...bbStart(batch));
    const execution = rig.load();
    expect(execution.turn(100)).toBe('waiting');
    expect(execution.turn(100)).toBe('waiting');
    expect(rig.ppgtt.get(data + 4)).toEqual([0]);
    rig.ppgtt.put(data, [after]);
    expect(execution.turn(100)).toBe('idle');
    expect(rig.ppgtt.get(data + 4)).toEqual([1]);
  });

  test('has a form without token, and a signal mode', () => {
    for (const mode of [0x8000, 0]) {
      const rig = new EngineRig();
      rig.ppgtt.put(batch, [0x0e00_0002 | mode | (CMP.EQ << 12), 1, data, 0, BB_END]);
      rig.submit(...bbStart(batch));
      const execution = rig.load();
      expect(execution.turn(100)).toBe('waiting');
      rig.ppgtt.put(data, [1]);
      expect(execution.turn(100)).toBe('idle');
    }
  });

  test('polls the GGTT from the ring', () => {
    const rig = new EngineRig();
    rig.submit(...semaphoreWait(GGTT.data, 1, CMP.EQ, GGTT_BIT), NOOP);
    const execution = rig.load();
    expect(execution.turn(100)).toBe('waiting');
    rig.ggtt.put(GGTT.data, [1]);
    expect(execution.turn(100)).toBe('idle');
  });

  test('polls a register', () => {
    const rig = new EngineRig();
    const poll = semaphoreWait(0x2608, 7, CMP.EQ, 1 << 16);
    expect(rig.runBatch(...lri(gpr(1), 7), ...poll)).toBe('idle');
    expect(new EngineRig().runBatch(...poll)).toBe('waiting');
  });

  test('takes its operand from CS_GPR_R0', () => {
    const rig = new EngineRig();
    rig.ppgtt.put(data, [9]);
    const wait = semaphoreWait(data, 1, CMP.EQ, 1 << 17);
    expect(rig.runBatch(...lri(gpr(0), 9), ...wait)).toBe('idle');
  });

  test('is counted once, when it is over', () => {
    const rig = new EngineRig();
    rig.submit(...semaphoreWait(data, 1, CMP.EQ), NOOP);
    const execution = rig.load();
    for (let turn = 0; turn < 5; turn++) execution.turn(10);
    expect(rig.commands.get('MI_SEMAPHORE_WAIT')).toBeUndefined();
    rig.ppgtt.put(data, [1]);
    execution.turn(10);
    expect(rig.commands.get('MI_SEMAPHORE_WAIT')).toBe(1);
  });

  test('MI_SEMAPHORE_SIGNAL is accepted', () => {
    expect(new EngineRig().runBatch(0x0d80_0000, 0)).toBe('idle');
  });
});

describe('the watchdog counter', () => {
  const watchdog = [
    ...lri(0x17c, 2, 0x178, 0),
    ...semaphoreWait(GGTT.lrc, 0xdead, CMP.EQ, GGTT_BIT),
    ...lri(0x178, 1),
  ];

  test('gives up a wait that never ends, once', () => {
    const rig = new EngineRig({ kernel: true });
    rig.submit(...watchdog, ...sdi(GGTT.data, 1, GGTT_BIT));
    const execution = rig.load();
    expect(execution.turn(100)).toBe('waiting');
    rig.now += 2n;
    expect(execution.turn(100)).toBe('watchdog');
    expect(rig.ggtt.get(GGTT.data)).toEqual([0]);
    const position = execution.save();
    expect(position.dwords).toEqual([]);
    expect(rig.load(position).turn(100)).toBe('idle');
    expect(rig.ggtt.get(GGTT.data)).toEqual([1]);
  });

  test('runs on when the context was off the engine', () => {
    const rig = new EngineRig({ kernel: true });
    rig.submit(...watchdog);
    const execution = rig.load();
    expect(execution.turn(100)).toBe('waiting');
    const again = rig.load(execution.save());
    rig.now += 2n;
    expect(again.turn(100)).toBe('watchdog');
  });

  test('does nothing once it is stopped', () => {
    const rig = new EngineRig();
    rig.submit(...lri(0x17c, 2, 0x178, 0), ...lri(0x178, 1), ...semaphoreWait(data, 1, CMP.EQ));
    const execution = rig.load();
    rig.now += 1000n;
    expect(execution.turn(100)).toBe('waiting');
  });
});

describe('taking a context off', () => {
  test('needs an arbitration point', () => {
    const rig = new EngineRig();
    rig.ppgtt.put(batch, [NOOP, ...bbStart(batch)]);
    rig.submit(...bbStart(batch));
    const execution = rig.load();
    execution.turn(100);
    expect(execution.preemptible).toBe(false);
    rig.ppgtt.put(batch, [ARB_CHECK]);
    execution.turn(100);
    expect(execution.preemptible).toBe(true);
  });

  test('needs arbitration to be on', () => {
    const rig = new EngineRig();
    rig.submit(ARB_OFF, ...semaphoreWait(data, 1, CMP.EQ));
    const execution = rig.load();
    expect(execution.turn(100)).toBe('waiting');
    expect(execution.preemptible).toBe(false);
    const again = rig.load(execution.save());
    expect(again.preemptible).toBe(false);
    rig.ppgtt.put(data, [1]);
    rig.submit(ARB_ON);
    expect(again.turn(100)).toBe('idle');
    expect(again.preemptible).toBe(true);
  });

  test('is possible while it waits or has nothing to do', () => {
    const rig = new EngineRig();
    const execution = rig.load();
    expect(execution.turn(100)).toBe('idle');
    expect(execution.preemptible).toBe(true);
    rig.submit(...semaphoreWait(data, 1, CMP.EQ), NOOP);
    expect(execution.turn(100)).toBe('waiting');
    expect(execution.preemptible).toBe(true);
  });
});
