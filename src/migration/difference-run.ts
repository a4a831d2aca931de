/** Gathers what differs in one resource into ranges. */
import { PACKET_TYPE } from '../xe/migration-packet.ts';
import { GGTT_PAGE_SIZE, GGTT_PTE_SIZE } from '../xe/pte.ts';

/** One thing that differs. */
export type Difference =
  /** A field of the descriptor; undefined where it is missing. */
  | {
      readonly kind: 'field';
      readonly resource: 'DESCRIPTOR';
      readonly name: string;
      readonly a: string | undefined;
      readonly b: string | undefined;
    }
  /** A register. */
  | {
      readonly kind: 'register';
      readonly resource: 'MMIO';
      readonly gt: number;
      readonly name: string;
      readonly a: string;
      readonly b: string;
    }
  /** Bytes `[start, end)` of a resource; of the GGTT, addresses from the VF's first one on. */
  | {
      readonly kind: 'range';
      readonly resource: string;
      readonly gt: number;
      readonly start: number;
      readonly end: number;
      /** Bytes of payload in it that differ. */
      readonly differing: number;
    }
  /** Bytes `[start, end)` of a resource that only one of the two has. */
  | {
      readonly kind: 'only';
      readonly resource: string;
      readonly gt: number;
      readonly start: number;
      readonly end: number;
      readonly in: 'a' | 'b';
    };

/** Bytes compared by memcmp before they are looked at one by one. */
const BLOCK = 4096;
/** Units in which something differs and that follow each other are one range. */
const UNIT: Readonly<Record<number, number>> = {
  [PACKET_TYPE.VRAM]: 4096,
  [PACKET_TYPE.GGTT]: GGTT_PTE_SIZE,
};
const OTHER_UNIT = 4;

/** What is compared. */
export interface ComparedResource {
  readonly type: number;
  /** The type's name. */
  readonly resource: string;
  readonly gt: number;
}

/** A range that is still growing. */
interface Open {
  readonly kind: 'range' | 'a' | 'b';
  readonly start: number;
  end: number;
  differing: number;
}

/** The differences of one resource, fed from its start to its end. */
export class DifferenceRun {
  readonly #resource: ComparedResource;
  readonly #add: (difference: Difference) => void;
  readonly #unit: number;
  #open: Open | undefined;

  constructor(resource: ComparedResource, add: (difference: Difference) => void) {
    this.#resource = resource;
    this.#add = add;
    this.#unit = UNIT[resource.type] ?? OTHER_UNIT;
  }

  /**
   * Compares two pieces of the same length that lie at `at` of the resource.
   * @returns bytes that differ
   */
  compare(a: Uint8Array, b: Uint8Array, at: number): number {
    let differing = 0;
    for (let from = 0; from < a.length; from += BLOCK) {
      const end = Math.min(from + BLOCK, a.length);
      if (Buffer.compare(a.subarray(from, end), b.subarray(from, end)) === 0) continue;
      differing += this.#compareBlock(a, b, from, end, at);
    }
    return differing;
  }

  /** Takes a part that only one of the two has. */
  only(start: number, end: number, side: 'a' | 'b'): void {
    this.#grow(side, start, end, end - start, 1);
  }

  /** Ends the range that is open. */
  flush(): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#open = undefined;
    const { type, resource, gt } = this.#resource;
    const place = { resource, gt, ...inUnits(type, open.start, open.end) };
    if (open.kind === 'range') this.#add({ kind: 'range', ...place, differing: open.differing });
    else this.#add({ kind: 'only', ...place, in: open.kind });
  }

  #compareBlock(a: Uint8Array, b: Uint8Array, from: number, end: number, at: number): number {
    const unit = this.#unit;
    let differing = 0;
    for (let start = from; start < end; start += unit) {
      const stop = Math.min(start + unit, end);
      let [first, last, count] = [-1, -1, 0];
      for (let byte = start; byte < stop; byte++) {
        if (a[byte] === b[byte]) continue;
        if (first < 0) first = byte;
        last = byte;
        count++;
      }
      if (count > 0) this.#grow('range', at + first, at + last + 1, count, unit);
      differing += count;
    }
    return differing;
  }

  /** Goes on with the range that is open when the new part lies in its last unit or in the next. */
  #grow(kind: Open['kind'], start: number, end: number, differing: number, unit: number): void {
    const open = this.#open;
    if (open !== undefined) {
      const apart = Math.floor(start / unit) - Math.floor((open.end - 1) / unit);
      if (open.kind !== kind || apart > 1) this.flush();
    }
    this.#open ??= { kind, start, end, differing: 0 };
    this.#open.end = end;
    this.#open.differing += differing;
  }
}

/** Ranges of the GGTT are given as the addresses that their PTEs map. */
function inUnits(type: number, start: number, end: number): { start: number; end: number } {
  if (type !== PACKET_TYPE.GGTT) return { start, end };
  const page = (position: number) => Math.floor(position / GGTT_PTE_SIZE) * GGTT_PAGE_SIZE;
  return { start: page(start), end: page(end - 1) + GGTT_PAGE_SIZE };
}
