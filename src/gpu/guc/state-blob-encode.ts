/** The writing half of the GuC state format; see state-format.ts. */

import { TWO_32 } from '../../base/int.ts';
import { ctbHeader } from '../../xe/guc/ctb.ts';
import { LRC_DESCRIPTOR_FLAGS } from '../../xe/guc/vf-actions.ts';
import { type CcsRun, ccsDwords } from './ccs-section.ts';
import { NONE, STATE_SECTION, type StateOwner, type StateSection } from './state-format.ts';
import { START_QUIET_MS } from './vf-start.ts';
import type { GucContext, GucDoorbell, UnsentMessage, VfFixup, VfRuntime } from './vf-state.ts';
import { noFixup } from './vf-state.ts';

/** What is saved with what a VF's driver set up. */
export interface StateBeside {
  /** Where its driver stands in a recovery; in none unless given. */
  readonly fixup?: VfFixup;
  /** Compression metadata of its VRAM; none unless given. */
  readonly ccs?: readonly CcsRun[];
}

/** The sections of a VF's state, empty ones left out. */
export function encodeSections(
  runtime: VfRuntime,
  { ggttStart, now }: Pick<StateOwner, 'ggttStart' | 'now'>,
  { fixup = noFixup(), ccs = [] }: StateBeside,
): StateSection[] {
  const relative = (address: number) => (address === 0 ? NONE : address - ggttStart);
  const sections: StateSection[] = [section(STATE_SECTION.VF, vfDwords(runtime))];
  sections.push(section(STATE_SECTION.SELF_CONFIG, selfConfig(runtime, relative)));
  const contexts = [...runtime.contexts.values()].sort((a, b) => a.id - b.id);
  if (contexts.length > 0)
    sections.push(
      section(
        STATE_SECTION.CONTEXTS,
        contexts.flatMap((context) => contextDwords(context, relative)),
      ),
    );
  const doorbells = [...runtime.doorbells.values()].sort((a, b) => a.id - b.id);
  if (doorbells.length > 0)
    sections.push(section(STATE_SECTION.DOORBELLS, doorbells.flatMap(doorbellDwords)));
  if (runtime.schedulingPolicies.size > 0)
    sections.push(
      section(
        STATE_SECTION.SCHEDULING_POLICIES,
        [...runtime.schedulingPolicies]
          .sort(([a], [b]) => a - b)
          .flatMap(([key, value]) => [((key << 16) | value.length) >>> 0, ...value]),
      ),
    );
  if (runtime.optIns.size > 0)
    sections.push(
      section(
        STATE_SECTION.OPT_INS,
        [...runtime.optIns].sort((a, b) => a - b),
      ),
    );
  const runs = contexts.flatMap((context) => runDwords(context, ggttStart));
  if (runs.length > 0 || runtime.nextFault > 0)
    sections.push(section(STATE_SECTION.RUNS, [runtime.nextFault, ...runs]));
  if (runtime.unsent.length > 0)
    sections.push(section(STATE_SECTION.UNSENT, runtime.unsent.flatMap(unsentDwords)));
  if (ccs.length > 0) sections.push(section(STATE_SECTION.FLAT_CCS, ccsDwords(ccs)));
  if (fixup.blocked)
    sections.push({
      id: STATE_SECTION.FIXUP,
      optional: true,
      dwords: [fixup.marker, fixup.told ? 1 : 0],
    });
  const startAge = Math.ceil(now - runtime.startSignAt);
  if (startAge < START_QUIET_MS)
    sections.push({ id: STATE_SECTION.START, optional: true, dwords: [startAge] });
  return sections;
}

function section(id: number, dwords: readonly number[]): StateSection {
  return { id, optional: false, dwords };
}

function vfDwords({ handshake, notified }: VfRuntime): number[] {
  const version =
    handshake === undefined
      ? NONE
      : (handshake.major << 16) | (handshake.minor << 8) | handshake.patch;
  return [version, notified ? 1 : 0];
}

function selfConfig(runtime: VfRuntime, relative: (address: number) => number): number[] {
  const { h2g, g2h } = runtime;
  return [
    relative(runtime.memirqStatus),
    relative(runtime.memirqSource),
    relative(h2g.address),
    relative(h2g.descriptor),
    h2g.size,
    relative(g2h.address),
    relative(g2h.descriptor),
    g2h.size,
    runtime.ctbEnabled ? 1 : 0,
    runtime.h2gHead,
    runtime.g2hTail,
  ];
}

/** Bits of a context's state dword. */
export const CONTEXT_STATE = { ENABLED: 1, PENDING: 2 } as const;

function contextDwords(context: GucContext, relative: (address: number) => number): number[] {
  const { ENABLED, PENDING } = CONTEXT_STATE;
  const state = (context.enabled ? ENABLED : 0) | (context.pending ? PENDING : 0);
  return [
    context.id,
    context.flags,
    context.engineClass,
    context.submitMask,
    relative(context.wqDesc),
    relative(context.wqBase),
    context.wqSize,
    state,
    context.lrcs.length,
    ...context.lrcs.flatMap(({ low, high }) => [
      relative((low & ~LRC_DESCRIPTOR_FLAGS) >>> 0),
      low & LRC_DESCRIPTOR_FLAGS,
      high,
    ]),
    context.policies.size,
    ...[...context.policies].sort(([a], [b]) => a - b).flat(),
  ];
}

function doorbellDwords({ id, contextId, address }: GucDoorbell): number[] {
  return [id, contextId, address % TWO_32, Math.floor(address / TWO_32)];
}

/** Bits of a run's state dword. */
export const RUN_STATE = { BLOCKED: 1, DISABLING: 2 } as const;

/** Nothing for a context that stands between two pieces of work. */
function runDwords({ id, run }: GucContext, ggttStart: number): number[] {
  const { BLOCKED, DISABLING } = RUN_STATE;
  const state = (run.blocked ? BLOCKED : 0) | (run.disabling ? DISABLING : 0);
  const { idle, quantumLeft, positions, faults } = run;
  if (state + idle + quantumLeft + positions.size + faults.length === 0) return [];
  return [
    id,
    state,
    idle,
    quantumLeft,
    positions.size,
    ...[...positions]
      .sort(([a], [b]) => a - b)
      .flatMap(([lrc, position]) => {
        const { dwords } = position.rebased(-ggttStart);
        return [lrc, dwords.length, ...dwords];
      }),
    faults.length,
    ...faults.flatMap((fault) => [fault.id, fault.lrc]),
  ];
}

function unsentDwords({ fence, dwords }: UnsentMessage): number[] {
  return [ctbHeader(fence, dwords.length), ...dwords];
}
