/**
 * A fault as JSON: `{ errno, reason, offset?, packet? }`, the last two for a fault in a stream.
 */
import { ERRNO, type ErrnoName } from '../base/errno.ts';
import { Fault, StreamFault } from '../base/fault.ts';

/** A reason is not longer than this. */
const LONGEST = 300;

/** The fields of a JSON object, undefined for any other value. */
export function fieldsOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}

/** The JSON of a fault. */
export function encodeFault(fault: Fault): Record<string, unknown> {
  const place =
    fault instanceof StreamFault ? { offset: fault.offset, packet: fault.packet } : undefined;
  return { errno: fault.code, reason: fault.message, ...place };
}

/**
 * Reads the JSON of a fault; whoever wrote it may say what it likes.
 *
 * @returns undefined when it makes no sense
 */
export function decodeFault(value: unknown): Fault | undefined {
  const told = fieldsOf(value);
  const [errno, reason] = [told?.['errno'], told?.['reason']];
  if (typeof errno !== 'string' || !Object.hasOwn(ERRNO, errno) || typeof reason !== 'string')
    return undefined;
  const code = errno as ErrnoName;
  const text = reason.slice(0, LONGEST);
  const [offset, packet] = [told?.['offset'], told?.['packet']];
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(packet)) return new Fault(code, text);
  return new StreamFault(code, text, { offset: offset as number, packet: packet as number });
}
