import { afterEach, describe, expect, test } from 'vitest';
import { EmulatedGpu } from '../../../src/gpu/emulated-gpu.ts';
import type { GpuMemoryFault } from '../../../src/gpu/engine/contracts.ts';
import { H2G_ACTION, MAILBOX_ACTION } from '../../../src/xe/guc/vf-actions.ts';
import {
  control,
  GUC_MEMORY_SIZE,
  gtOf,
  guestMemory,
  MIB,
  provision,
  QUOTA,
  restoreState,
  saveState,
  tileOf,
  VfDriver,
} from '../vf-driver.ts';
import { scriptedGpu } from './engine-gpu.ts';
import { ScriptedEngines, type ScriptStep } from './scripted-engine.ts';

const SPIN: ScriptStep = { end: 'more', times: Number.POSITIVE_INFINITY };
const FAULT: GpuMemoryFault = { address: 0x5000, access: 'read', level: 0, type: 'not-present' };
const DELTA = 512 * MIB;
const ELSEWHERE = { ...QUOTA, ggttStart: QUOTA.ggttStart + DELTA };

const open: Array<{ close(): void }> = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

/** A VF on one GPU, and another GPU to which it can be moved. */
function scene() {
  const source = scriptedGpu();
  const engines = new ScriptedEngines();
  const gpu = new EmulatedGpu({
    platform: 'ptl',
    loader: engines,
    turns: engines.turns,
    now: engines.now,
  });
  provision(gpu, 1, ELSEWHERE);
  open.push(source.gpu, gpu);
  /** Moves the VF; the driver on the target has the same memory. */
  const move = () => {
    for (const one of [source.gpu, gpu]) control(one, 0, 'PAUSE');
    const ptes = new Uint32Array((QUOTA.ggttSize / 4096) * 2);
    tileOf(source.gpu).ggtt.readPtes(QUOTA.ggttStart, ptes);
    tileOf(gpu).ggtt.writePtes(ELSEWHERE.ggttStart, ptes);
    const state = saveState(source.gpu, 0);
    restoreState(gpu, 0, state);
    const { buffer, byteOffset, byteLength } = source.vf.driver.memory;
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    share(gpu, 0x1_2345_6000, bytes.subarray(0, GUC_MEMORY_SIZE));
    share(gpu, 0x2_0000_0000, source.vf.images);
    control(gpu, 0, 'RESUME');
    return { state, driver: new VfDriver(gpu.vf(1), 'main', bytes, ELSEWHERE.ggttStart) };
  };
  const recover = (driver: VfDriver) => {
    driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_START, 1);
    expect(driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_DONE, 1)[0]).toBe(0xf000_0000);
  };
  return { source, target: { gpu, engines }, move, recover };
}

function share(gpu: EmulatedGpu, iova: number, bytes: Uint8Array): void {
  const { mapping } = guestMemory(iova, bytes.length);
  gpu.vf(1).dmaMap({
    ...mapping,
    memory: {
      windows: [bytes],
      read: (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
      write: (offset, from) => bytes.set(from, offset),
    },
  });
}

/** Events of a driver as [action, ...payload]. */
const taken = (driver: VfDriver) =>
  driver.take().map(([, header = 0, ...payload]) => [header & 0xffff, ...payload]);

describe('a context that is moved', () => {
  test('goes on where it stood, at its new place in the GGTT, once its VF has recovered', () => {
    const { source, target, move, recover } = scene();
    const context = source.vf.context(1);
    const moved = context.lrc + DELTA;
    source.engines.script(context.lrc, { ...SPIN, preemptible: false });
    target.engines.script(moved, { end: 'more', times: 10 });
    source.vf.start(1);
    source.engines.run(3);
    const { driver } = move();
    target.engines.run(10);
    expect(target.engines.events).toEqual([]);
    recover(driver);
    target.engines.run(10);
    expect(target.engines.placesOf(moved)).toEqual(['rcs0']);
    expect(gtOf(target.gpu, 0).guc).toBeDefined();
    expect(source.engines.busy).toBe(false);
  });

  test('has the same digests on both sides, whatever it was doing', () => {
    const { source, target, move } = scene();
    const { vf, engines } = source;
    engines.script(vf.context(1).lrc, SPIN);
    engines.script(vf.context(2).lrc, { end: 'page-fault', fault: FAULT }, SPIN);
    engines.script(vf.context(3).lrc, { end: 'cat-error' });
    const policies = { EXECUTION_QUANTUM: 1000, PREEMPTION_TIMEOUT: 1000 };
    for (const id of [3, 2, 1]) vf.start(id, { policies });
    engines.run(20);
    move();
    control(target.gpu, 0, 'PAUSE');
    expect(target.gpu.digests(1).guc).toBe(source.gpu.digests(1).guc);
    // But for the recovery, which begins at the target.
    control(target.gpu, 1, 'PAUSE');
    target.gpu.resumeUnnoticed(1);
    expect(saveState(target.gpu, 0)).toEqual(saveState(source.gpu, 0));
  });

  test('tries again what faulted: the answer to the fault got lost on the way', () => {
    const { source, target, move, recover } = scene();
    const context = source.vf.context(1);
    source.engines.script(context.lrc, { end: 'page-fault', fault: FAULT }, SPIN);
    target.engines.script(context.lrc + DELTA, { end: 'page-fault', fault: FAULT }, SPIN);
    source.vf.start(1);
    source.engines.run(5);
    source.vf.events();
    const { driver } = move();
    recover(driver);
    target.engines.run(5);
    // The fault is reported anew, under a new id.
    expect(taken(driver)).toEqual([[0x6002, 1 << 28, 0, 0x5000, 0]]);
    driver.send(H2G_ACTION.PAGE_FAULT_RES_DESC, [1, 1 << 16, 0]);
    target.engines.run(5);
    expect(target.engines.worked.get(context.lrc + DELTA)).toBeGreaterThan(3);
  });

  test('is not answered what its driver asks anew', () => {
    const { source, target, move, recover } = scene();
    const { vf, engines } = source;
    const context = vf.context(1);
    engines.script(context.lrc, { ...SPIN, preemptible: false });
    vf.start(1, { policies: { PREEMPTION_TIMEOUT: 640_000 } });
    engines.run(3);
    vf.events();
    // No room for the answer, and the context does not leave.
    const head = vf.driver.desc('g2h', 'HEAD');
    vf.driver.setDesc('g2h', 'HEAD', (vf.driver.desc('g2h', 'TAIL') + 18) % 0x2000);
    vf.disable(context);
    vf.driver.setDesc('g2h', 'HEAD', (vf.driver.desc('g2h', 'TAIL') + 2) % 0x2000);
    const { driver } = move();
    driver.setDesc('g2h', 'HEAD', head);
    recover(driver);
    target.engines.run(5);
    expect(taken(driver)).toEqual([]);
    driver.send(H2G_ACTION.SCHED_CONTEXT_MODE_SET, [1, 0]);
    expect(taken(driver)).toEqual([[0x1002, 1, 0]]);
  });

  test('is told all the same that it was reset', () => {
    const { source, target, move, recover } = scene();
    const { vf, engines } = source;
    engines.script(vf.context(1).lrc, { end: 'cat-error' });
    vf.register(1);
    const head = vf.driver.desc('g2h', 'HEAD');
    vf.driver.setDesc('g2h', 'HEAD', (vf.driver.desc('g2h', 'TAIL') + 18) % 0x2000);
    vf.enable({ id: 1 });
    vf.driver.setDesc('g2h', 'HEAD', (vf.driver.desc('g2h', 'TAIL') + 2) % 0x2000);
    engines.run(5);
    const { driver } = move();
    driver.setDesc('g2h', 'HEAD', head);
    recover(driver);
    target.engines.run(5);
    expect(taken(driver)).toEqual([
      [0x1002, 1, 1],
      [0x6000, 1],
      [0x1008, 1],
    ]);
  });
});
