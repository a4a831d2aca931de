/** Operands of commands that several handlers read the same way. */
import { TWO_32 } from '../../base/int.ts';
import { COMPARE } from '../../xe/commands/mi-fields.ts';

/** Bits 47:32 of a canonical address. */
const ADDRESS_HIGH = 0xffff;

/**
 * The address in the two dwords at `at`, below 2^48.
 *
 * @param mask bits of the low dword that belong to it
 */
export function commandAddress(words: Uint32Array, at: number, mask: number): number {
  const high = (words[at + 1] as number) & ADDRESS_HIGH;
  return high * TWO_32 + (((words[at] as number) & mask) >>> 0);
}

/**
 * Compares a value from memory with one from a command, both unsigned.
 *
 * @param operation one of COMPARE
 */
export function compares(operation: number, memory: number, inline: number): boolean {
  switch (operation) {
    case COMPARE.GT:
      return memory > inline;
    case COMPARE.GTE:
      return memory >= inline;
    case COMPARE.LT:
      return memory < inline;
    case COMPARE.LTE:
      return memory <= inline;
    case COMPARE.EQ:
      return memory === inline;
    case COMPARE.NEQ:
      return memory !== inline;
    default:
      return false;
  }
}
