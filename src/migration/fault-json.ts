/**
 * A fault as JSON: `{ errno, reason, hint?, offset?, packet? }`, the last two for a fault in a stream.
 */
import { isErrnoName } from '../base/errno.ts';
import { Fault, StreamFault } from '../base/fault.ts';

/** A reason is not longer than this. */
const LONGEST = 300;

/** The fields of a JSON object. */
export type Fields = Readonly<Record<string, unknown>>;

/** The fields of a JSON object, undefined for any other value. */
export function fieldsOf(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Fields)
    : undefined;
}

/** The JSON of a fault. */
export function encodeFault(fault: Fault): Record<string, unknown> {
  const place =
    fault instanceof StreamFault ? { offset: fault.offset, packet: fault.packet } : undefined;
  return { errno: fault.code, reason: fault.message, hint: fault.hint, ...place };
}

/**
 * Reads the JSON of a fault; whoever wrote it may say what it likes.
 *
 * @returns undefined when it makes no sense
 */
export function decodeFault(value: unknown): Fault | undefined {
  const told = fieldsOf(value);
  const [errno, reason] = [told?.['errno'], told?.['reason']];
  if (!isErrnoName(errno) || typeof reason !== 'string') return undefined;
  const text = reason.slice(0, LONGEST);
  const hint = told?.['hint'];
  const options = typeof hint === 'string' ? { hint: hint.slice(0, LONGEST) } : {};
  const [offset, packet] = [told?.['offset'], told?.['packet']];
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(packet))
    return new Fault(errno, text, options);
  const place = { offset: offset as number, packet: packet as number };
  return new StreamFault(errno, text, place, options);
}
