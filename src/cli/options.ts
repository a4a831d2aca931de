/** Parsers of option values that several commands share; what they refuse is a usage error. */
import { type Command, InvalidArgumentError } from 'commander';
import { Fault } from '../base/fault.ts';
import { parseSize } from '../base/size.ts';

/** A size such as `512M`, in bytes. */
export function sizeOption(text: string): number {
  try {
    return parseSize(text);
  } catch (error) {
    if (error instanceof Fault) throw new InvalidArgumentError(`${error.message}: ${error.hint}.`);
    throw error;
  }
}

/** Sizes parted by commas, in bytes. */
export function sizeListOption(text: string): number[] {
  return text.split(',').map(sizeOption);
}

/**
 * A parser of whole numbers, decimal or 0x hexadecimal, in a range.
 * @param least the smallest number allowed
 * @param most the greatest number allowed
 */
export function integerOption(
  least: number,
  most: number = Number.MAX_SAFE_INTEGER,
): (text: string) => number {
  return (text) => {
    const value = /^(\d+|0x[0-9a-f]+)$/i.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} up` : `${least} to ${most}`;
    throw new InvalidArgumentError(`"${text}" is not a whole number ${range}.`);
  };
}

/** The longest turn of a VF on the engines, and time to leave them: 100 s each, as firmware has it. */
export const MAX_EXEC_QUANTUM_MS = 100_000;
export const MAX_PREEMPT_TIMEOUT_US = 100_000_000;

/** A parser of whole numbers parted by commas, each from 0 to `most`. */
export function integerListOption(most: number): (text: string) => number[] {
  return (text) => text.split(',').map((part) => integerOption(0, most)(part));
}

/** The device id of a PCI id of Intel's, such as `8086:e20b`. */
export function deviceOption(text: string): number {
  const [, vendor, device] = /^([0-9a-f]{4}):([0-9a-f]{4})$/i.exec(text) ?? [];
  if (vendor === undefined || device === undefined)
    throw new InvalidArgumentError(`"${text}" is not VVVV:DDDD, such as 8086:e20b.`);
  if (vendor !== '8086') throw new InvalidArgumentError('Xe devices are of vendor 8086.');
  return Number.parseInt(device, 16);
}

/** Adds `--root`, for commands that look at the machine. */
export function rootOption(command: Command): Command {
  return command.option('--root <dir>', 'where the /sys, /proc, /dev and /run of the machine are');
}
