/** The use case stats: what the VF of a running server was made to do. */
import { Fault } from '../base/fault.ts';
import type { AccessCount, CounterSnapshot, NamedCounts } from '../gpu/counters.ts';
import { askVfServer } from './tool-request.ts';

export type { CounterSnapshot } from '../gpu/counters.ts';

/** The counters of one VF at one time. */
export interface VfStats {
  readonly socket: string;
  /** Where the VF is now; a move changes it, and the counters begin anew. */
  readonly vfid: number;
  readonly counters: CounterSnapshot;
}

/**
 * Asks the server of the VF at `socket`; the VF and its VMM notice nothing.
 *
 * @throws {Fault} ENOENT, ECONNREFUSED when nobody serves it; EOPNOTSUPP for a VF of this machine or
 * another server; EPROTO for an answer without counters
 */
export async function vfStats(socket: string): Promise<VfStats> {
  const { vfid, counters } = await askVfServer(socket, 'counters');
  if (vfid === undefined || counters === undefined)
    throw new Fault('EPROTO', `the server at ${socket} answered without counters`);
  return { socket, vfid, counters };
}

/** What was counted between two looks at the same VF; what did not happen is left out. */
export function statsSince(before: CounterSnapshot, now: CounterSnapshot): CounterSnapshot {
  const { gucMessages } = now;
  const messages = (direction: keyof typeof gucMessages) =>
    countsSince(before.gucMessages[direction], gucMessages[direction]);
  const registers = Object.entries(now.registers).map(
    ([name, count]) => [name, accessesSince(before.registers[name], count)] as const,
  );
  return {
    registers: Object.fromEntries(registers.filter(([, { reads, writes }]) => reads + writes > 0)),
    accesses: accessesSince(before.accesses, now.accesses),
    interrupts: countsSince(before.interrupts, now.interrupts),
    gucMessages: { mailbox: messages('mailbox'), H2G: messages('H2G'), G2H: messages('G2H') },
    commands: countsSince(before.commands, now.commands),
    faults: countsSince(before.faults, now.faults),
    copiedBytes: now.copiedBytes - before.copiedBytes,
  };
}

function accessesSince(before: AccessCount | undefined, now: AccessCount): AccessCount {
  return { reads: now.reads - (before?.reads ?? 0), writes: now.writes - (before?.writes ?? 0) };
}

function countsSince(before: NamedCounts, now: NamedCounts): NamedCounts {
  const counts = Object.entries(now).map(
    ([name, count]) => [name, count - (before[name] ?? 0)] as const,
  );
  return Object.fromEntries(counts.filter(([, count]) => count > 0));
}
