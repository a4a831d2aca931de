/** The commands of each class of engines, found by their header. */
import {
  COMMAND_TYPE,
  GFX_COMMANDS,
  GFX_GROUPS,
  GFX_OTHER,
  gfxLengthRule,
  type MediaGroup,
  mediaLengthRule,
  STATE_COMMANDS,
  VIDEO_GROUPS,
  VIDEOENHANCE_GROUPS,
} from '../../xe/commands/gfx.ts';
import {
  MI_COMMANDS,
  MI_UPDATE_GTT_OPCODE,
  type MiCommandName,
  type MiCommandSpec,
  miOpcode,
} from '../../xe/commands/mi.ts';
import { GUC_CLASS } from '../../xe/guc/vf-actions.ts';
import { BLT_COMMANDS } from '../blitter/commands.ts';
import { computeWalker, flushDw, pipeControl, userInterrupt } from './flush.ts';
import { atomic } from './mi-atomic.ts';
import {
  arbCheck,
  arbOnOff,
  batchBufferEnd,
  batchBufferStart,
  conditionalBatchBufferEnd,
  predicate,
  semaphoreWait,
  setPredicate,
} from './mi-flow.ts';
import { math } from './mi-math.ts';
import {
  loadRegisterImm,
  loadRegisterMem,
  loadRegisterReg,
  noop,
  storeRegisterMem,
} from './mi-registers.ts';
import { copyMemMem, reportHead, storeDataImm, storeDataIndex } from './mi-store.ts';
import { type CommandHandler, OUTCOME } from './outcome.ts';

/** What the streamer needs to know of a command. */
export interface Command {
  /** In {@link COMMAND_NAMES}. */
  readonly index: number;
  /** Dwords, or 0: then `mask` tells the bits of the header that hold them less two. */
  readonly fixed: number;
  readonly mask: number;
  /** What executes it; undefined for a command that is only skipped. */
  readonly run: CommandHandler | undefined;
  /** MI_SET_PREDICATE does not touch it. */
  readonly unpredicated: boolean;
  /** A NOOP in a batch without privilege: always, or when one of these header bits is set. */
  readonly denied: boolean;
  readonly ggtt: number;
}

/** Commands by their headers. */
export interface CommandTable {
  /** By bits 28:23. */
  readonly mi: readonly (Command | undefined)[];
  /** By bits 28:22. */
  readonly blt: readonly (Command | undefined)[];
  /** By bits 28:16. */
  readonly pipe: readonly (Command | undefined)[];
  /** By bits 31:26. */
  readonly state: readonly (Command | undefined)[];
}

/** Names by which commands are counted. */
export const COMMAND_NAMES: string[] = [];

const MI_HANDLERS: Partial<Record<MiCommandName, CommandHandler>> = {
  MI_NOOP: noop,
  MI_SET_PREDICATE: setPredicate,
  MI_USER_INTERRUPT: userInterrupt,
  MI_ARB_CHECK: arbCheck,
  MI_REPORT_HEAD: reportHead,
  MI_ARB_ON_OFF: arbOnOff,
  MI_BATCH_BUFFER_END: batchBufferEnd,
  MI_PREDICATE: predicate,
  MI_MATH: math,
  MI_SEMAPHORE_WAIT: semaphoreWait,
  MI_STORE_DATA_IMM: storeDataImm,
  MI_STORE_DATA_INDEX: storeDataIndex,
  MI_LOAD_REGISTER_IMM: loadRegisterImm,
  MI_STORE_REGISTER_MEM: storeRegisterMem,
  MI_FLUSH_DW: flushDw,
  MI_LOAD_REGISTER_MEM: loadRegisterMem,
  MI_LOAD_REGISTER_REG: loadRegisterReg,
  MI_COPY_MEM_MEM: copyMemMem,
  MI_ATOMIC: atomic,
  MI_BATCH_BUFFER_START: batchBufferStart,
  MI_CONDITIONAL_BATCH_BUFFER_END: conditionalBatchBufferEnd,
};

const GFX_HANDLERS: Readonly<Record<string, CommandHandler>> = {
  PIPE_CONTROL: pipeControl,
  COMPUTE_WALKER: computeWalker,
  '3DPRIMITIVE': arbCheck,
};

/** What Xe2 no longer has. */
const gone: CommandHandler = () => OUTCOME.HANG;

/** COMPUTE_WALKER's header has a variant in bits that others have their opcode in. */
const WALKER_VARIANTS = 4;

/**
 * The commands of an engine.
 *
 * @param engineClass one of GUC_CLASS
 * @throws {RangeError} for another
 */
export function commandTable(engineClass: number): CommandTable {
  const table = tables.get(engineClass);
  if (table === undefined) throw new RangeError(`there is no engine class ${engineClass}`);
  return table;
}

/** The command that begins with `header`. */
export function lookUp(table: CommandTable, header: number): Command | undefined {
  switch (header >>> 29) {
    case COMMAND_TYPE.MI:
      return table.mi[miOpcode(header)];
    case COMMAND_TYPE.BLT:
      return table.blt[(header >>> 22) & 0x7f];
    case COMMAND_TYPE.PIPE:
      return table.pipe[(header >>> 16) & 0x1fff];
    default:
      return table.state[header >>> 26];
  }
}

function named(name: string, rest: Partial<Omit<Command, 'index'>>): Command {
  let index = COMMAND_NAMES.indexOf(name);
  if (index < 0) index = COMMAND_NAMES.push(name) - 1;
  return {
    index,
    fixed: 0,
    mask: 0xff,
    run: undefined,
    unpredicated: false,
    denied: false,
    ggtt: 0,
    ...rest,
  };
}

function miTable(isGfx: boolean): (Command | undefined)[] {
  const table: (Command | undefined)[] = new Array(64).fill(undefined);
  for (const [name, spec] of Object.entries(MI_COMMANDS) as [MiCommandName, MiCommandSpec][]) {
    if (spec.engines !== 'all' && (spec.engines === 'gfx') !== isGfx) continue;
    table[spec.opcode] = named(name, {
      fixed: 'fixed' in spec.length ? spec.length.fixed : 0,
      mask: 'mask' in spec.length ? spec.length.mask : 0,
      run: MI_HANDLERS[name],
      unpredicated: spec.unpredicated,
      denied: spec.privilege === 'noop',
      ggtt: spec.privilege === 'noop-ggtt' ? spec.ggtt : 0,
    });
  }
  table[MI_UPDATE_GTT_OPCODE] = named('MI_UPDATE_GTT', { run: gone, denied: true });
  return table;
}

function gfxTable(): (Command | undefined)[] {
  const table: (Command | undefined)[] = new Array(0x2000).fill(undefined);
  for (const group of GFX_GROUPS)
    for (let low = 0; low < 256; low++) {
      const bits = (group << 8) | low;
      table[bits & 0x1fff] = named(GFX_OTHER, gfxLengthRule(bits));
    }
  for (const [name, bits] of Object.entries(GFX_COMMANDS)) {
    const variants = name === 'COMPUTE_WALKER' ? WALKER_VARIANTS : 1;
    for (let variant = 0; variant < variants; variant++)
      table[(bits + variant) & 0x1fff] = named(name, {
        ...gfxLengthRule(bits),
        run: GFX_HANDLERS[name],
      });
  }
  return table;
}

function mediaPipeTable(groups: readonly MediaGroup[]): (Command | undefined)[] {
  const table: (Command | undefined)[] = new Array(0x2000).fill(undefined);
  for (const [group, name] of groups)
    for (let low = 0; low < 128; low++) {
      const bits = (group << 7) | low;
      table[bits & 0x1fff] = named(name, mediaLengthRule(bits));
    }
  return table;
}

function bltTable(): (Command | undefined)[] {
  const table: (Command | undefined)[] = new Array(128).fill(undefined);
  for (const [opcode, { name, dwords, start }] of BLT_COMMANDS)
    table[opcode] = named(name, {
      run: (streamer, words, at, length) =>
        dwords.includes(length)
          ? streamer.startTransfer(start, words.subarray(at, at + length))
          : OUTCOME.HANG,
    });
  return table;
}

function stateTable(): (Command | undefined)[] {
  const table: (Command | undefined)[] = new Array(64).fill(undefined);
  for (const [name, { bits, mask }] of Object.entries(STATE_COMMANDS))
    table[bits] = named(name, { mask });
  return table;
}

const NONE: readonly undefined[] = [];
const plainMi = miTable(false);
const videoTable: CommandTable = {
  mi: plainMi,
  blt: NONE,
  pipe: mediaPipeTable(VIDEO_GROUPS),
  state: NONE,
};
const videoEnhanceTable: CommandTable = {
  mi: plainMi,
  blt: NONE,
  pipe: mediaPipeTable(VIDEOENHANCE_GROUPS),
  state: NONE,
};
const renderTable: CommandTable = {
  mi: miTable(true),
  blt: NONE,
  pipe: gfxTable(),
  state: stateTable(),
};
const blitterTable: CommandTable = { mi: plainMi, blt: bltTable(), pipe: NONE, state: NONE };

const tables = new Map<number, CommandTable>([
  [GUC_CLASS.RENDER, renderTable],
  [GUC_CLASS.COMPUTE, renderTable],
  [GUC_CLASS.BLITTER, blitterTable],
  [GUC_CLASS.VIDEO, videoTable],
  [GUC_CLASS.VIDEOENHANCE, videoEnhanceTable],
]);
