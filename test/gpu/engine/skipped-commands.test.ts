import { describe, expect, test } from 'vitest';
import { sdi } from './assembler.ts';
import { EngineRig, PPGTT } from './engine-rig.ts';

const { data } = PPGTT;
/** A command whose operands would hang the engine if they were taken for commands. */
const command = (header: number, length: number) => [
  header,
  ...new Array(length - 1).fill(0xffff_ffff),
];

/** The name under which a command was counted that the engine skipped. */
function skipped(engine: string, dwords: number[]): string | undefined {
  const rig = new EngineRig({ engine });
  if (rig.runBatch(...dwords, ...sdi(data, 1)) !== 'idle') return undefined;
  expect(rig.ppgtt.get(data)).toEqual([1]);
  const others = new Set(['MI_BATCH_BUFFER_START', 'MI_BATCH_BUFFER_END', 'MI_STORE_DATA_IMM']);
  return [...rig.commands.keys()].find((name) => !others.has(name) && name !== 'MI_NOOP');
}

describe('commands that only have a length', () => {
  test.each([
    ['PIPELINE_SELECT', command(0x6904_0302, 1)],
    ['3DSTATE_VF_STATISTICS', command(0x680b_0000, 1)],
    ['STATE_BASE_ADDRESS', command(0x6101_0014, 22)],
    ['STATE_SIP', command(0x6102_0001, 3)],
    ['STATE_COMPUTE_MODE', command(0x6105_0001, 3)],
    ['STATE_SYSTEM_MEM_FENCE_ADDRESS', command(0x6109_0001, 3)],
    ['CFE_STATE', command(0x7200_0004, 6)],
    ['3DSTATE_CONSTANT_VS', command(0x7815_0009, 11)],
    ['3DSTATE_VERTEX_ELEMENTS', command(0x7809_0043, 69)],
    ['3DSTATE_SO_DECL_LIST', command(0x7917_0101, 259)],
    ['3DSTATE_POLY_STIPPLE_PATTERN', command(0x7907_001f, 33)],
    ['3DSTATE_DRAWING_RECTANGLE_FAST', command(0x7800_0002, 4)],
    ['3DPRIMITIVE', command(0x7b00_0005, 7)],
    ['EXECUTE_INDIRECT_DRAW', command(0x7b0c_0008, 10)],
    ['GFXPIPE', command(0x78ff_0003, 5)],
    ['RESOURCE_BARRIER', command(0xac00_0003, 5)],
    ['STATE_WRITE_INLINE', command(0x8000_0002, 4)],
    ['MI_TOPOLOGY_FILTER', command(0x0680_0000, 1)],
  ])('%s on render and compute engines', (name, dwords) => {
    for (const engine of ['rcs0', 'ccs0']) expect(skipped(engine, dwords)).toBe(name);
    for (const engine of ['bcs0', 'vcs0', 'vecs0'])
      expect(skipped(engine, dwords), engine).not.toBe(name);
  });

  test.each([
    ['vcs0', 'MFX_WAIT', command(0x6800_0100, 1)],
    ['vcs0', 'MFX', command(0x7000_0003, 5)],
    ['vcs0', 'MFX_JPEG', command(0x7702_033d, 831)],
    ['vcs0', 'HCP', command(0x7382_0066, 104)],
    ['vcs0', 'HUC', command(0x7584_002f, 49)],
    ['vcs0', 'VDENC', command(0x7085_0022, 36)],
    ['vcs0', 'SFC', command(0x7501_001e, 32)],
    ['vcs0', 'VD', command(0x7780_0000, 2)],
    ['vcs0', 'CRYPTO_KEY_EXCHANGE', command(0x7609_0001, 3)],
    ['vecs0', 'VEBOX', command(0x7402_0011, 19)],
    ['vecs0', 'SFC', command(0x7501_001e, 32)],
  ])('%s: %s', (engine, name, dwords) => {
    expect(skipped(engine, dwords)).toBe(name);
    expect(skipped('bcs0', dwords)).toBeUndefined();
  });

  test.each([
    ['MI_SUSPEND_FLUSH', command(0x0580_0001, 1)],
    ['MI_MEM_FENCE', command(0x0480_0003, 1)],
    ['MI_SET_APPID', command(0x0700_0081, 1)],
    ['MI_FORCE_WAKEUP', command(0x0e80_0000, 2)],
    ['MI_CLFLUSH', command(0x1380_0003, 5)],
    ['MI_REPORT_PERF_COUNT', command(0x1400_0002, 4)],
    ['MI_DISPLAY_FLIP', command(0x0a00_0001, 3)],
    ['MI_LOAD_SCAN_LINES_INCL', command(0x0900_0000, 2)],
    ['MI_WAIT_FOR_EVENT', command(0x0180_0000, 1)],
  ])('%s on every engine', (name, dwords) => {
    for (const engine of ['rcs0', 'ccs0', 'bcs0', 'vcs0', 'vecs0'])
      expect(skipped(engine, dwords), engine).toBe(name);
  });

  test('longer than a page', () => {
    const rig = new EngineRig({ engine: 'vcs0' });
    rig.ppgtt.map(PPGTT.batch, 0x6000);
    rig.ppgtt.put(PPGTT.batch + (0xfff + 2) * 4, [...sdi(data, 1), 0x0500_0000]);
    expect(rig.runBatch(0x7000_0fff)).toBe('idle');
    expect(rig.ppgtt.get(data)).toEqual([1]);
  });
});

describe('a command that there is not', () => {
  test.each([
    ['no type', 0x2000_0000],
    ['no type either', 0xe000_0000],
    ['no MI opcode', 0x1f80_0000],
    ['MI_SET_CONTEXT', 0x0c00_0000],
    ['MI_RS_CONTROL', 0x0300_0000],
    ['no pipeline', 0x7fff_0000],
    ['XY_SRC_COPY_BLT', 0x54c0_0008],
  ])('hangs every engine: %s', (_, header) => {
    for (const engine of ['rcs0', 'ccs0', 'bcs0', 'vcs0', 'vecs0']) {
      const rig = new EngineRig({ engine });
      rig.ppgtt.put(PPGTT.batch, [...sdi(data, 1), header, ...sdi(data, 2), 0x0500_0000]);
      rig.submit(0x1880_0101, 0, 1);
      const execution = rig.load();
      expect(execution.turn(100)).toBe('hang');
      expect(rig.ppgtt.get(data)).toEqual([1]);
      expect(execution.turn(100)).toBe('hang');
    }
  });
});
