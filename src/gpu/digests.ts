/**
 * SHA-256 of each resource of a VF, for proofs that a migration lost nothing.
 *
 * Written without the migration stream's code on purpose. GGTT addresses are taken relative to the
 * VF's region, so that source and target agree when nothing but the place changed.
 */
import { createHash } from 'node:crypto';
import { GGTT_PTE_LO } from '../xe/pte.ts';
import type { GgttWindow } from './ggtt.ts';
import { type CcsRun, ccsDwords } from './guc/ccs-section.ts';
import type { Guc } from './guc/guc.ts';
import { emptyRuntime, type VfRuntime } from './guc/vf-state.ts';
import type { VfVram } from './vram.ts';

/** SHA-256 in hex of each resource. */
export interface VfDigests {
  /** The whole quota; of nothing on integrated parts. */
  readonly vram: string;
  /** The PTEs with the VFID field taken as zero. */
  readonly ggtt: string;
  /** The software flags of every GT. */
  readonly mmio: string;
  /** What the VF set up in every GuC. */
  readonly guc: string;
}

const CHUNK = 64 * 2 ** 20;
const ZEROS = new Uint8Array(2 ** 20);

/** Computes the digests of one VF. */
export function vfDigests(
  vfid: number,
  parts: {
    readonly ggtt: GgttWindow | undefined;
    readonly vram: VfVram | undefined;
    readonly gucs: readonly Guc[];
    /** Compression metadata of VRAM, which is in the main GT's state. */
    readonly ccs: readonly CcsRun[];
  },
): VfDigests {
  const { ggtt, vram, gucs, ccs } = parts;
  const start = ggtt?.start ?? 0;
  const flags = gucs.map((guc) => [...guc.flags(vfid)]);
  const state = gucs.map((guc) => canonical(guc.vf(vfid).existingRuntime ?? emptyRuntime(), start));
  return {
    vram: digestVram(vram),
    ggtt: digestGgtt(ggtt),
    mmio: digestText(JSON.stringify(flags)),
    guc: digestText(JSON.stringify([...state, ...ccsDwords(ccs)])),
  };
}

function digestText(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function digestVram(vram: VfVram | undefined): string {
  const hash = createHash('sha256');
  const size = vram?.size ?? 0;
  const chunk = vram?.memory.exists === true ? CHUNK : ZEROS.length;
  for (let at = 0; at < size; at += chunk) {
    const length = Math.min(chunk, size - at);
    hash.update(vram?.memory.exists === true ? vram.view(at, length) : ZEROS.subarray(0, length));
  }
  return hash.digest('hex');
}

function digestGgtt(window: GgttWindow | undefined): string {
  const hash = createHash('sha256');
  const words = new Uint32Array((window?.count ?? 0) * 2);
  const written = window?.writtenWords;
  if (written !== undefined) words.set(written);
  for (let at = 0; at < words.length; at += 2)
    words[at] = (words[at] as number) & ~GGTT_PTE_LO.VFID;
  return hash.update(new Uint8Array(words.buffer)).digest('hex');
}

/** The same for equal states, whatever the order in which they came about. */
function canonical(runtime: VfRuntime, ggttStart: number): unknown {
  const place = (address: number) => (address === 0 ? null : address - ggttStart);
  const byId = (a: { readonly id: number }, b: { readonly id: number }) => a.id - b.id;
  const byKey = ([a]: readonly [number, unknown], [b]: readonly [number, unknown]) => a - b;
  const { handshake, h2g, g2h, ctbEnabled, h2gHead, g2hTail, notified } = runtime;
  return {
    handshake: handshake === undefined ? null : [handshake.major, handshake.minor, handshake.patch],
    memirq: [place(runtime.memirqStatus), place(runtime.memirqSource)],
    ctbs: [h2g, g2h].map((ctb) => [place(ctb.address), place(ctb.descriptor), ctb.size]),
    ctb: [ctbEnabled, h2gHead, g2hTail, notified],
    contexts: [...runtime.contexts.values()].sort(byId).map((context) => ({
      ...context,
      wqDesc: place(context.wqDesc),
      wqBase: place(context.wqBase),
      lrcs: context.lrcs.map(({ low, high }) => [low - ggttStart, high]),
      policies: [...context.policies].sort(byKey),
      run: {
        ...context.run,
        positions: [...context.run.positions]
          .sort(byKey)
          .map(([lrc, position]) => [lrc, position.rebased(-ggttStart).dwords]),
      },
    })),
    doorbells: [...runtime.doorbells.values()].sort(byId),
    schedulingPolicies: [...runtime.schedulingPolicies].sort(byKey),
    optIns: [...runtime.optIns].sort((a, b) => a - b),
    unsent: runtime.unsent,
    nextFault: runtime.nextFault,
  };
}
