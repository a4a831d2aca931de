/** Fields of command dwords, as the command tables give them. */
import { TWO_32 } from '../../base/int.ts';

/** Bits `low` to `high` of dword `dword` of a command. */
export interface CommandField {
  readonly dword: number;
  readonly low: number;
  readonly high: number;
}

/** A {@link CommandField}, for tables. */
export function bits(dword: number, low: number, high: number): CommandField {
  return { dword, low, high };
}

/** The value of a field, unsigned. */
export function fieldOf(dwords: Uint32Array, { dword, low, high }: CommandField): number {
  const value = dwords[dword] as number;
  return high - low === 31 ? value : (value >>> low) & (2 ** (high - low + 1) - 1);
}

/** The value of a field in two's complement. */
export function signedFieldOf(dwords: Uint32Array, field: CommandField): number {
  const size = 2 ** (field.high - field.low + 1);
  const value = fieldOf(dwords, field);
  return value >= size / 2 ? value - size : value;
}

/** The 48 bits in use of the address whose low half is dword `dword` and whose high half follows. */
export function addressOf48(dwords: Uint32Array, dword: number): number {
  return ((dwords[dword + 1] as number) & 0xffff) * TWO_32 + (dwords[dword] as number);
}

/** Puts a value into a field. @throws {RangeError} when it does not fit */
export function putField(dwords: Uint32Array, field: CommandField, value: number): void {
  const size = 2 ** (field.high - field.low + 1);
  const unsigned = value < 0 ? value + size : value;
  if (!Number.isInteger(value) || unsigned < 0 || unsigned >= size)
    throw new RangeError(`${value} does not fit into bits ${field.high}:${field.low}`);
  const mask = size === TWO_32 ? 0xffff_ffff : (size - 1) << field.low;
  const word = dwords[field.dword] as number;
  dwords[field.dword] = (word & ~mask) | (unsigned << field.low);
}
