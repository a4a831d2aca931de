/**
 * Why a server refused a tool's last command, as it tells in its next VERSION reply.
 *
 * An error reply of the vfio-user protocol has room for an errno and nothing else; the reason (which
 * packet of a stream, which quota) would stay in the server's log. Layout: the capability `xe_vfio`
 * with `refusal: { errno, reason, offset?, packet? }`.
 */
import { ERRNO, type ErrnoName } from '../base/errno.ts';
import { Fault, StreamFault } from '../base/fault.ts';
import { XE_VFIO_CAPABILITY } from './vf-profile-json.ts';

/** A reason is not longer than this. */
const LONGEST = 300;

/** The value of `refusal` for a fault. */
export function encodeRefusal(fault: Fault): Record<string, unknown> {
  const place =
    fault instanceof StreamFault ? { offset: fault.offset, packet: fault.packet } : undefined;
  return { errno: fault.code, reason: fault.message, ...place };
}

/**
 * Reads what a server tells; it may say what it likes.
 *
 * @param capabilities the capabilities of a VERSION reply
 * @returns undefined when it tells nothing that makes sense
 */
export function decodeRefusal(capabilities: Readonly<Record<string, unknown>>): Fault | undefined {
  const told = fieldsOf(fieldsOf(capabilities[XE_VFIO_CAPABILITY])?.['refusal']);
  const [errno, reason] = [told?.['errno'], told?.['reason']];
  if (typeof errno !== 'string' || !Object.hasOwn(ERRNO, errno) || typeof reason !== 'string')
    return undefined;
  const code = errno as ErrnoName;
  const text = reason.slice(0, LONGEST);
  const [offset, packet] = [told?.['offset'], told?.['packet']];
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(packet)) return new Fault(code, text);
  return new StreamFault(code, text, { offset: offset as number, packet: packet as number });
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}
