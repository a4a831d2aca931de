/** Runs a command of the blitter in a test's address space. */
import { expect } from 'vitest';
import { BLT_COMMANDS } from '../../../src/gpu/blitter/commands.ts';
import type { FlatCcs, GpuMemory, Transfer } from '../../../src/gpu/engine/contracts.ts';
import { BLT_HEADER } from '../../../src/xe/commands/blt.ts';
import { fieldOf } from '../../../src/xe/commands/blt-fields.ts';

export function startBlit(
  dwords: Uint32Array,
  memory: GpuMemory,
  flatCcs?: FlatCcs,
): Transfer | undefined {
  const command = BLT_COMMANDS.get(fieldOf(dwords, BLT_HEADER.OPCODE));
  expect(command?.dwords).toContain(dwords.length);
  return command?.start(dwords, {
    ggtt: memory,
    ppgtt: memory,
    flatCcs,
    copied: () => {},
    isLate: () => false,
  });
}

/** Runs it to the end. */
export function blit(dwords: Uint32Array, memory: GpuMemory, flatCcs?: FlatCcs): void {
  expect(startBlit(dwords, memory, flatCcs)?.step(2 ** 40)).toBe('done');
}

/**
 * Runs it in steps of the budgets, over and over again, each time on a fresh transfer that goes on
 * where the one before it was; `repair` is called after each fault.
 */
export function blitInSteps(
  dwords: Uint32Array,
  memory: GpuMemory,
  budgets: readonly number[],
  repair: (address: number) => void = () => expect.fail('a fault'),
): void {
  let progress = 0;
  for (let turn = 0; ; turn++) {
    const transfer = startBlit(dwords, memory);
    if (transfer === undefined) return expect.fail('malformed');
    transfer.progress = progress;
    const end = transfer.step(budgets[turn % budgets.length] as number);
    if (end === 'done') return;
    if (end === 'more') expect(transfer.progress).toBeGreaterThan(progress);
    progress = transfer.progress;
    if (end === 'fault') {
      expect(transfer.faulted).toBe(memory);
      repair(memory.fault.address);
    }
  }
}
