import { expect, test } from 'vitest';
import { EmulatedHost } from '../../src/app/emulated-host.ts';
import {
  APERTURE_BLOCK,
  REGISTER_BLOCKS,
  registerBlockOf,
  VfCounters,
} from '../../src/gpu/counters.ts';
import { H2G_ACTION, MAILBOX_ACTION } from '../../src/xe/guc/vf-actions.ts';
import { GTTMMADR, XE_BAR } from '../../src/xe/platforms.ts';
import { VF_REGISTERS } from '../../src/xe/registers.ts';

test('every register of the table is counted under its own name', () => {
  for (const [name, { offset, count, stride }] of Object.entries(VF_REGISTERS))
    for (let n = 0; n < count; n++)
      expect(REGISTER_BLOCKS[registerBlockOf(offset + n * stride)]).toBe(name);
  expect(registerBlockOf(0x4)).toBe(APERTURE_BLOCK.OTHER);
});

test('a snapshot names what happened and leaves out the rest', () => {
  const counters = new VfCounters();
  expect(counters.snapshot()).toEqual({
    registers: {},
    accesses: { reads: 0, writes: 0 },
    interrupts: {},
    gucMessages: { mailbox: {}, H2G: {}, G2H: {} },
    commands: {},
    faults: {},
    copiedBytes: 0,
  });
  counters.registerRead(registerBlockOf(VF_REGISTERS.VF_CAP_REG.offset));
  counters.registerRead(APERTURE_BLOCK.GGTT);
  counters.registerWrite(APERTURE_BLOCK.GGTT);
  counters.interrupt('GuC');
  counters.gucMessage('mailbox', MAILBOX_ACTION.VF2GUC_VF_RESET);
  counters.gucMessage('H2G', H2G_ACTION.TLB_INVALIDATION);
  counters.gucMessage('H2G', H2G_ACTION.TLB_INVALIDATION);
  counters.gucMessage('G2H', 0xabcd);
  counters.command('MI_NOOP', 1000);
  counters.command('MI_NOOP');
  counters.fault('PAGE_FAULT');
  counters.copied(2 ** 40);
  counters.copied(1);
  expect(counters.snapshot()).toEqual({
    registers: { VF_CAP_REG: { reads: 1, writes: 0 }, GGTT: { reads: 1, writes: 1 } },
    accesses: { reads: 2, writes: 1 },
    interrupts: { GuC: 1 },
    gucMessages: {
      mailbox: { VF2GUC_VF_RESET: 1 },
      H2G: { TLB_INVALIDATION: 2 },
      G2H: { '0xabcd': 1 },
    },
    commands: { MI_NOOP: 1001 },
    faults: { PAGE_FAULT: 1 },
    copiedBytes: 2 ** 40 + 1,
  });
});

test('a VF counts the accesses that reach it, and no other VF does', async () => {
  using host = await EmulatedHost.create({ platform: 'bmg', vfs: 2, vramSize: 16 * 2 ** 20 });
  const vf = host.gpu.vf(1);
  const before = host.counters(1).accesses;
  const bytes = new Uint8Array(8);
  vf.barRead(XE_BAR.GTTMMADR, VF_REGISTERS.VF_CAP_REG.offset, bytes, 0, 4);
  vf.barWrite(XE_BAR.GTTMMADR, VF_REGISTERS.DUMMY_WRITE.offset, bytes, 0, 4);
  vf.barRead(XE_BAR.GTTMMADR, GTTMMADR.ggttStart, bytes, 0, 8);
  vf.barWrite(XE_BAR.GTTMMADR, GTTMMADR.barrierPage, bytes, 0, 4);
  vf.barRead(XE_BAR.LMEM, 0, bytes, 0, 8);
  const { registers, accesses } = host.counters(1);
  expect(registers).toMatchObject({
    VF_CAP_REG: { reads: 1, writes: 0 },
    DUMMY_WRITE: { reads: 0, writes: 1 },
    GGTT: { reads: 1, writes: 0 },
    barrier: { reads: 0, writes: 1 },
    LMEM: { reads: 1, writes: 0 },
  });
  expect(accesses.reads - before.reads).toBe(3);
  expect(accesses.writes - before.writes).toBe(2);
  expect(host.counters(2).accesses).toEqual({ reads: 0, writes: 0 });
});
