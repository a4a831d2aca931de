/**
 * Where a context stands that was taken off in the middle of a batch.
 *
 * Dwords: version, flags, progress of a transfer (low, high), then for each batch level its
 * properties and its address (low, high).
 */
import { TWO_32 } from '../../base/int.ts';
import { LEVEL, MAX_LEVEL } from './batch-levels.ts';
import type { ContextPosition } from './contracts.ts';

const VERSION = 1;
const HEADER = 4;
const PER_LEVEL = 3;
/** Addresses are below 2^48. */
const HIGH_LIMIT = 0x1_0000;
/** Progress is a safe integer. */
const PROGRESS_HIGH_LIMIT = 1 << 21;

/** Flags of a position. */
const FLAG = { ARBITRATION_OFF: 1, TRANSFER: 2, NOOP: 4 } as const;
const FLAGS = FLAG.ARBITRATION_OFF | FLAG.TRANSFER | FLAG.NOOP;

/** What a position says. */
export interface PositionFields {
  readonly arbitrationOff: boolean;
  /** MI_SET_PREDICATE makes commands NOOPs. */
  readonly noop: boolean;
  /** Progress of the transfer that the next command had begun; undefined without one. */
  readonly progress: number | undefined;
  /** As BatchLevels.save gives them. */
  readonly levels: readonly number[];
}

/** The position between two commands of the ring. */
const AT_RING: ContextPosition = { dwords: [], rebased: () => AT_RING };

/** A position from what it says. */
export function makePosition(fields: PositionFields): ContextPosition {
  const { arbitrationOff, noop, progress, levels } = fields;
  const flags =
    (arbitrationOff ? FLAG.ARBITRATION_OFF : 0) |
    (progress === undefined ? 0 : FLAG.TRANSFER) |
    (noop ? FLAG.NOOP : 0);
  if (flags === 0 && levels.length === 0) return AT_RING;
  const done = progress ?? 0;
  return fromDwords([VERSION, flags, done % TWO_32, Math.floor(done / TWO_32), ...levels]);
}

/** A position from its dwords. @returns undefined when they make no sense */
export function parsePosition(dwords: readonly number[]): ContextPosition | undefined {
  if (dwords.length === 0) return AT_RING;
  const [version, flags, , high] = dwords as [number, number, number, number];
  const levels = dwords.length - HEADER;
  if (version !== VERSION || levels < 0 || levels % PER_LEVEL !== 0) return undefined;
  if (levels / PER_LEVEL > MAX_LEVEL) return undefined;
  if (!dwords.every((dword) => Number.isInteger(dword) && dword >= 0 && dword < TWO_32))
    return undefined;
  if ((flags & ~FLAGS) !== 0 || high >= PROGRESS_HIGH_LIMIT) return undefined;
  for (let at = HEADER; at < dwords.length; at += PER_LEVEL) {
    if ((dwords[at] as number) > (LEVEL.PPGTT | LEVEL.PRIVILEGED)) return undefined;
    if ((dwords[at + 1] as number) % 4 !== 0) return undefined;
    if ((dwords[at + 2] as number) >= HIGH_LIMIT) return undefined;
  }
  return fromDwords([...dwords]);
}

/** What a position says; undefined for one between two commands of the ring. */
export function positionFields(position: ContextPosition): PositionFields | undefined {
  const { dwords } = position;
  if (dwords.length === 0) return undefined;
  const [, flags, low, high] = dwords as [number, number, number, number];
  return {
    arbitrationOff: (flags & FLAG.ARBITRATION_OFF) !== 0,
    noop: (flags & FLAG.NOOP) !== 0,
    progress: (flags & FLAG.TRANSFER) !== 0 ? high * TWO_32 + low : undefined,
    levels: dwords.slice(HEADER),
  };
}

function fromDwords(dwords: readonly number[]): ContextPosition {
  return { dwords, rebased: (delta) => fromDwords(rebase(dwords, delta)) };
}

function rebase(dwords: readonly number[], delta: number): readonly number[] {
  const moved = [...dwords];
  for (let at = HEADER; at < moved.length; at += PER_LEVEL) {
    if (((moved[at] as number) & LEVEL.PPGTT) !== 0) continue;
    const address = (moved[at + 2] as number) * TWO_32 + (moved[at + 1] as number) + delta;
    moved[at + 1] = address % TWO_32;
    moved[at + 2] = Math.floor(address / TWO_32);
  }
  return moved;
}
