import { describe, expect, test } from 'vitest';
import {
  CTX_CTRL,
  contextControlHas,
  INDIRECT_RING_REG,
  LRC_REG,
  lrcAddress,
  RING,
  ringSize,
} from '../../src/xe/lrc.ts';

describe('the image of a context', () => {
  test('has its registers where xe_lrc_layout.h says', () => {
    expect(LRC_REG).toEqual({
      CTX_CONTEXT_CONTROL: 3,
      CTX_RING_HEAD: 5,
      CTX_RING_TAIL: 7,
      CTX_RING_START: 9,
      CTX_RING_CTL: 0xb,
      CTX_BB_ADDR_UDW: 0xd,
      CTX_BB_ADDR: 0xf,
      CTX_BB_PER_CTX_PTR: 0x13,
      CTX_CS_INDIRECT_CTX: 0x15,
      CTX_TIMESTAMP: 0x23,
      CTX_TIMESTAMP_UDW: 0x25,
      CTX_INDIRECT_RING_STATE: 0x27,
      CTX_ASID: 0x2f,
      CTX_PDP0_UDW: 0x31,
      CTX_PDP0_LDW: 0x33,
      CTX_LRM_INT_MASK_ENABLE: 0x50,
      CTX_INT_MASK_ENABLE_PTR: 0x52,
      CTX_INT_STATUS_REPORT_PTR: 0x57,
      CTX_INT_SRC_REPORT_PTR: 0x59,
    });
    expect(INDIRECT_RING_REG).toEqual({
      RING_HEAD: 3,
      RING_TAIL: 5,
      RING_START: 7,
      RING_START_UDW: 9,
      RING_CTL: 0xb,
    });
  });

  test('is found by a descriptor', () => {
    expect(lrcAddress(0xfeed_0119)).toBe(0xfeed_0000);
  });

  test('tells the size of its ring', () => {
    expect(ringSize(0x3001)).toBe(16 * 1024);
    expect(ringSize(0x0000_0001)).toBe(4096);
    expect(ringSize(0xffff_ffff)).toBe(2 * 1024 * 1024);
    expect(RING.HEAD_ADDR | RING.HEAD_WRAP).toBe(-4);
  });

  test('has control bits that count only with their mask', () => {
    const { ENGINE_CTX_RESTORE_INHIBIT: inhibit } = CTX_CTRL;
    expect(contextControlHas(0x0009_0009, inhibit)).toBe(true);
    expect(contextControlHas(0x0000_0009, inhibit)).toBe(false);
    expect(contextControlHas(0x0009_0008, inhibit)).toBe(false);
  });
});
