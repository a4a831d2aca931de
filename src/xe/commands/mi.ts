/**
 * MI commands: what every command streamer understands, as data.
 *
 * Bits 31:29 of the header are 0, bits 28:23 the opcode. Most commands have their length in dwords
 * less two in the low bits.
 *
 * Source: drivers/gpu/drm/xe/instructions/xe_mi_commands.h; Intel's PRM, "Command Reference:
 * Instructions" and, for {@link MiPrivilege}, "User Mode Privileged Commands".
 */

/** What a batch that is not privileged (one in a PPGTT) may do with a command. */
export type MiPrivilege =
  /** Anything. */
  | 'free'
  /** Nothing: the command is converted to a NOOP. */
  | 'noop'
  /** Converted to a NOOP when one of its GGTT bits is set. */
  | 'noop-ggtt'
  /** Runs, but its own effect on memory or registers is judged by the command itself. */
  | 'checked';

/** One MI command. */
export interface MiCommandSpec {
  readonly opcode: number;
  /** Dwords when the length is fixed, or the bits of the header that hold it less two. */
  readonly length: { readonly fixed: number } | { readonly mask: number };
  readonly privilege: MiPrivilege;
  /** Header bits that select the GGTT, for 'noop-ggtt'. */
  readonly ggtt: number;
  /** Stays in force while MI_SET_PREDICATE makes a NOOP of commands. */
  readonly unpredicated: boolean;
  /** Engines that have it: all, those with PIPE_CONTROL (render, compute), or those without. */
  readonly engines: 'all' | 'gfx' | 'not-gfx';
}

function command(
  opcode: number,
  length: MiCommandSpec['length'],
  privilege: MiPrivilege = 'free',
  options: Partial<Pick<MiCommandSpec, 'ggtt' | 'unpredicated' | 'engines'>> = {},
): MiCommandSpec {
  const { ggtt = 0, unpredicated = false, engines = 'all' } = options;
  return { opcode, length, privilege, ggtt, unpredicated, engines };
}

const one = { fixed: 1 } as const;
const byte = { mask: 0xff } as const;
const bit22 = { ggtt: 1 << 22 } as const;

/** Every MI command of Xe2 and Xe3 that a batch may hold, by its name. */
export const MI_COMMANDS = {
  MI_NOOP: command(0x00, one),
  MI_SET_PREDICATE: command(0x01, one, 'free', { unpredicated: true }),
  MI_USER_INTERRUPT: command(0x02, one),
  MI_WAIT_FOR_EVENT: command(0x03, one),
  MI_WAIT_FOR_EVENT_2: command(0x04, one),
  MI_ARB_CHECK: command(0x05, one),
  MI_REPORT_HEAD: command(0x07, one, 'noop'),
  MI_ARB_ON_OFF: command(0x08, one, 'noop'),
  MI_MEM_FENCE: command(0x09, one),
  MI_BATCH_BUFFER_END: command(0x0a, one, 'free', { unpredicated: true }),
  MI_SUSPEND_FLUSH: command(0x0b, one),
  MI_PREDICATE: command(0x0c, one),
  MI_TOPOLOGY_FILTER: command(0x0d, one, 'free', { engines: 'gfx' }),
  MI_SET_APPID: command(0x0e, one),
  MI_LOAD_SCAN_LINES_INCL: command(0x12, { mask: 0x3f }),
  MI_LOAD_SCAN_LINES_EXCL: command(0x13, { mask: 0x3f }),
  MI_DISPLAY_FLIP: command(0x14, byte, 'noop'),
  MI_MATH: command(0x1a, byte),
  MI_SEMAPHORE_SIGNAL: command(0x1b, byte),
  MI_SEMAPHORE_WAIT: command(0x1c, byte, 'noop-ggtt', bit22),
  MI_FORCE_WAKEUP: command(0x1d, byte),
  MI_STORE_DATA_IMM: command(0x20, { mask: 0x3ff }, 'noop-ggtt', bit22),
  MI_STORE_DATA_INDEX: command(0x21, byte, 'noop'),
  MI_LOAD_REGISTER_IMM: command(0x22, byte, 'checked'),
  MI_STORE_REGISTER_MEM: command(0x24, byte, 'noop-ggtt', bit22),
  MI_FLUSH_DW: command(0x26, { mask: 0x3f }, 'checked', { engines: 'not-gfx' }),
  MI_CLFLUSH: command(0x27, { mask: 0x3ff }, 'noop-ggtt', bit22),
  MI_REPORT_PERF_COUNT: command(0x28, { mask: 0x3f }),
  MI_LOAD_REGISTER_MEM: command(0x29, byte, 'noop-ggtt', bit22),
  MI_LOAD_REGISTER_REG: command(0x2a, byte, 'checked'),
  MI_COPY_MEM_MEM: command(0x2e, byte, 'noop-ggtt', { ggtt: (1 << 22) | (1 << 21) }),
  MI_ATOMIC: command(0x2f, byte, 'noop-ggtt', bit22),
  MI_BATCH_BUFFER_START: command(0x31, byte, 'checked', { unpredicated: true }),
  MI_CONDITIONAL_BATCH_BUFFER_END: command(0x36, byte, 'noop-ggtt', bit22),
} as const satisfies Record<string, MiCommandSpec>;

/** Name of a MI command. */
export type MiCommandName = keyof typeof MI_COMMANDS;

/** Opcode of MI_UPDATE_GTT: a NOOP in a batch, and gone from Xe2 for privileged use. */
export const MI_UPDATE_GTT_OPCODE = 0x23;

/** The opcode of a MI header. */
export function miOpcode(header: number): number {
  return (header >>> 23) & 0x3f;
}

/** A MI header with its opcode and nothing else. */
export function miHeader(name: MiCommandName): number {
  return (MI_COMMANDS[name].opcode << 23) >>> 0;
}
