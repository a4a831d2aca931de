import { describe, expect, test } from 'vitest';
import {
  ENGINE_REG,
  ENGINE_REGISTERS_SIZE,
  engineIdValue,
  inRanges,
  MASKED_ENGINE_REGISTERS,
  MASKED_GT_REGISTERS,
  USER_ENGINE_REGISTERS,
  USER_RENDER_REGISTERS,
} from '../../src/xe/engine-registers.ts';
import { ENGINES } from '../../src/xe/engines.ts';

describe('registers of an engine', () => {
  test('are where xe_engine_regs.h says', () => {
    expect(ENGINE_REG).toMatchObject({
      RING_TAIL: 0x30,
      RING_HEAD: 0x34,
      RING_TIMESTAMP: 0x358,
      RING_CTX_TIMESTAMP: 0x3a8,
      RING_CONTEXT_CONTROL: 0x244,
      PR_CTR_CTRL: 0x178,
      PR_CTR_THRSH: 0x17c,
      CS_GPR: 0x600,
      MI_PREDICATE_RESULT: 0x418,
      MI_PREDICATE_RESULT_2: 0x3bc,
    });
    expect(engineIdValue(3, 8)).toBe(0x83);
  });

  test('are dwords within the engine', () => {
    for (const offset of [...Object.values(ENGINE_REG), ...MASKED_ENGINE_REGISTERS]) {
      expect(offset % 4).toBe(0);
      expect(offset).toBeLessThan(ENGINE_REGISTERS_SIZE);
    }
    expect(new Set(Object.values(ENGINE_REG)).size).toBe(Object.values(ENGINE_REG).length);
  });

  test('that are masked elsewhere belong to no engine', () => {
    for (const offset of MASKED_GT_REGISTERS)
      for (const { name, mmioBase } of ENGINES)
        expect(offset >= mmioBase && offset < mmioBase + ENGINE_REGISTERS_SIZE, name).toBe(false);
  });

  test('that a user may write are in ascending order and do not overlap', () => {
    for (const ranges of [USER_ENGINE_REGISTERS, USER_RENDER_REGISTERS]) {
      let end = -1;
      for (const [first, last] of ranges) {
        expect(first).toBeGreaterThan(end);
        expect(last).toBeGreaterThan(first);
        end = last;
      }
    }
    expect(inRanges(USER_ENGINE_REGISTERS, 0x67f)).toBe(true);
    expect(inRanges(USER_ENGINE_REGISTERS, 0x680)).toBe(false);
    expect(inRanges(USER_ENGINE_REGISTERS, ENGINE_REG.RING_MI_MODE)).toBe(false);
  });
});
