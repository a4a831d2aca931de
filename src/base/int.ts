/** Integer helpers for sizes, offsets and addresses that are kept as `number` (at most 2^53-1). */

/** `value` rounded up to a multiple of `unit` (a positive integer). */
export function alignUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** `value` rounded down to a multiple of `unit` (a positive integer). */
export function alignDown(value: number, unit: number): number {
  return Math.floor(value / unit) * unit;
}

/** True when `value` is a power of two (1 counts). */
export function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isSafeInteger(value) && 2 ** Math.round(Math.log2(value)) === value;
}

/** The greatest power of two that is not above `value` (at least 1). */
export function roundDownPowerOfTwo(value: number): number {
  let power = 2 ** Math.floor(Math.log2(value));
  if (power > value) power /= 2;
  else if (power * 2 <= value) power *= 2;
  return power;
}

/** The smallest power of two that is not below `value` (at least 1). */
export function roundUpPowerOfTwo(value: number): number {
  const power = roundDownPowerOfTwo(value);
  return power === value ? power : power * 2;
}

/** 2^32, for splitting a number into two halves. */
export const TWO_32 = 0x1_0000_0000;

/**
 * Reads a little-endian u64 as a number.
 *
 * @returns the value, or `Number.POSITIVE_INFINITY` when it is above 2^53-1: such a value fails
 * every range check, and its exact bits matter to nobody.
 */
export function readU64(view: DataView, at: number): number {
  const value = view.getUint32(at + 4, true) * TWO_32 + view.getUint32(at, true);
  return value <= Number.MAX_SAFE_INTEGER ? value : Number.POSITIVE_INFINITY;
}

/** Writes `value` (0 to 2^53-1) as a little-endian u64. */
export function writeU64(view: DataView, at: number, value: number): void {
  // A view stores modulo 2^32 and cuts fractions off by itself, without a call of fmod(3).
  view.setUint32(at, value, true);
  view.setUint32(at + 4, value / TWO_32, true);
}

/** A DataView over exactly the bytes of `bytes`. */
export function dataView(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
