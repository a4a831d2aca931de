import { describe, expect, test } from 'vitest';
import {
  GFX_COMMANDS,
  GFX_GROUPS,
  gfxLengthRule,
  mediaLengthRule,
  VIDEO_GROUPS,
  VIDEOENHANCE_GROUPS,
} from '../../../src/xe/commands/gfx.ts';

describe('render and compute commands', () => {
  test.each([
    ['STATE_BASE_ADDRESS', 0x6101],
    ['PIPELINE_SELECT', 0x6904],
    ['3DSTATE_VF_STATISTICS', 0x680b],
    ['3DSTATE_DRAWING_RECTANGLE_FAST', 0x7800],
    ['3DSTATE_SBE_MESH', 0x7882],
    ['3DSTATE_SO_DECL_LIST', 0x7917],
    ['3DSTATE_SLICE_TABLE_STATE_POINTER_2', 0x79a0],
    ['PIPE_CONTROL', 0x7a00],
    ['3DPRIMITIVE', 0x7b00],
    ['COMPUTE_WALKER', 0x7208],
  ] as const)('%s', (name, bits) => {
    expect(GFX_COMMANDS[name]).toBe(bits);
  });

  test('each header is one command, of a group that is skipped', () => {
    const all = Object.values(GFX_COMMANDS);
    expect(new Set(all).size).toBe(all.length);
    for (const [name, bits] of Object.entries(GFX_COMMANDS))
      if (name !== 'PIPE_CONTROL') expect(GFX_GROUPS, name).toContain(bits >>> 8);
  });

  test('lengths', () => {
    expect(gfxLengthRule(GFX_COMMANDS.PIPELINE_SELECT)).toEqual({ fixed: 1, mask: 0 });
    expect(gfxLengthRule(GFX_COMMANDS['3DSTATE_VS'])).toEqual({ fixed: 0, mask: 0xff });
    expect(gfxLengthRule(GFX_COMMANDS['3DSTATE_SO_DECL_LIST'])).toEqual({ fixed: 0, mask: 0x1ff });
  });
});

describe('media commands', () => {
  test('groups and lengths', () => {
    for (const groups of [VIDEO_GROUPS, VIDEOENHANCE_GROUPS]) {
      const bits = groups.map(([group]) => group);
      expect(new Set(bits).size).toBe(bits.length);
      // Bits 31:29 of each are those of a pipe command.
      for (const group of bits) expect(group >>> 6).toBe(3);
    }
    expect(mediaLengthRule(0x6800)).toEqual({ fixed: 1, mask: 0 });
    expect(mediaLengthRule(0x7382)).toEqual({ fixed: 0, mask: 0xfff });
  });
});
