/**
 * What differs between the states that two streams would leave, by resource and range.
 *
 * Order, chunks, flags and the GGTT's VFIDs are no difference: restoring takes no notice of them.
 * Memory is bounded: payloads are compared piece by piece where they lie.
 */
import { Fault } from '../base/fault.ts';
import { dataView } from '../base/int.ts';
import { PACKET_TYPE } from '../xe/migration-packet.ts';
import { GGTT_PTE_LO, GGTT_PTE_SIZE } from '../xe/pte.ts';
import { VF_REGISTERS } from '../xe/registers.ts';
import { type Difference, DifferenceRun } from './difference-run.ts';
import { sideBySide } from './extents.ts';
import type { StreamFile } from './stream-file.ts';
import { mapState, type StateResource, type StreamState } from './stream-state.ts';

/** How to compare. */
export interface DiffOptions {
  /** Differences that are listed; the others are counted. */
  readonly limit: number;
  readonly signal?: AbortSignal | undefined;
  /** Hears how many bytes of how many were compared. */
  readonly onProgress?: ((bytes: number, total: number) => void) | undefined;
}

/** How much of a resource differs. */
export interface ResourceDifference {
  readonly resource: string;
  readonly gt: number;
  /** Bytes of payload in each of the two. */
  readonly aBytes: number;
  readonly bBytes: number;
  /** Bytes that differ or that only one of the two has. */
  readonly differing: number;
}

/** The answer. */
export interface DiffReport {
  readonly equal: boolean;
  readonly differences: readonly Difference[];
  /** Differences that are not listed. */
  readonly omitted: number;
  readonly resources: readonly ResourceDifference[];
}

/** Bytes compared at once. */
const PIECE = 2 ** 20;
/**
 * Compares two files.
 * @throws {StreamFault} when one is no whole stream, naming it
 * @throws {Fault} ECANCELED when called off; as `mapState`
 */
export async function diffStreams(
  a: StreamFile,
  b: StreamFile,
  options: DiffOptions,
): Promise<DiffReport> {
  return new Comparison(await mapState(a), await mapState(b), options).run();
}

class Comparison {
  readonly #a: StreamState;
  readonly #b: StreamState;
  readonly #options: DiffOptions;
  readonly #differences: Difference[] = [];
  readonly #pieceA = new Uint8Array(PIECE);
  readonly #pieceB = new Uint8Array(PIECE);
  #omitted = 0;
  #compared = 0;
  #total = 0;

  constructor(a: StreamState, b: StreamState, options: DiffOptions) {
    this.#a = a;
    this.#b = b;
    this.#options = options;
  }

  async run(): Promise<DiffReport> {
    this.#fields();
    const keys = [...new Set([...this.#a.resources.keys(), ...this.#b.resources.keys()])];
    keys.sort((x, y) => x - y);
    for (const { resources } of [this.#a, this.#b])
      for (const { map } of resources.values()) this.#total += map.bytes;
    const resources: ResourceDifference[] = [];
    for (const key of keys) resources.push(await this.#resource(key));
    return {
      equal: this.#differences.length === 0,
      differences: this.#differences,
      omitted: this.#omitted,
      resources,
    };
  }

  #fields(): void {
    for (const name of new Set([...this.#a.fields.keys(), ...this.#b.fields.keys()])) {
      const [a, b] = [this.#a.fields.get(name), this.#b.fields.get(name)];
      if (a !== b) this.#add({ kind: 'field', resource: 'DESCRIPTOR', name, a, b });
    }
  }

  async #resource(key: number): Promise<ResourceDifference> {
    const [a, b] = [this.#a.resources.get(key), this.#b.resources.get(key)];
    const some = a ?? b;
    if (some === undefined) throw new RangeError('a key of neither');
    const run = new DifferenceRun(some, (difference) => this.#add(difference));
    const [left, right] = [a?.map.extents ?? [], b?.map.extents ?? []];
    let differing = 0;
    for (const part of sideBySide(left, right)) {
      const { start, end } = part;
      const absent = part.a === undefined ? this.#a : part.b === undefined ? this.#b : undefined;
      const zeros = absent?.precopied === true && some.type === PACKET_TYPE.VRAM;
      if (absent === undefined || zeros)
        differing += await this.#compare(some, part.a, part.b, { start, end }, run);
      else {
        differing += end - start;
        run.only(start, end, part.a === undefined ? 'b' : 'a');
        this.#progress(end - start);
      }
    }
    run.flush();
    const { resource, gt } = some;
    return { resource, gt, aBytes: a?.map.bytes ?? 0, bBytes: b?.map.bytes ?? 0, differing };
  }

  async #compare(
    resource: StateResource,
    a: number | undefined,
    b: number | undefined,
    { start, end }: { readonly start: number; readonly end: number },
    run: DifferenceRun,
  ): Promise<number> {
    let differing = 0;
    for (let at = start; at < end; at += PIECE) {
      if (this.#options.signal?.aborted === true) throw new Fault('ECANCELED', 'it was called off');
      const size = Math.min(PIECE, end - at);
      const left = this.#pieceA.subarray(0, size);
      const right = this.#pieceB.subarray(0, size);
      await read(this.#a.file, left, a, at - start);
      await read(this.#b.file, right, b, at - start);
      if (resource.type === PACKET_TYPE.GGTT) {
        maskVfids(left);
        maskVfids(right);
      }
      if (resource.type === PACKET_TYPE.MMIO)
        differing += this.#registers(resource, left, right, at);
      else differing += run.compare(left, right, at);
      this.#progress(2 * size);
    }
    return differing;
  }

  #registers({ gt }: StateResource, a: Uint8Array, b: Uint8Array, at: number): number {
    const media = (this.#a.mediaGts ?? this.#b.mediaGts)?.has(gt) ?? gt !== 0;
    const name = media ? 'MED_VF_SW_FLAG' : 'VF_SW_FLAG';
    const { offset, stride } = VF_REGISTERS[name];
    let differing = 0;
    for (let byte = 0; byte < a.length; byte += 4) {
      const [x, y] = [dataView(a).getUint32(byte, true), dataView(b).getUint32(byte, true)];
      if (x === y) continue;
      const n = (at + byte) / 4;
      this.#add({
        kind: 'register',
        resource: 'MMIO',
        gt,
        name: `${name}(${n}) at ${hex(offset + n * stride)}`,
        a: hex(x),
        b: hex(y),
      });
      differing += 4;
    }
    return differing;
  }

  #progress(bytes: number): void {
    this.#compared += bytes;
    this.#options.onProgress?.(this.#compared, this.#total);
  }

  #add(difference: Difference): void {
    if (this.#differences.length < this.#options.limit) this.#differences.push(difference);
    else this.#omitted++;
  }
}

/** Reads what lies `at` bytes behind `from`, zeros where nothing is. */
async function read(
  file: StreamFile,
  into: Uint8Array,
  from: number | undefined,
  at: number,
): Promise<void> {
  if (from === undefined) into.fill(0);
  else await file.readAt(into, from + at);
}

/** Clears the VFID field of every PTE; restoring writes the target's own. */
function maskVfids(ptes: Uint8Array): void {
  const view = dataView(ptes);
  for (let at = 0; at < ptes.length; at += GGTT_PTE_SIZE)
    view.setUint32(at, view.getUint32(at, true) & ~GGTT_PTE_LO.VFID, true);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
