import { describe, expect, test } from 'vitest';
import { flushDw, NOOP, pipeControl, setPredicate, USER_INTERRUPT } from './assembler.ts';
import { EngineRig, GGTT, PPGTT } from './engine-rig.ts';

const { data } = PPGTT;
const POST_SYNC = { IMMEDIATE: 1 << 14, DEPTH: 2 << 14, TIMESTAMP: 3 << 14 };
const STORE_INDEX = 1 << 21;
const TLB = 1 << 18;
const NOTIFY = 1 << 8;

/** Bytes of the status and source page of an engine. */
function interrupts(rig: EngineRig): { status: number[]; source: number } {
  const offset = rig.engine.memirqOffset;
  const status = new Uint8Array(16);
  const source = new Uint8Array(1);
  rig.ggtt.read(GGTT.memirq + offset * 16, status);
  rig.ggtt.read(GGTT.memirq + 0x400 + offset, source);
  return { status: [...status], source: source[0] as number };
}

describe('PIPE_CONTROL', () => {
  test('writes a qword to the PPGTT or the GGTT', () => {
    const rig = new EngineRig();
    rig.submit(...pipeControl(POST_SYNC.IMMEDIATE, data, 0x1_0000_0002n));
    rig.submit(...pipeControl(POST_SYNC.IMMEDIATE | (1 << 24), GGTT.data, 3n));
    expect(rig.run()).toBe('idle');
    expect(rig.ppgtt.get(data, 3)).toEqual([2, 1, 0]);
    expect(rig.ggtt.get(GGTT.data, 2)).toEqual([3, 0]);
  });

  test('writes time, and no depth count', () => {
    const rig = new EngineRig();
    rig.now = 0x5_0000_0006n;
    rig.ppgtt.put(data, [9, 9, 9, 9]);
    rig.submit(...pipeControl(POST_SYNC.TIMESTAMP, data));
    rig.submit(...pipeControl(POST_SYNC.DEPTH, data + 8));
    rig.run();
    expect(rig.ppgtt.get(data, 4)).toEqual([6, 5, 0, 0]);
  });

  test('writes into the status page by index, as the driver does to invalidate', () => {
    const rig = new EngineRig();
    rig.ggtt.put(GGTT.lrc + 0xd0, [9, 9]);
    rig.runRing(...pipeControl(POST_SYNC.IMMEDIATE | STORE_INDEX, 0xd0));
    expect(rig.ggtt.get(GGTT.lrc + 0xd0, 2)).toEqual([0, 0]);
  });

  test('loads a register instead', () => {
    const rig = new EngineRig();
    rig.submit(...pipeControl(POST_SYNC.IMMEDIATE | (1 << 23), 0x2600, 8n));
    rig.submit(0x1200_0002, 0x2600, data, 0);
    rig.run();
    expect(rig.ppgtt.get(data)).toEqual([8]);
  });

  test('invalidates the TLB when told to', () => {
    const rig = new EngineRig();
    const execution = rig.load();
    const before = rig.ppgtt.invalidations;
    rig.submit(...pipeControl(TLB), ...pipeControl(0));
    execution.turn(10);
    expect(rig.ppgtt.invalidations).toBe(before + 1);
  });

  test('is predicated when told to', () => {
    const rig = new EngineRig();
    const write = pipeControl(POST_SYNC.IMMEDIATE, data, 1n);
    rig.runBatch(setPredicate(15), (write[0] as number) | (1 << 8), ...write.slice(1));
    expect(rig.ppgtt.get(data)).toEqual([0]);
  });

  test('is no command of other engines', () => {
    for (const engine of ['bcs0', 'vcs0', 'vecs0'])
      expect(new EngineRig({ engine }).runBatch(...pipeControl(0)), engine).toBe('hang');
  });
});

describe('MI_FLUSH_DW', () => {
  test('writes a dword or a qword', () => {
    const rig = new EngineRig({ engine: 'bcs0' });
    rig.ggtt.put(GGTT.data, [9, 9, 9, 9]);
    rig.submit(...flushDw(POST_SYNC.IMMEDIATE, GGTT.data | 4, 7));
    rig.submit(0x1300_0003 | POST_SYNC.IMMEDIATE, (GGTT.data + 8) | 4, 0, 5, 6);
    expect(rig.run()).toBe('idle');
    expect(rig.ggtt.get(GGTT.data, 4)).toEqual([7, 9, 5, 6]);
  });

  test('writes time', () => {
    const rig = new EngineRig({ engine: 'vcs0' });
    rig.now = 0x1_0000_0002n;
    rig.runBatch(...flushDw(POST_SYNC.TIMESTAMP, data));
    expect(rig.ppgtt.get(data, 2)).toEqual([2, 1]);
  });

  test('writes into the status page by index', () => {
    const rig = new EngineRig({ engine: 'vecs0' });
    rig.runRing(...flushDw(POST_SYNC.IMMEDIATE | STORE_INDEX, 0xd0, 4));
    expect(rig.ggtt.get(GGTT.lrc + 0xd0)).toEqual([4]);
  });

  test('invalidates the TLB when told to', () => {
    const rig = new EngineRig({ engine: 'bcs0' });
    const execution = rig.load();
    const before = rig.ppgtt.invalidations;
    rig.submit(...flushDw(TLB));
    execution.turn(10);
    expect(rig.ppgtt.invalidations).toBe(before + 1);
  });

  test('is no command of render and compute engines', () => {
    for (const engine of ['rcs0', 'ccs0'])
      expect(new EngineRig({ engine }).runBatch(...flushDw(0)), engine).toBe('hang');
  });
});

describe('interrupts', () => {
  test.each(['rcs0', 'ccs0', 'bcs0', 'bcs8', 'vcs0', 'vecs0'])('of %s', (engine) => {
    const rig = new EngineRig({ engine });
    rig.runRing(USER_INTERRUPT, NOOP);
    const { status, source } = interrupts(rig);
    expect(status).toEqual([0xff, ...new Array(15).fill(0)]);
    expect(source).toBe(0xff);
    expect(rig.msis).toBe(1);
  });

  test('that the driver has not enabled are not raised', () => {
    const rig = new EngineRig();
    rig.ggtt.writeU32(GGTT.memirq + 0x440, 0);
    rig.runRing(USER_INTERRUPT, NOOP);
    expect(interrupts(rig).source).toBe(0);
    expect(rig.msis).toBe(0);
  });

  test('of a context without pages for them are not raised', () => {
    const rig = new EngineRig();
    rig.setReg(0x57, 0);
    expect(rig.runRing(USER_INTERRUPT, NOOP)).toBe('idle');
    expect(rig.msis).toBe(0);
  });

  test('of a flush that notifies', () => {
    const render = new EngineRig();
    render.ggtt.writeU32(GGTT.memirq + 0x440, 0x10);
    render.runRing(...pipeControl(NOTIFY));
    expect(interrupts(render).status[4]).toBe(0xff);
    const copy = new EngineRig({ engine: 'bcs0' });
    copy.ggtt.writeU32(GGTT.memirq + 0x440, 0x10);
    copy.runRing(...flushDw(NOTIFY));
    expect(interrupts(copy).status[4]).toBe(0xff);
    expect(copy.msis).toBe(1);
  });
});

describe('COMPUTE_WALKER', () => {
  /** A walker with its post-sync operation. */
  const walker = (operation: number, address = 0, value = 0n, header = 0x7208_0026) => {
    const dwords: number[] = new Array(40).fill(0);
    dwords[0] = header;
    dwords[27] = operation;
    dwords[28] = address;
    dwords[30] = Number(value & 0xffff_ffffn);
    dwords[31] = Number(value >> 32n);
    return dwords;
  };

  test('runs no threads but writes what follows them', () => {
    for (const engine of ['rcs0', 'ccs0']) {
      const rig = new EngineRig({ engine });
      expect(rig.runBatch(...walker(1, data, 0x2_0000_0001n))).toBe('idle');
      expect(rig.ppgtt.get(data, 2)).toEqual([1, 2]);
    }
  });

  test('writes when it began and ended', () => {
    const rig = new EngineRig();
    rig.now = 0x1_0000_0000n;
    rig.setReg(0x23, 7);
    rig.runBatch(...walker(3, data));
    expect(rig.ppgtt.get(data, 8)).toEqual([7, 0, 0, 1, 7, 0, 0, 1]);
  });

  test('does nothing without one, or when it is predicated', () => {
    const rig = new EngineRig();
    expect(rig.runBatch(...walker(0, data), ...walker(1, data, 1n, 0x7208_0126))).toBe('idle');
    expect(rig.ppgtt.get(data)).toEqual([0]);
  });
});
