/**
 * The state of a VF as the emulated GuC saves and restores it: an opaque run of dwords to
 * everybody else, a format of this project's own (real firmware has another, undocumented one).
 *
 * All GGTT addresses are relative to the VF's region, because the target's begins elsewhere. After
 * the header come sections; a reader skips a section that it does not know when the writer marked
 * it optional, and refuses the state otherwise: that is how later additions find their place.
 */
import { Fault } from '../../base/fault.ts';
import type { GucVersion } from '../../pf/ports.ts';
import type { VfAbiVersion } from '../../xe/guc/vf-actions.ts';
import type { ContextPosition } from '../engine/contracts.ts';

/** "XVGS" in memory order. */
export const STATE_MAGIC = 0x5347_5658;
/** The version of the format; readers take no other. */
export const STATE_FORMAT = 1;

/** Dwords of the header, for documents and tests. */
export const STATE_HEADER_LAYOUT = [
  'magic',
  'format',
  'dwords in all',
  'CRC-32 of all, this dword taken as 0',
  'firmware major 31:16, minor 15:0',
  'GT type: 0 main, 1 media',
  'GGTT pages of the VF',
  'sections',
] as const;

/** Sections by id. */
export const STATE_SECTION = {
  /** Handshake (NONE before it) and whether the VF rang unheard. */
  VF: 1,
  /** Memirq and CTB addresses, CTB state. */
  SELF_CONFIG: 2,
  CONTEXTS: 3,
  DOORBELLS: 4,
  SCHEDULING_POLICIES: 5,
  OPT_INS: 6,
  /** Where contexts stand that were in the middle of something, and the next page fault's id. */
  RUNS: 7,
  /** G2H messages that found no room. */
  UNSENT: 8,
  /** Compression metadata of the VF's VRAM; the main GT's state only. See ccs-section.ts. */
  FLAT_CCS: 9,
  /**
   * Where the driver stands in its recovery from an earlier migration; optional, since only a move
   * that it does not notice goes on from there.
   */
  FIXUP: 16,
  /** Milliseconds since the driver did something that belongs to its start, unless that is over. */
  START: 17,
} as const;

/** Flag in a section's first dword: a reader that does not know it may skip it. */
export const SECTION_OPTIONAL = 0x1_0000;
/** In place of an address or version that is not set. */
export const NONE = 0xffff_ffff;

/** The VF that a state is read from or written for. */
export interface StateOwner {
  readonly ggttStart: number;
  readonly ggttSize: number;
  readonly gtType: 'main' | 'media';
  /** Provisioned context and doorbell ids. */
  readonly contexts: number;
  readonly doorbells: number;
  /** Bytes of VRAM that the VF has. */
  readonly vramSize: number;
  readonly firmware: GucVersion;
  readonly abi: VfAbiVersion;
  /** Milliseconds of its GuC's clock. */
  readonly now: number;
  /** Reads positions inside contexts. @returns undefined when the dwords make no sense */
  readonly position: (dwords: readonly number[]) => ContextPosition | undefined;
}

/** One section: an id with flags, and its dwords. */
export interface StateSection {
  readonly id: number;
  readonly optional: boolean;
  readonly dwords: readonly number[];
}

/** Says why a state is refused. @throws {Fault} EIO always */
export function refuse(reason: string): never {
  throw new Fault('EIO', `GuC state refused: ${reason}`);
}
