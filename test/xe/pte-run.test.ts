import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pteVfid, withVfid } from '../../src/xe/pte.ts';
import { copyPtes, findForeignPte, PTE_PIECE } from '../../src/xe/pte-run.ts';

/** Runs of equal PTEs, as a GGTT has them, of more than a piece in all. */
const runs = fc
  .array(
    fc.record({
      lo: fc.oneof(fc.constant(0), fc.nat(0xffff_ffff)),
      hi: fc.oneof(fc.constant(0), fc.nat(0xffff_ffff)),
      count: fc.integer({ min: 1, max: 2 * PTE_PIECE }),
    }),
    { minLength: 1, maxLength: 4 },
  )
  .map((each) => {
    const ptes = new Uint32Array(2 * each.reduce((sum, { count }) => sum + count, 0));
    let at = 0;
    for (const { lo, hi, count } of each)
      for (let n = 0; n < count; n++) {
        ptes[at++] = lo;
        ptes[at++] = hi;
      }
    return ptes;
  });
const vfid = fc.integer({ min: 0, max: 63 });

describe('many PTEs at once', () => {
  it('are copied one by one as far as anybody can see', () => {
    fc.assert(
      fc.property(runs, vfid, (ptes, id) => {
        const wanted = ptes.map((word, at) => (at % 2 === 0 ? withVfid(word, id) : word));
        const copied = new Uint32Array(ptes.length).fill(0xdead_beef);
        copyPtes(ptes, copied, id);
        expect(Buffer.compare(bytesOf(copied), bytesOf(wanted))).toBe(0);
        copyPtes(ptes, ptes, id);
        expect(Buffer.compare(bytesOf(ptes), bytesOf(wanted))).toBe(0);
        expect(findForeignPte(ptes, id)).toBe(-1);
      }),
      { numRuns: 60 },
    );
  });

  it('are told apart by their VFID wherever one is foreign', () => {
    fc.assert(
      fc.property(runs, vfid, fc.nat(), (ptes, id, place) => {
        copyPtes(ptes, ptes, id);
        const foreign = place % (ptes.length / 2);
        ptes[2 * foreign] = withVfid(ptes[2 * foreign] as number, id ^ 1);
        expect(findForeignPte(ptes, id)).toBe(foreign);
        expect(pteVfid(ptes[2 * foreign] as number)).toBe(id ^ 1);
      }),
      { numRuns: 60 },
    );
  });
});

function bytesOf({ buffer, byteOffset, byteLength }: Uint32Array): Buffer {
  return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
}
