/**
 * The blitter's commands by opcode. Those of older blitters (XY_SRC_COPY_BLT, XY_COLOR_BLT and
 * others) are gone from Xe2 and Xe3.
 *
 * Source: igt-gpu-tools lib/intel_cmds_info.c (xe2_cmds_info), drivers/gpu/drm/xe/xe_migrate.c.
 */
import {
  MEM_COPY,
  MEM_SET,
  XY_BLOCK_COPY_BLT,
  XY_CTRL_SURF_COPY_BLT,
  XY_FAST_COLOR_BLT,
  XY_FAST_COPY_BLT,
} from '../../xe/commands/blt.ts';
import type { TransferCommand } from '../engine/contracts.ts';
import { startCtrlSurfCopy } from './ctrl-surf-copy.ts';
import { startMemCopy } from './mem-copy.ts';
import { startMemSet } from './mem-set.ts';
import { startBlockCopy, startFastCopy } from './xy-copy.ts';
import { startFastColor } from './xy-fill.ts';

/** How an engine carries out a command of the blitter. */
export interface BltCommand {
  /** As the specification spells it. */
  readonly name: string;
  /** Lengths in dwords that the command can have; others are malformed. */
  readonly dwords: readonly number[];
  /** Decodes it; undefined for what hardware hangs on. Called with whole commands only. */
  readonly start: TransferCommand;
}

function command(
  { name, opcode, dwords }: { name: string; opcode: number; dwords: readonly number[] },
  start: TransferCommand,
): readonly [number, BltCommand] {
  return [opcode, { name, dwords, start }];
}

/** Commands by bits 28:22 of their first dword, for those with client 2. */
export const BLT_COMMANDS: ReadonlyMap<number, BltCommand> = new Map([
  command(XY_BLOCK_COPY_BLT, startBlockCopy),
  command(XY_FAST_COPY_BLT, startFastCopy),
  command(XY_FAST_COLOR_BLT, startFastColor),
  command(XY_CTRL_SURF_COPY_BLT, startCtrlSurfCopy),
  command(MEM_COPY, startMemCopy),
  command(MEM_SET, startMemSet),
]);
