import { describe, expect, test } from 'vitest';
import type { GpuMemoryFault } from '../../../src/gpu/engine/contracts.ts';
import { GUC_CLASS, H2G_ACTION } from '../../../src/xe/guc/vf-actions.ts';
import { control } from '../vf-driver.ts';
import { scriptedGpu } from './engine-gpu.ts';

const FAULT: GpuMemoryFault = {
  address: 0x1234_5678_9abc,
  access: 'write',
  level: 2,
  type: 'not-present',
};
/** Byte offset of the address space's number in a context image. */
const ASID_AT = 0x1000 + 0x2f * 4;

/** A VF whose context 1 faults once and then works for a moment. */
function faulting(engineClass: number = GUC_CLASS.COMPUTE) {
  const rig = scriptedGpu();
  const { vf, engines } = rig;
  const context = vf.context(1);
  new DataView(vf.images.buffer).setUint32(2 * 4096 + ASID_AT, 0xfff0_0042, true);
  engines.script(
    context.lrc,
    { end: 'more' },
    { end: 'page-fault', fault: FAULT },
    { end: 'more', times: 10 },
  );
  vf.start(1, { engineClass });
  engines.run();
  return { ...rig, context, [Symbol.dispose]: () => rig.gpu.close() };
}

const answer = (id: number, failed: boolean) => [1 | (failed ? 2 : 0), id << 16, 0];

describe('a page fault', () => {
  test('is reported with all that the driver needs, and the context waits', () => {
    using rig = faulting();
    const { vf, engines } = rig;
    expect(vf.events().slice(1)).toEqual([
      ['REPORT_PAGE_FAULT_REQ_DESC', (5 << 25) | 2, 0x0004_2000, 0x5678_9001, 0x0000_1234],
    ]);
    expect(engines.busy).toBe(false);
    vf.poke(rig.context);
    expect(engines.busy).toBe(false);
  });

  test('that was repaired lets the context go on where it was', () => {
    using rig = faulting(GUC_CLASS.BLITTER);
    const { vf, engines, context } = rig;
    vf.events();
    vf.driver.send(H2G_ACTION.PAGE_FAULT_RES_DESC, answer(0, false));
    engines.run();
    expect(engines.placesOf(context.lrc)).toEqual(['bcs0', 'bcs0']);
    expect(vf.events()).toEqual([]);
    expect(engines.busy).toBe(false);
  });

  test('that was not is a catastrophic error', () => {
    using rig = faulting();
    const { vf, engines, context } = rig;
    vf.events();
    vf.driver.send(H2G_ACTION.PAGE_FAULT_RES_DESC, answer(0, true));
    engines.run();
    expect(vf.events()).toEqual([
      ['NOTIFY_MEMORY_CAT_ERROR', 1],
      ['CONTEXT_RESET_NOTIFICATION', 1],
    ]);
    expect(engines.placesOf(context.lrc)).toHaveLength(1);
  });

  test('has an id of its own; an answer to another one changes nothing', () => {
    using rig = faulting();
    const { vf, engines, context } = rig;
    vf.driver.send(H2G_ACTION.PAGE_FAULT_RES_DESC, answer(7, true));
    engines.run();
    expect(engines.placesOf(context.lrc)).toHaveLength(1);
    engines.script(vf.context(2).lrc, { end: 'page-fault', fault: FAULT });
    vf.start(2);
    engines.run();
    const reports = vf.events().filter(([name]) => name === 'REPORT_PAGE_FAULT_REQ_DESC');
    expect(reports.map(([, first]) => (first as number) >>> 28)).toEqual([0, 1]);
  });

  test('lets the context be disabled at once', () => {
    using rig = faulting();
    const { vf, context } = rig;
    vf.events();
    vf.disable(context);
    expect(vf.events()).toEqual([['SCHED_CONTEXT_MODE_DONE', 1, 0]]);
  });

  test('outlives a pause', () => {
    using rig = faulting();
    const { gpu, vf, engines, context } = rig;
    control(gpu, 0, 'PAUSE');
    control(gpu, 0, 'RESUME');
    engines.run();
    expect(engines.placesOf(context.lrc)).toHaveLength(1);
    vf.driver.send(H2G_ACTION.PAGE_FAULT_RES_DESC, answer(0, false));
    engines.run();
    expect(engines.placesOf(context.lrc)).toHaveLength(2);
  });
});

describe('G2H without room', () => {
  test('loses no message of the engines, and keeps their order', () => {
    using rig = faulting();
    const { vf, engines } = rig;
    vf.events();
    // The driver stands still: all of its buffer but a few dwords is full.
    const head = vf.driver.desc('g2h', 'HEAD');
    vf.driver.setDesc('g2h', 'HEAD', (vf.driver.desc('g2h', 'TAIL') + 4) % 0x2000);
    vf.driver.send(H2G_ACTION.PAGE_FAULT_RES_DESC, answer(0, true));
    vf.driver.send(H2G_ACTION.TLB_INVALIDATION, [77, 0]);
    engines.run(10);
    expect(engines.busy).toBe(true);
    vf.driver.setDesc('g2h', 'HEAD', head);
    engines.run(10);
    expect(vf.events()).toEqual([
      ['NOTIFY_MEMORY_CAT_ERROR', 1],
      ['CONTEXT_RESET_NOTIFICATION', 1],
      ['TLB_INVALIDATION_DONE', 77],
    ]);
    expect(engines.busy).toBe(false);
  });
});
