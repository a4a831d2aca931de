import { describe, expect, test } from 'vitest';
import { GUC_CLASS, H2G_ACTION } from '../../../src/xe/guc/vf-actions.ts';
import { WQ_DESC, WQ_STATUS, WQ_TYPE } from '../../../src/xe/guc/work-queue.ts';
import { type SubmittingVf, scriptedGpu } from './engine-gpu.ts';
import type { ScriptStep } from './scripted-engine.ts';

const SPIN: ScriptStep = { end: 'more', times: Number.POSITIVE_INFINITY };
/** Byte offset of the ring tail in a context image. */
const TAIL_AT = 0x1000 + 0x07 * 4;
const WQ_SIZE = 1024;
/** Pages of the queue and of the LRCs behind the driver's memory. */
const QUEUE_PAGE = 40;
const LRC_PAGE = 42;

/** A parallel context of two LRCs on a GT with two decoders. */
class Parallel {
  readonly vf: SubmittingVf;
  readonly view: DataView;
  readonly lrcs: readonly number[];
  #tail = 0;

  constructor(vf: SubmittingVf) {
    this.vf = vf;
    this.view = new DataView(vf.images.buffer);
    this.lrcs = [vf.page(LRC_PAGE), vf.page(LRC_PAGE + 2)];
    const [first, second] = this.lrcs as [number, number];
    const desc = vf.page(QUEUE_PAGE);
    vf.driver.send(H2G_ACTION.REGISTER_CONTEXT_MULTI_LRC, [
      1,
      9,
      GUC_CLASS.VIDEO,
      1,
      desc,
      0,
      desc + WQ_SIZE,
      0,
      WQ_SIZE,
      2,
      first | 0x19,
      0,
      second | 0x19,
      0,
    ]);
    this.setQueue(WQ_DESC.STATUS, WQ_STATUS.ACTIVE);
  }

  queue(field: number): number {
    return this.view.getUint32(QUEUE_PAGE * 4096 + field, true);
  }

  setQueue(field: number, value: number): void {
    this.view.setUint32(QUEUE_PAGE * 4096 + field, value, true);
  }

  ringTail(lrc: number): number {
    return this.view.getUint32((LRC_PAGE + 2 * lrc) * 4096 + TAIL_AT, true);
  }

  put(...dwords: number[]): void {
    for (const dword of dwords) {
      this.view.setUint32(QUEUE_PAGE * 4096 + WQ_SIZE + this.#tail, dword >>> 0, true);
      this.#tail += 4;
    }
  }

  /** Appends an item as Linux does, with a NOOP to the end where it does not fit. */
  append(tails: readonly [number, number]): void {
    if (this.#tail + 5 * 4 > WQ_SIZE) {
      this.put(WQ_TYPE.NOOP | (((WQ_SIZE - this.#tail) / 4 - 1) << 16));
      this.#tail = 0;
    }
    const [first, second] = tails;
    this.put(
      WQ_TYPE.MULTI_LRC | (4 << 16),
      (this.lrcs[0] as number) | 0x19,
      9 | ((first / 8) << 18),
      0,
      second / 8,
    );
    this.setQueue(WQ_DESC.TAIL, this.#tail);
  }
}

function parallelRig() {
  const rig = scriptedGpu({ platform: 'bmg', gt: 'media' });
  const parallel = new Parallel(rig.vf);
  return { ...rig, parallel, [Symbol.dispose]: () => rig.gpu.close() };
}

describe('a parallel context', () => {
  test('runs on neighbouring engines at the same time, with the tails of its queue', () => {
    using rig = parallelRig();
    const { vf, engines, parallel } = rig;
    for (const lrc of parallel.lrcs) engines.script(lrc, { end: 'more', times: 20 });
    parallel.append([0x40, 0x80]);
    parallel.append([0x48, 0x90]);
    vf.enable({ id: 9 });
    vf.poke({ id: 9 });
    expect([0, 1].map((lrc) => parallel.ringTail(lrc))).toEqual([0x48, 0x90]);
    expect(parallel.queue(WQ_DESC.HEAD)).toBe(40);
    engines.run();
    expect(parallel.lrcs.flatMap((lrc) => engines.placesOf(lrc))).toEqual(['vcs0', 'vcs2']);
    const loads = engines.events.filter(({ what }) => what === 'load').map(({ at }) => at);
    expect(new Set(loads).size).toBe(1);
    expect(engines.busy).toBe(false);
  });

  test('takes items for as long as there are some, around the end of its queue', () => {
    using rig = parallelRig();
    const { vf, engines, parallel } = rig;
    vf.enable({ id: 9 });
    for (let n = 1; n < 300; n++) {
      parallel.append([n * 8, n * 16]);
      vf.poke({ id: 9 });
      expect([0, 1].map((lrc) => parallel.ringTail(lrc))).toEqual([n * 8, n * 16]);
      expect(parallel.queue(WQ_DESC.HEAD)).toBe(parallel.queue(WQ_DESC.TAIL));
    }
    engines.run();
    expect(engines.busy).toBe(false);
  });

  test('waits until all of its engines are free, and gives all of them back', () => {
    using rig = parallelRig();
    const { vf, engines, parallel } = rig;
    const policies = { EXECUTION_QUANTUM: 1000, PREEMPTION_TIMEOUT: 100_000 };
    const single = vf.context(1);
    engines.script(single.lrc, SPIN);
    for (const lrc of parallel.lrcs) engines.script(lrc, SPIN);
    vf.start(1, { engineClass: GUC_CLASS.VIDEO, mask: 2, policies });
    vf.driver.send(H2G_ACTION.UPDATE_CONTEXT_POLICIES, [9, (0x2001 << 16) | 1, 1000]);
    parallel.append([8, 8]);
    vf.enable({ id: 9 });
    vf.poke({ id: 9 });
    engines.run(100);
    const [first = 0, second = 0] = parallel.lrcs.map((lrc) => engines.worked.get(lrc) ?? 0);
    expect(Math.abs(first - second)).toBeLessThan(5);
    expect(engines.worked.get(single.lrc)).toBeGreaterThan(20);
    vf.events();
    vf.disable({ id: 9 });
    engines.run(1);
    expect(vf.events()).toEqual([['SCHED_CONTEXT_MODE_DONE', 9, 0]]);
  });

  test.each([
    ['of an unknown kind', [0x99]],
    ['of another context', [WQ_TYPE.MULTI_LRC | (4 << 16), 0, 3, 0, 0]],
    ['of another width', [WQ_TYPE.MULTI_LRC | (5 << 16), 0, 9, 0, 0, 0]],
    ['that leaves the queue', [WQ_TYPE.NOOP | (2000 << 16)]],
  ])('is reset over an item %s', (_, dwords) => {
    using rig = parallelRig();
    const { vf, engines, parallel } = rig;
    vf.enable({ id: 9 });
    parallel.put(...dwords);
    parallel.setQueue(WQ_DESC.TAIL, dwords.length * 4);
    vf.poke({ id: 9 });
    engines.run();
    expect(parallel.queue(WQ_DESC.STATUS)).toBe(WQ_STATUS.CMD_ERROR);
    expect(vf.events()).toContainEqual(['CONTEXT_RESET_NOTIFICATION', 9]);
    expect(engines.busy).toBe(false);
  });

  test('that is cleared with NOOPs, as a driver does after a migration, does nothing', () => {
    using rig = parallelRig();
    const { vf, engines, parallel } = rig;
    vf.enable({ id: 9 });
    for (let n = 0; n < WQ_SIZE / 4; n++) parallel.put(WQ_TYPE.NOOP);
    parallel.setQueue(WQ_DESC.HEAD, 40);
    parallel.setQueue(WQ_DESC.TAIL, 20);
    vf.poke({ id: 9 });
    engines.run();
    expect(parallel.queue(WQ_DESC.HEAD)).toBe(20);
    expect(parallel.queue(WQ_DESC.STATUS)).toBe(WQ_STATUS.ACTIVE);
  });
});
