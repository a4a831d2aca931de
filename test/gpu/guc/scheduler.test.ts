import { describe, expect, test } from 'vitest';
import { GUC_CLASS, H2G_ACTION } from '../../../src/xe/guc/vf-actions.ts';
import { control } from '../vf-driver.ts';
import { configure, scriptedGpu } from './engine-gpu.ts';
import type { ScriptStep } from './scripted-engine.ts';

const SPIN: ScriptStep = { end: 'more', times: Number.POSITIVE_INFINITY };
const STUCK: ScriptStep = { end: 'hang', times: Number.POSITIVE_INFINITY };
const NO_PREEMPTION: ScriptStep = { ...SPIN, preemptible: false };
const work = (ms: number): ScriptStep => ({ end: 'more', times: Math.round(ms / 0.05) });
const SLICE = { EXECUTION_QUANTUM: 1000, PREEMPTION_TIMEOUT: 640_000 } as const;

describe('a context', () => {
  test('runs once it is enabled, and is answered before', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    const context = vf.context(3);
    engines.script(context.lrc, work(1));
    vf.start(3);
    expect(vf.events()).toEqual([['SCHED_CONTEXT_MODE_DONE', 3, 1]]);
    expect(engines.events).toEqual([]);
    engines.run();
    expect(engines.placesOf(context.lrc)).toEqual(['rcs0']);
    expect(engines.events.at(-1)?.what).toBe('save');
    expect(engines.busy).toBe(false);
  });

  test('runs again when it is scheduled again', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    const context = vf.start(1);
    engines.run();
    engines.script(context.lrc, work(0.1));
    vf.poke(context);
    engines.run();
    expect(engines.placesOf(context.lrc)).toEqual(['rcs0', 'rcs0']);
  });

  test('that is scheduled while it runs sees to it in its next turn', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    const context = vf.context(1);
    engines.script(context.lrc, SPIN);
    vf.start(1);
    engines.run(1);
    vf.poke(context);
    engines.cancel(context.lrc);
    engines.run();
    expect(engines.placesOf(context.lrc)).toEqual(['rcs0']);
    expect(engines.busy).toBe(false);
  });

  test('does not run before it is enabled, nor for compression metadata', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    const plain = vf.register(1);
    vf.poke(plain);
    vf.start(2, { flags: 1 | (1 << 1), engineClass: GUC_CLASS.BLITTER });
    vf.start(3, { flags: 1 | (2 << 1), engineClass: GUC_CLASS.BLITTER });
    engines.run();
    expect(engines.events).toEqual([]);
    expect(vf.events()).toEqual([
      ['SCHED_CONTEXT_MODE_DONE', 2, 1],
      ['SCHED_CONTEXT_MODE_DONE', 3, 1],
    ]);
  });

  test('is not waited for when no engine of the GT can take it', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    vf.start(1, { engineClass: GUC_CLASS.VIDEO });
    engines.run();
    expect(engines.events).toEqual([]);
    expect(engines.busy).toBe(false);
  });

  test('goes to the engine that its mask names, or to any that is free', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    const options = { engineClass: GUC_CLASS.BLITTER };
    for (const id of [1, 2, 3]) engines.script(vf.context(id).lrc, work(5));
    const second = vf.start(1, { ...options, mask: 2 });
    const [a, b] = [vf.start(2, { ...options, mask: 3 }), vf.start(3, { ...options, mask: 1 })];
    engines.run();
    expect(engines.placesOf(second.lrc)).toEqual(['bcs8']);
    expect(engines.placesOf(a.lrc)).toEqual(['bcs0']);
    expect(engines.placesOf(b.lrc)).toEqual(['bcs0']);
  });

  test('that is deregistered leaves its engine', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    engines.script(vf.context(1).lrc, SPIN);
    vf.start(1);
    engines.run(1);
    vf.driver.send(H2G_ACTION.DEREGISTER_CONTEXT, [1]);
    engines.run();
    expect(vf.events().at(-1)).toEqual(['DEREGISTER_CONTEXT_DONE', 1]);
    expect(engines.busy).toBe(false);
  });
});

describe('contexts of one engine', () => {
  test('share it by time slices', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    const contexts = [1, 2, 3].map((id) => {
      engines.script(vf.context(id).lrc, SPIN);
      return vf.start(id, { policies: SLICE });
    });
    engines.run(90);
    for (const { lrc } of contexts) {
      expect(engines.worked.get(lrc)).toBeGreaterThan(25);
      expect(engines.worked.get(lrc)).toBeLessThan(35);
      expect(engines.placesOf(lrc).length).toBeGreaterThan(20);
    }
  });

  test('keep it without a time slice', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    for (const id of [1, 2]) engines.script(vf.context(id).lrc, work(50));
    const [first, second] = [vf.start(1), vf.start(2)];
    engines.run(200);
    expect(engines.placesOf(first.lrc)).toEqual(['rcs0']);
    expect(engines.placesOf(second.lrc)).toEqual(['rcs0']);
  });

  test('go by priority, and the more urgent one preempts', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    const low = vf.context(1);
    const high = vf.context(2);
    engines.script(low.lrc, work(10));
    engines.script(high.lrc, work(1));
    vf.start(1, { policies: { ...SLICE, SCHEDULING_PRIORITY: 3 } });
    engines.run(2);
    vf.start(2, { policies: { ...SLICE, SCHEDULING_PRIORITY: 0 } });
    engines.run();
    expect(engines.placesOf(low.lrc)).toEqual(['rcs0', 'rcs0']);
    expect(engines.placesOf(high.lrc)).toEqual(['rcs0']);
    const order = engines.events.filter(({ what }) => what === 'load').map(({ lrc }) => lrc);
    expect(order).toEqual([low.lrc, high.lrc, low.lrc]);
  });

  test('swap at a semaphore when the driver opted in', () => {
    using rig = scriptedRig();
    const { gpu, vf, engines } = rig;
    void gpu;
    vf.driver.memory.setUint32(0x3000, 0x4003 << 16, true);
    vf.driver.send(H2G_ACTION.OPT_IN_FEATURE_KLV, [vf.driver.ggtt + 0x3000, 0, 1]);
    const [waiter, other] = [vf.context(1), vf.context(2)];
    engines.script(waiter.lrc, { end: 'waiting', times: Number.POSITIVE_INFINITY });
    engines.script(other.lrc, work(1));
    vf.start(1);
    vf.start(2);
    engines.run(20);
    expect(engines.placesOf(other.lrc)).toEqual(['rcs0']);
    expect(engines.worked.get(other.lrc)).toBeGreaterThan(0.9);
  });

  test('are asked less and less while they wait', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    const { lrc } = vf.context(1);
    engines.script(lrc, { end: 'waiting', ms: 0.001, times: Number.POSITIVE_INFINITY });
    vf.start(1);
    engines.run(100);
    const asked = engines.events.filter(({ what }) => what === 'waiting').length;
    expect(asked).toBeGreaterThan(90);
    expect(asked).toBeLessThan(120);
  });
});

describe('a context that is disabled', () => {
  test('stops at once and keeps its place', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    const context = vf.context(1);
    engines.script(context.lrc, SPIN);
    vf.start(1, { policies: SLICE });
    engines.run(5);
    vf.events();
    vf.disable(context);
    expect(vf.events()).toEqual([['SCHED_CONTEXT_MODE_DONE', 1, 0]]);
    expect(engines.busy).toBe(false);
    vf.enable(context);
    engines.run(5);
    expect(engines.placesOf(context.lrc)).toEqual(['rcs0', 'rcs0']);
  });

  test('is answered when it has left, however long its region without preemption is', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    const context = vf.context(1);
    engines.script(context.lrc, { ...work(30), preemptible: false }, SPIN);
    vf.start(1, { policies: SLICE });
    engines.run(5);
    vf.events();
    vf.disable(context);
    expect(vf.events()).toEqual([]);
    engines.run(100);
    expect(vf.events()).toEqual([['SCHED_CONTEXT_MODE_DONE', 1, 0]]);
  });

  test.each([
    ['spins without preemption', NO_PREEMPTION],
    ['hangs', STUCK],
  ])('loses its engine to a reset when it %s', (_, step) => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    const context = vf.context(1);
    engines.script(context.lrc, step);
    vf.start(1, { policies: SLICE });
    engines.run(5);
    vf.events();
    vf.disable(context);
    engines.run(600);
    expect(vf.events()).toEqual([]);
    engines.run(200);
    expect(vf.events()).toEqual([
      ['CONTEXT_RESET_NOTIFICATION', 1],
      ['SCHED_CONTEXT_MODE_DONE', 1, 0],
    ]);
    expect(engines.busy).toBe(false);
  });

  test('gets some turns even with the shortest timeout', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    const context = vf.context(1);
    engines.script(context.lrc, work(1), { ...work(0.1), preemptible: false });
    vf.start(1, { policies: SLICE });
    engines.run(1);
    vf.driver.send(H2G_ACTION.UPDATE_CONTEXT_POLICIES, [1, (0x2002 << 16) | 1, 1]);
    vf.disable(context);
    engines.run(10);
    expect(vf.events().map(([name]) => name)).not.toContain('CONTEXT_RESET_NOTIFICATION');
  });
});

describe('an engine that hangs', () => {
  test('is reset when another context waits for it', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    const [bad, good] = [vf.context(1), vf.context(2)];
    engines.script(bad.lrc, STUCK);
    engines.script(good.lrc, work(1));
    vf.start(1, { policies: { EXECUTION_QUANTUM: 1000, PREEMPTION_TIMEOUT: 10_000 } });
    vf.start(2, { policies: SLICE });
    engines.run(100);
    expect(vf.events()).toContainEqual(['CONTEXT_RESET_NOTIFICATION', 1]);
    expect(engines.worked.get(good.lrc)).toBeGreaterThan(0.9);
    expect(engines.busy).toBe(false);
  });

  test('goes on after its watchdog, and nobody is told', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    const context = vf.context(1);
    engines.script(context.lrc, { end: 'waiting', times: 5 }, { end: 'watchdog' }, work(1));
    vf.start(1);
    engines.run(100);
    expect(vf.events()).toEqual([['SCHED_CONTEXT_MODE_DONE', 1, 1]]);
    expect(engines.placesOf(context.lrc)).toEqual(['rcs0', 'rcs0']);
    expect(engines.events.at(-2)?.what).toBe('idle');
  });
});

describe('what a context does wrong', () => {
  test('is a catastrophic error and a reset, after which it stays off', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    const context = vf.context(1);
    engines.script(context.lrc, { end: 'cat-error' }, work(1));
    vf.start(1);
    engines.run();
    vf.poke(context);
    engines.run();
    expect(vf.events()).toEqual([
      ['SCHED_CONTEXT_MODE_DONE', 1, 1],
      ['NOTIFY_MEMORY_CAT_ERROR', 1],
      ['CONTEXT_RESET_NOTIFICATION', 1],
    ]);
    expect(engines.placesOf(context.lrc)).toEqual(['rcs0']);
    vf.disable(context);
    vf.enable(context);
    engines.run();
    expect(engines.placesOf(context.lrc)).toEqual(['rcs0', 'rcs0']);
  });

  test('carries a type when the driver opted in', () => {
    using rig = scriptedRig();
    const { vf, engines } = rig;
    vf.driver.memory.setUint32(0x3000, 0x4001 << 16, true);
    vf.driver.send(H2G_ACTION.OPT_IN_FEATURE_KLV, [vf.driver.ggtt + 0x3000, 0, 1]);
    engines.script(vf.context(1).lrc, { end: 'cat-error' });
    vf.start(1);
    engines.run();
    expect(vf.events()).toContainEqual(['NOTIFY_MEMORY_CAT_ERROR', 1, 0xdead_beef]);
  });
});

describe('VFs', () => {
  const twoSpinners = (shares: readonly [number, number], priorities = [0, 0]) => {
    const rig = scriptedRig({ vfs: 2 });
    rig.vfs.forEach((vf, n) => {
      configure(rig.gpu, 0, n + 1, {
        EXEC_QUANTUM: shares[n] as number,
        PREEMPT_TIMEOUT: 20_000,
        SCHED_PRIORITY: priorities[n] as number,
      });
      rig.engines.script(vf.context(1).lrc, SPIN);
      vf.start(1, { policies: SLICE });
    });
    const worked = () => rig.vfs.map((vf) => rig.engines.worked.get(vf.context(1).lrc) ?? 0);
    return { rig, worked };
  };

  test.each([
    [10, 10],
    [10, 30],
    [40, 10],
  ])('have their shares: %i and %i ms', (a, b) => {
    const { rig, worked } = twoSpinners([a, b]);
    using _ = rig;
    rig.engines.run(2000);
    const [first = 0, second = 0] = worked();
    expect(first / (first + second)).toBeCloseTo(a / (a + b), 1);
    expect(first + second).toBeGreaterThan(1900);
  });

  test('all get on when the PF gave no quantum', () => {
    const { rig, worked } = twoSpinners([0, 0]);
    using _ = rig;
    rig.engines.run(500);
    for (const ms of worked()) expect(ms).toBeGreaterThan(200);
  });

  test('give up the rest of their turn when they are idle', () => {
    const { rig, worked } = twoSpinners([50, 50]);
    using _ = rig;
    rig.engines.cancel((rig.vfs[1]?.context(1).lrc ?? 0) as number);
    rig.engines.run(500);
    expect(worked()[0]).toBeGreaterThan(450);
  });

  test('of normal priority keep their turn when they are idle', () => {
    const { rig, worked } = twoSpinners([50, 50], [0, 1]);
    using _ = rig;
    rig.engines.cancel((rig.vfs[1]?.context(1).lrc ?? 0) as number);
    rig.engines.run(1000);
    expect(worked()[0]).toBeGreaterThan(450);
    expect(worked()[0]).toBeLessThan(560);
  });

  test('of high priority are next', () => {
    using rig = scriptedRig({ vfs: 3 });
    const { vfs, engines, gpu } = rig;
    vfs.forEach((vf, n) => {
      configure(gpu, 0, n + 1, { EXEC_QUANTUM: 10, SCHED_PRIORITY: n === 2 ? 2 : 0 });
      engines.script(vf.context(1).lrc, SPIN);
      vf.start(1, { policies: SLICE });
    });
    engines.run(1000);
    const [first = 0, second = 0, urgent = 0] = vfs.map(
      (vf) => engines.worked.get(vf.context(1).lrc) ?? 0,
    );
    expect(urgent).toBeGreaterThan(first + second - 30);
    expect(Math.abs(first - second)).toBeLessThan(30);
  });

  test('whose contexts do not leave lose their engines', () => {
    const { rig } = twoSpinners([10, 10]);
    using _ = rig;
    const [first, second] = rig.vfs;
    rig.engines.cancel(first?.context(1).lrc ?? 0);
    rig.engines.script(first?.context(1).lrc ?? 0, NO_PREEMPTION);
    rig.engines.run(500);
    expect(first?.events()).toContainEqual(['CONTEXT_RESET_NOTIFICATION', 1]);
    expect(rig.engines.worked.get(second?.context(1).lrc ?? 0)).toBeGreaterThan(400);
  });

  test('run at the same time in different scheduling groups', () => {
    using rig = scriptedRig({ vfs: 2 });
    const { gpu, engines, vfs } = rig;
    const masks = new Array<number>(32).fill(0);
    masks[GUC_CLASS.RENDER] = 1;
    masks[16 + GUC_CLASS.BLITTER] = 3;
    groupEngines(gpu, masks);
    const [a, b] = vfs;
    for (const vf of vfs)
      configure(gpu, 0, vf.driver.vf === a?.driver.vf ? 1 : 2, { EXEC_QUANTUM: 1000 });
    engines.script(a?.context(1).lrc ?? 0, SPIN);
    engines.script(b?.context(1).lrc ?? 0, SPIN);
    a?.start(1, { engineClass: GUC_CLASS.RENDER });
    b?.start(1, { engineClass: GUC_CLASS.BLITTER });
    engines.run(20);
    for (const vf of vfs) expect(engines.worked.get(vf.context(1).lrc)).toBeGreaterThan(5);
  });

  test('that are paused stand still, and go on where they were', () => {
    using rig = scriptedRig({ vfs: 2 });
    const { gpu, engines, vfs } = rig;
    const [first, second] = vfs;
    const lrc = first?.context(1).lrc ?? 0;
    engines.script(lrc, NO_PREEMPTION);
    engines.script(second?.context(1).lrc ?? 0, SPIN);
    first?.start(1);
    second?.start(1);
    engines.run(30);
    control(gpu, 0, 'PAUSE');
    const before = engines.worked.get(lrc);
    const others = engines.worked.get(second?.context(1).lrc ?? 0) ?? 0;
    engines.run(30);
    expect(engines.worked.get(lrc)).toBe(before);
    expect(engines.worked.get(second?.context(1).lrc ?? 0)).toBeGreaterThan(others + 25);
    control(gpu, 0, 'RESUME');
    engines.run(30);
    expect(engines.worked.get(lrc)).toBeGreaterThan(before ?? 0);
  });

  test.each(['STOP', 'FLR_START'] as const)('lose everything on engines with %s', (command) => {
    using rig = scriptedRig();
    const { gpu, engines, vf } = rig;
    engines.script(vf.context(1).lrc, SPIN);
    vf.start(1);
    engines.run(5);
    control(gpu, 0, command);
    expect(engines.busy).toBe(false);
  });

  test('lose everything on engines with a reset of their own', () => {
    using rig = scriptedRig();
    const { engines, vf } = rig;
    engines.script(vf.context(1).lrc, SPIN);
    vf.start(1);
    engines.run(5);
    void vf.driver.vf.functionLevelReset();
    expect(engines.busy).toBe(false);
  });
});

describe('render and compute', () => {
  test('take turns as the driver asked while both are busy', () => {
    using rig = scriptedRig();
    const { engines, vf } = rig;
    vf.driver.send(H2G_ACTION.UPDATE_SCHEDULING_POLICIES_KLV, [(0x1001 << 16) | 2, 80, 20]);
    const [render, compute] = [vf.context(1), vf.context(2)];
    for (const { lrc } of [render, compute]) engines.script(lrc, SPIN);
    vf.start(1, { engineClass: GUC_CLASS.RENDER });
    vf.start(2, { engineClass: GUC_CLASS.COMPUTE });
    engines.run(800);
    const share = (engines.worked.get(compute.lrc) ?? 0) / 800;
    expect(share).toBeGreaterThan(0.17);
    expect(share).toBeLessThan(0.23);
  });
});

/** {@link scriptedGpu} that closes with its block. */
function scriptedRig(options: Parameters<typeof scriptedGpu>[0] = {}) {
  const rig = scriptedGpu(options);
  return { ...rig, [Symbol.dispose]: () => rig.gpu.close() };
}

function groupEngines(gpu: ReturnType<typeof scriptedGpu>['gpu'], masks: readonly number[]): void {
  const guc = gpu.device.tiles[0]?.gts[0]?.guc;
  if (guc === undefined) throw new Error('no GuC');
  const buffer = guc.buffer((masks.length + 1) * 4);
  const dwords = new Uint32Array([(0x8004 << 16) | masks.length, ...masks]);
  buffer.bytes.set(new Uint8Array(dwords.buffer));
  expect(guc.send([0x5502, buffer.ggttAddress, 0, dwords.length])).toBe(1);
  buffer.release();
}
