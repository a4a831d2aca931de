/**
 * The registers of a VF, ready for dispatch by offset.
 *
 * A register that is not in the table reads as zero and ignores writes. Blocks of registers are
 * added as tables of handlers; nothing here allocates.
 */
import { VF_REGISTERS, VF_SW_FLAG_COUNT } from '../xe/registers.ts';
import type { Guc } from './guc/guc.ts';

/** The function whose register is accessed. */
export interface RegisterTarget {
  readonly vfid: number;
  /** The GuCs of main and media GT, the latter undefined where there is none. */
  readonly mainGuc: Guc;
  readonly mediaGuc: Guc | undefined;
}

/**
 * One register: plain functions, shared by all VFs. Values are bit patterns as signed 32-bit
 * integers: those are the ones that V8 hands around without allocating.
 */
export interface RegisterHandler {
  readonly read: (target: RegisterTarget) => number;
  readonly write: (target: RegisterTarget, value: number) => void;
}

type GucOf = (target: RegisterTarget) => Guc | undefined;

const nothing = (): void => {};
const zero = (): number => 0;

/** Every register of a VF by its offset in BAR 0. */
export const VF_REGISTER_HANDLERS: ReadonlyMap<number, RegisterHandler> = buildHandlers();

function buildHandlers(): ReadonlyMap<number, RegisterHandler> {
  const handlers = new Map<number, RegisterHandler>();
  const main: GucOf = (target) => target.mainGuc;
  const media: GucOf = (target) => target.mediaGuc;
  handlers.set(VF_REGISTERS.VF_CAP_REG.offset, { read: () => 1, write: nothing });
  addFlags(handlers, VF_REGISTERS.VF_SW_FLAG.offset, main);
  addFlags(handlers, VF_REGISTERS.MED_VF_SW_FLAG.offset, media);
  handlers.set(VF_REGISTERS.GUC_HOST_INTERRUPT.offset, { read: zero, write: ring(main) });
  handlers.set(VF_REGISTERS.MED_GUC_HOST_INTERRUPT.offset, { read: zero, write: ring(media) });
  return handlers;
}

function addFlags(handlers: Map<number, RegisterHandler>, offset: number, guc: GucOf): void {
  for (let n = 0; n < VF_SW_FLAG_COUNT; n++)
    handlers.set(offset + n * 4, {
      read: (target) => (guc(target)?.readFlag(target.vfid, n) ?? 0) | 0,
      write: (target, value) => guc(target)?.writeFlag(target.vfid, n, value),
    });
}

function ring(guc: GucOf): RegisterHandler['write'] {
  return (target) => guc(target)?.serve(target.vfid);
}
