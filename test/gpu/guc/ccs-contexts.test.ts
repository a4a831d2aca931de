import { afterEach, describe, expect, test } from 'vitest';
import { EmulatedGpu } from '../../../src/gpu/emulated-gpu.ts';
import { CCS_RATIO } from '../../../src/gpu/flat-ccs.ts';
import type { VfFunction } from '../../../src/gpu/vf-function.ts';
import { GUC_CLASS, MAILBOX_ACTION } from '../../../src/xe/guc/vf-actions.ts';
import { ctrlSurfCopy } from '../blitter/command-words.ts';
import { ARB_ON, BB_END, bbStart, NOOP } from '../engine/assembler.ts';
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
} from '../vf-driver.ts';
import { SubmittingVf, scriptedGpu } from './engine-gpu.ts';

const open: Array<{ close(): void }> = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

const SAVE = { engineClass: GUC_CLASS.BLITTER, flags: 1 | (1 << 1) };
const RESTORE = { engineClass: GUC_CLASS.BLITTER, flags: 1 | (2 << 1) };

/** A VF whose driver has registered both contexts and enabled them, as xe does. */
function scene() {
  const { gpu, engines, vf } = scriptedGpu();
  open.push(gpu);
  const save = vf.start(1, SAVE);
  const restore = vf.start(2, RESTORE);
  engines.run(5);
  const happened = () => engines.events.splice(0).map(({ lrc, what }) => [lrc, what]);
  return { gpu, engines, vf, save, restore, happened };
}

describe('the contexts that carry compression metadata', () => {
  test('do not run because their driver enables them', () => {
    expect(scene().happened()).toEqual([]);
  });

  test('save when the VF is paused, to the end of the ring, and nothing is kept of where they stand', () => {
    const { gpu, engines, save, restore, happened } = scene();
    engines.script(save.lrc, { end: 'more', times: 5 });
    control(gpu, 0, 'PAUSE');
    expect(happened()).toEqual([
      [save.lrc, 'load'],
      [save.lrc, 'idle'],
    ]);
    // The VF goes on where it is: what it has is still there.
    control(gpu, 0, 'RESUME');
    expect(happened()).toEqual([]);
    control(gpu, 0, 'PAUSE');
    expect(happened().map(([lrc]) => lrc)).toEqual([save.lrc, save.lrc]);
    expect(engines.worked.has(restore.lrc)).toBe(false);
  });

  test('restore once when the driver has recovered', () => {
    const { gpu, vf, restore, happened } = scene();
    control(gpu, 0, 'PAUSE');
    happened();
    restoreState(gpu, 0, saveState(gpu, 0));
    control(gpu, 0, 'RESUME');
    expect(happened()).toEqual([]);
    // Moved again before that: guest memory has what is newest.
    control(gpu, 0, 'PAUSE');
    expect(happened()).toEqual([]);
    control(gpu, 0, 'RESUME');
    vf.driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_START, 1);
    expect(vf.driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_DONE, 1)[0]).toBe(0xf000_0000);
    expect(happened()).toEqual([
      [restore.lrc, 'load'],
      [restore.lrc, 'idle'],
    ]);
    control(gpu, 0, 'PAUSE');
    control(gpu, 0, 'RESUME');
    expect(happened().map(([lrc]) => lrc)).not.toContain(restore.lrc);
  });

  test('restore without the driver when it is not to notice the move', () => {
    const { gpu, restore, happened } = scene();
    control(gpu, 0, 'PAUSE');
    control(gpu, 1, 'PAUSE');
    restoreState(gpu, 0, saveState(gpu, 0));
    gpu.resumeUnnoticed(1);
    happened();
    control(gpu, 0, 'RESUME');
    expect(happened()).toEqual([
      [restore.lrc, 'load'],
      [restore.lrc, 'idle'],
    ]);
  });

  test('that fault or do not end are given up, and counted', () => {
    const { gpu, engines, save } = scene();
    const fault = { address: 0, access: 'read', level: 0, type: 'not-present' } as const;
    engines.script(save.lrc, { end: 'page-fault', fault });
    control(gpu, 0, 'PAUSE');
    control(gpu, 0, 'RESUME');
    engines.script(save.lrc, { end: 'more', times: Number.POSITIVE_INFINITY, ms: 1 });
    control(gpu, 0, 'PAUSE');
    expect(gpu.counters(1).snapshot().faults).toEqual({ CCS_SAVE: 2 });
  });
});

describe('metadata of guest memory', () => {
  const [RING, BATCH, PLAIN, SURFACE] = [20, 24, 28, 32];
  const PAGES = 2;

  /** A context whose batch copies metadata, with many NOOPs before it as xe's pool has. */
  function prepare(vf: SubmittingVf, id: number, out: boolean): void {
    const view = new DataView(vf.images.buffer);
    const put = (page: number, dwords: readonly number[]) => {
      for (const [n, dword] of dwords.entries()) view.setUint32(page * 4096 + n * 4, dword, true);
    };
    const [ring, batch] = [RING + id, BATCH + id];
    const regs: ReadonlyArray<readonly [index: number, value: number]> = [
      [0x01, 0x1108_1019],
      [0x03, 0x0009_0009],
      [0x07, 24],
      [0x09, vf.page(ring)],
      [0x0b, 1],
    ];
    const image = id * 2 * 4096 + 4096;
    for (const [index, value] of regs) view.setUint32(image + index * 4, value, true);
    put(ring, [ARB_ON, ...bbStart(vf.page(batch), 0), NOOP, NOOP]);
    const surface = { address: vf.page(SURFACE), direct: false };
    const plain = { address: vf.page(PLAIN), direct: true };
    const copy = ctrlSurfCopy(out ? surface : plain, out ? plain : surface, PAGES);
    put(batch, [...new Array<number>(700).fill(NOOP), ...copy, BB_END]);
  }

  test('goes through guest memory to another VF', () => {
    const source = new EmulatedGpu({ platform: 'ptl' });
    const target = new EmulatedGpu({ platform: 'ptl' });
    open.push(source, target);
    const elsewhere = { ...QUOTA, ggttStart: QUOTA.ggttStart + 256 * MIB };
    provision(source, 1);
    provision(target, 1, elsewhere);
    const vf = new SubmittingVf(source, 1, QUOTA, 'main');
    prepare(vf, 1, true);
    vf.start(1, SAVE);
    vf.start(2, RESTORE);
    const place = 0x2_0000_0000 + SURFACE * 4096;
    const metadata = Uint8Array.from({ length: (PAGES * 4096) / CCS_RATIO }, (_, n) => n + 1);
    (source.vf(1) as VfFunction).flatCcs.write('system', place, metadata);

    for (const gpu of [source, target]) control(gpu, 0, 'PAUSE');
    expect(vf.images.subarray(PLAIN * 4096, PLAIN * 4096 + metadata.length)).toEqual(metadata);
    const ptes = new Uint32Array((QUOTA.ggttSize / 4096) * 2);
    tileOf(source).ggtt.readPtes(QUOTA.ggttStart, ptes);
    tileOf(target).ggtt.writePtes(elsewhere.ggttStart, ptes);
    restoreState(target, 0, saveState(source, 0));
    const { buffer, byteOffset, byteLength } = vf.driver.memory;
    const bytes = new Uint8Array(buffer, byteOffset, byteLength);
    for (const [iova, memory] of [
      [0x1_2345_6000, bytes.subarray(0, GUC_MEMORY_SIZE)],
      [0x2_0000_0000, vf.images],
    ] as const) {
      const { mapping } = guestMemory(iova, memory.length);
      target.vf(1).dmaMap({ ...mapping, memory: { ...mapping.memory, windows: [memory] } });
    }
    control(target, 0, 'RESUME');
    // What the driver's recovery does: rings and batches at their new addresses.
    const page = (n: number) => vf.page(n) + 256 * MIB;
    prepare({ images: vf.images, page } as SubmittingVf, 2, false);
    const driver = new VfDriver(target.vf(1), 'main', bytes, elsewhere.ggttStart);
    driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_START, 1);
    driver.mailbox(MAILBOX_ACTION.VF2GUC_RESFIX_DONE, 1);

    const moved = new Uint8Array(metadata.length);
    (target.vf(1) as VfFunction).flatCcs.read('system', place, moved);
    expect(moved).toEqual(metadata);
    expect(target.counters(1).snapshot().faults).toEqual({});
    expect(target.counters(1).snapshot().commands['MI_NOOP']).toBeGreaterThan(700);
  });
});
