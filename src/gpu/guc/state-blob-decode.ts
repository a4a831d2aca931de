/** The reading half of the GuC state format; see state-format.ts. */
import { TWO_32 } from '../../base/int.ts';
import { CONTEXT_STATE } from './state-blob-encode.ts';
import { NONE, refuse, STATE_SECTION, type StateOwner } from './state-format.ts';
import type { LrcDescriptor, VfRuntime } from './vf-state.ts';

/** LRCs that a context has at most (XE_HW_ENGINE_MAX_INSTANCE). */
const MAX_LRCS = 9;
/** Bytes of a CTB at most; the driver uses 4 and 128 KiB. */
const MAX_CTB_SIZE = 16 * 2 ** 20;
const MAX_POLICIES = 64;

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

type Decoder = (from: Reader, into: VfRuntime, owner: StateOwner) => void;

const DECODERS = new Map<number, Decoder>([
  [STATE_SECTION.VF, decodeVf],
  [STATE_SECTION.SELF_CONFIG, decodeSelfConfig],
  [STATE_SECTION.CONTEXTS, decodeContexts],
  [STATE_SECTION.DOORBELLS, decodeDoorbells],
  [STATE_SECTION.SCHEDULING_POLICIES, decodeSchedulingPolicies],
  [STATE_SECTION.OPT_INS, decodeOptIns],
]);

/**
 * Reads one section into a runtime.
 * @returns false when the section's id is not known
 * @throws {Fault} EIO when its contents are wrong
 */
export function decodeSection(
  id: number,
  dwords: Uint32Array,
  into: VfRuntime,
  owner: StateOwner,
): boolean {
  const decoder = DECODERS.get(id);
  if (decoder === undefined) return false;
  const reader = new Reader(dwords, owner);
  decoder(reader, into, owner);
  reader.end();
  return true;
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
