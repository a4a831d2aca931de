/** The reading half of the GuC state format; see state-format.ts. */
import { TWO_32 } from '../../base/int.ts';
import { CTB_MAX_DWORDS, ctbFence, ctbLength } from '../../xe/guc/ctb.ts';
import { type CcsRun, readCcsRuns } from './ccs-section.ts';
import { CONTEXT_STATE, RUN_STATE } from './state-blob-encode.ts';
import { NONE, refuse, STATE_SECTION, type StateOwner } from './state-format.ts';
import { START_QUIET_MS } from './vf-start.ts';
import { freshRun, type GucContext, type LrcDescriptor, type VfRuntime } from './vf-state.ts';

/** LRCs that a context has at most (XE_HW_ENGINE_MAX_INSTANCE). */
const MAX_LRCS = 9;
/** Bytes of a CTB at most; the driver uses 4 and 128 KiB. */
const MAX_CTB_SIZE = 16 * 2 ** 20;
const MAX_POLICIES = 64;
/** Dwords of a position inside a context at most. */
const MAX_POSITION = 1024;
/** Microseconds of a time slice at most, as drivers may ask for it. */
const MAX_QUANTUM = 0x7fff_ffff;
/** A marker of a recovery at most: 12 bits of a mailbox message. */
const MAX_MARKER = 0xfff;

/** Takes the dwords of a section, in order and to the end. */
class Reader {
  readonly #dwords: Uint32Array;
  readonly #owner: StateOwner;
  #at = 0;

  constructor(dwords: Uint32Array, owner: StateOwner) {
    this.#dwords = dwords;
    this.#owner = owner;
  }

  get more(): boolean {
    return this.#at < this.#dwords.length;
  }

  next(): number {
    const value = this.#dwords[this.#at++];
    if (value === undefined) refuse('a section ends early');
    return value;
  }

  upTo(most: number, what: string): number {
    const value = this.next();
    if (value > most) refuse(`${what} ${value} is above ${most}`);
    return value;
  }

  /** A GGTT address of the owner; 0 when there is none. */
  address(what: string): number {
    const value = this.next();
    if (value === NONE) return 0;
    if (value >= this.#owner.ggttSize) refuse(`${what} is outside of the VF's GGTT`);
    return this.#owner.ggttStart + value;
  }

  end(): void {
    if (this.more) refuse('a section is longer than what it holds');
  }
}

/** What a state says. */
interface Decoded {
  readonly runtime: VfRuntime;
  /** Compression metadata of the VF's VRAM. */
  readonly ccs: CcsRun[];
}

type Decoder = (from: Reader, into: VfRuntime, owner: StateOwner) => void;

const DECODERS = new Map<number, Decoder>([
  [STATE_SECTION.VF, decodeVf],
  [STATE_SECTION.SELF_CONFIG, decodeSelfConfig],
  [STATE_SECTION.CONTEXTS, decodeContexts],
  [STATE_SECTION.DOORBELLS, decodeDoorbells],
  [STATE_SECTION.SCHEDULING_POLICIES, decodeSchedulingPolicies],
  [STATE_SECTION.OPT_INS, decodeOptIns],
  [STATE_SECTION.RUNS, decodeRuns],
  [STATE_SECTION.UNSENT, decodeUnsent],
  [STATE_SECTION.FIXUP, decodeFixup],
  [STATE_SECTION.START, decodeStart],
]);

/**
 * Reads one section.
 * @returns false when the section's id is not known
 * @throws {Fault} EIO when its contents are wrong
 */
export function decodeSection(
  id: number,
  dwords: Uint32Array,
  { runtime, ccs }: Decoded,
  owner: StateOwner,
): boolean {
  const reader = new Reader(dwords, owner);
  const decoder = DECODERS.get(id);
  if (decoder !== undefined) decoder(reader, runtime, owner);
  else if (id === STATE_SECTION.FLAT_CCS) decodeFlatCcs(reader, ccs, owner);
  else return false;
  reader.end();
  return true;
}

function decodeFlatCcs(from: Reader, into: CcsRun[], { vramSize }: StateOwner): void {
  const runs = readCcsRuns(
    () => from.more,
    () => from.next(),
    vramSize,
  );
  for (const run of runs) into.push(run);
}

function decodeVf(from: Reader, into: VfRuntime, { abi }: StateOwner): void {
  const version = from.next();
  into.notified = from.upTo(1, 'a flag') === 1;
  if (version === NONE) return;
  const [major, minor, patch] = [version >>> 16, (version >>> 8) & 0xff, version & 0xff];
  if (major !== abi.major || minor > abi.minor)
    refuse(`the VF speaks interface ${major}.${minor}, this firmware ${abi.major}.${abi.minor}`);
  into.handshake = { major, minor, patch };
}

function decodeSelfConfig(from: Reader, into: VfRuntime): void {
  into.memirqStatus = from.address('the memirq status');
  into.memirqSource = from.address('the memirq source');
  for (const ctb of [into.h2g, into.g2h]) {
    ctb.address = from.address('a CTB');
    ctb.descriptor = from.address('a CTB descriptor');
    ctb.size = from.upTo(MAX_CTB_SIZE, 'a CTB size');
    if (ctb.size % 4096 !== 0) refuse(`a CTB size ${ctb.size} is not whole pages`);
  }
  into.ctbEnabled = from.upTo(1, 'a flag') === 1;
  into.h2gHead = from.next();
  into.g2hTail = from.next();
  if (!into.ctbEnabled) return;
  if (into.h2gHead * 4 >= into.h2g.size || into.g2hTail * 4 >= into.g2h.size)
    refuse('a CTB position is outside of its buffer');
}

function decodeContexts(from: Reader, into: VfRuntime, owner: StateOwner): void {
  while (from.more) {
    const id = from.upTo(owner.contexts - 1, 'context id');
    if (into.contexts.has(id)) refuse(`context ${id} comes twice`);
    const [flags, engineClass, submitMask] = [from.next(), from.next(), from.next()];
    const [wqDesc, wqBase] = [from.address('a work queue'), from.address('a work queue')];
    const wqSize = from.next();
    const state = from.upTo(CONTEXT_STATE.ENABLED | CONTEXT_STATE.PENDING, 'a context state');
    const lrcs = Array.from({ length: from.upTo(MAX_LRCS, 'LRC count') }, () => decodeLrc(from));
    const policies = new Map<number, number>();
    for (let left = from.upTo(MAX_POLICIES, 'policy count'); left > 0; left--)
      policies.set(from.upTo(0xffff, 'policy key'), from.next());
    into.contexts.set(id, {
      id,
      flags,
      engineClass,
      submitMask,
      wqDesc,
      wqBase,
      wqSize,
      lrcs,
      enabled: (state & CONTEXT_STATE.ENABLED) !== 0,
      pending: (state & CONTEXT_STATE.PENDING) !== 0,
      policies,
      run: freshRun(),
    });
  }
}

function decodeLrc(from: Reader): LrcDescriptor {
  const page = from.address('an LRC');
  if (page % 4096 !== 0) refuse('an LRC is not page aligned');
  const flags = from.upTo(0xfff, 'LRC flags');
  return { low: (page | flags) >>> 0, high: from.next() };
}

function decodeDoorbells(from: Reader, into: VfRuntime, owner: StateOwner): void {
  while (from.more) {
    const id = from.upTo(owner.doorbells - 1, 'doorbell id');
    if (into.doorbells.has(id)) refuse(`doorbell ${id} comes twice`);
    const contextId = from.next();
    if (!into.contexts.has(contextId)) refuse(`doorbell ${id} is for an unknown context`);
    const address = from.next() + from.upTo(0x1f_ffff, 'a doorbell address') * TWO_32;
    into.doorbells.set(id, { id, contextId, address });
  }
}

function decodeSchedulingPolicies(from: Reader, into: VfRuntime): void {
  while (from.more) {
    const header = from.next();
    const length = header & 0xffff;
    if (length > MAX_POLICIES) refuse('a scheduling policy is too long');
    into.schedulingPolicies.set(
      header >>> 16,
      Array.from({ length }, () => from.next()),
    );
  }
}

function decodeOptIns(from: Reader, into: VfRuntime): void {
  while (from.more) into.optIns.add(from.upTo(0xffff, 'an opt-in key'));
}

function decodeRuns(from: Reader, into: VfRuntime, owner: StateOwner): void {
  into.nextFault = from.upTo(0xffff, 'a page fault id');
  const seen = new Set<number>();
  while (from.more) {
    const id = from.next();
    const context = into.contexts.get(id);
    if (context === undefined) refuse(`context ${id} stands somewhere and is not registered`);
    if (seen.has(id)) refuse(`context ${id} stands in two places`);
    seen.add(id);
    decodeRun(from, context, owner);
  }
}

function decodeRun(from: Reader, { run, lrcs }: GucContext, owner: StateOwner): void {
  const state = from.upTo(RUN_STATE.BLOCKED | RUN_STATE.DISABLING, 'a run state');
  run.blocked = (state & RUN_STATE.BLOCKED) !== 0;
  run.disabling = (state & RUN_STATE.DISABLING) !== 0;
  run.idle = from.upTo(2 ** lrcs.length - 1, 'an idle mask');
  run.quantumLeft = from.upTo(MAX_QUANTUM, 'a time slice');
  for (let left = from.upTo(lrcs.length, 'position count'); left > 0; left--) {
    const lrc = from.upTo(lrcs.length - 1, 'an LRC index');
    if (run.positions.has(lrc)) refuse(`LRC ${lrc} has two positions`);
    const length = from.upTo(MAX_POSITION, 'position length');
    const position = owner.position(Array.from({ length }, () => from.next()));
    if (position === undefined || length === 0) refuse(`the position of LRC ${lrc} makes no sense`);
    run.positions.set(lrc, position.rebased(owner.ggttStart));
  }
  for (let left = from.upTo(lrcs.length, 'page fault count'); left > 0; left--)
    run.faults.push({
      id: from.upTo(0xffff, 'a page fault id'),
      lrc: from.upTo(lrcs.length - 1, 'an LRC index'),
    });
}

function decodeUnsent(from: Reader, into: VfRuntime): void {
  while (from.more) {
    const header = from.next();
    const length = ctbLength(header);
    if (length === 0 || length > CTB_MAX_DWORDS) refuse(`a message of ${length} dwords`);
    const dwords = Array.from({ length }, () => from.next());
    into.unsent.push({ fence: ctbFence(header), dwords });
  }
}

function decodeFixup(from: Reader, into: VfRuntime): void {
  const marker = from.upTo(MAX_MARKER, 'a marker');
  into.savedFixup = { blocked: true, marker, told: from.upTo(1, 'a flag') === 1 };
}

function decodeStart(from: Reader, into: VfRuntime, { now }: StateOwner): void {
  into.startSignAt = now - from.upTo(START_QUIET_MS, 'the age of a start');
}
