import { describe, expect, test } from 'vitest';
import { MI_COMMANDS, miHeader, miOpcode } from '../../../src/xe/commands/mi.ts';
import { ALU, ATOMIC, PIPE_CONTROL, REGISTER_ACCESS } from '../../../src/xe/commands/mi-fields.ts';

describe('MI commands', () => {
  // What the macros of xe_mi_commands.h come to.
  test.each([
    ['MI_NOOP', 0x0000_0000],
    ['MI_USER_INTERRUPT', 0x0100_0000],
    ['MI_ARB_CHECK', 0x0280_0000],
    ['MI_ARB_ON_OFF', 0x0400_0000],
    ['MI_BATCH_BUFFER_END', 0x0500_0000],
    ['MI_TOPOLOGY_FILTER', 0x0680_0000],
    ['MI_SET_APPID', 0x0700_0000],
    ['MI_MATH', 0x0d00_0000],
    ['MI_SEMAPHORE_WAIT', 0x0e00_0000],
    ['MI_FORCE_WAKEUP', 0x0e80_0000],
    ['MI_STORE_DATA_IMM', 0x1000_0000],
    ['MI_LOAD_REGISTER_IMM', 0x1100_0000],
    ['MI_STORE_REGISTER_MEM', 0x1200_0000],
    ['MI_FLUSH_DW', 0x1300_0000],
    ['MI_LOAD_REGISTER_MEM', 0x1480_0000],
    ['MI_LOAD_REGISTER_REG', 0x1500_0000],
    ['MI_COPY_MEM_MEM', 0x1700_0000],
    ['MI_ATOMIC', 0x1780_0000],
    ['MI_BATCH_BUFFER_START', 0x1880_0000],
    ['MI_CONDITIONAL_BATCH_BUFFER_END', 0x1b00_0000],
  ] as const)('%s', (name, header) => {
    expect(miHeader(name)).toBe(header);
    expect(miOpcode(header | 0x7f_ffff)).toBe(MI_COMMANDS[name].opcode);
  });

  test('each opcode is one command', () => {
    const opcodes = Object.values(MI_COMMANDS).map(({ opcode }) => opcode);
    expect(new Set(opcodes).size).toBe(opcodes.length);
    expect(Math.max(...opcodes)).toBeLessThan(64);
  });

  test('what selects the GGTT is known of each command that can', () => {
    for (const [name, { privilege, ggtt }] of Object.entries(MI_COMMANDS))
      expect(ggtt !== 0, name).toBe(privilege === 'noop-ggtt');
  });

  test('fields', () => {
    expect(REGISTER_ACCESS).toMatchObject({ CS_MMIO: 0x8_0000, REMAP: 0x2_0000, GGTT: 0x40_0000 });
    expect(PIPE_CONTROL).toMatchObject({ GGTT: 0x100_0000, STORE_DATA_INDEX: 0x20_0000 });
    expect(ALU).toMatchObject({ LOAD: 0x80, LOADINV: 0x480, SAR: 0x107, STOREIND: 0x181 });
    expect(ATOMIC.QWORD | ATOMIC.OP.CMP_WR).toBe(0x2e);
  });
});
