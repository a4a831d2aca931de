/**
 * Many GGTT PTEs at once. Most of a GGTT holds the same PTE over and over (zero, or the one of a scratch
 * page), so that a look whether a piece is all alike spares the work on each of its PTEs; that counts
 * where a guest waits and nothing has run often enough to be fast.
 */
import { pteVfid, withVfid } from './pte.ts';

/** PTEs that are looked at together: few enough to stay in a cache. */
export const PTE_PIECE = 2048;

/** The pieces of `count` PTEs: first and end, in dwords. */
function* piecesOf(dwords: number): Generator<readonly [from: number, end: number]> {
  for (let from = 0; from < dwords; from += 2 * PTE_PIECE)
    yield [from, Math.min(from + 2 * PTE_PIECE, dwords)];
}

/** True when all PTEs of `ptes` in `[from, end)`, dwords, are the same. */
function isUniform(ptes: Uint32Array, from: number, end: number): boolean {
  const bytes = Buffer.from(ptes.buffer, ptes.byteOffset + 4 * from, 4 * (end - from));
  return bytes.compare(bytes, 8, bytes.length, 0, bytes.length - 8) === 0;
}

/**
 * Copies PTEs with another VFID in their VFID fields.
 *
 * @param from two dwords a PTE, low first
 * @param into as many; may be `from` itself
 */
export function copyPtes(from: Uint32Array, into: Uint32Array, vfid: number): void {
  for (const [first, end] of piecesOf(from.length)) {
    if (isUniform(from, first, end)) {
      const high = from[first + 1] as number;
      into[first] = withVfid(from[first] as number, vfid);
      into[first + 1] = high;
      for (let done = 2; done < end - first; done *= 2)
        into.copyWithin(first + done, first, first + Math.min(done, end - first - done));
      continue;
    }
    for (let at = first; at < end; at += 2) {
      into[at] = withVfid(from[at] as number, vfid);
      into[at + 1] = from[at + 1] as number;
    }
  }
}

/** The first of `ptes` whose VFID field is not `vfid`; -1 when there is none. */
export function findForeignPte(ptes: Uint32Array, vfid: number): number {
  for (const [first, end] of piecesOf(ptes.length)) {
    const last = isUniform(ptes, first, end) ? first + 2 : end;
    for (let at = first; at < last; at += 2)
      if (pteVfid(ptes[at] as number) !== vfid) return at / 2;
  }
  return -1;
}
