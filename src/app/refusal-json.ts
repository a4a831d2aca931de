/**
 * Why a server refused a tool's last command, as it tells in its next VERSION reply.
 *
 * An error reply of the vfio-user protocol has room for an errno and nothing else; the reason (which
 * packet of a stream, which quota) would stay in the server's log. Layout: the capability `xe_vfio`
 * with `refusal: { errno, reason, hint?, offset?, packet? }`.
 */
import type { Fault } from '../base/fault.ts';
import { decodeFault, encodeFault, fieldsOf } from '../migration/fault-json.ts';
import { XE_VFIO_CAPABILITY } from './vf-profile-json.ts';

/** The value of `refusal` for a fault. */
export function encodeRefusal(fault: Fault): Record<string, unknown> {
  return encodeFault(fault);
}

/**
 * Reads what a server tells; it may say what it likes.
 *
 * @param capabilities the capabilities of a VERSION reply
 * @returns undefined when it tells nothing that makes sense
 */
export function decodeRefusal(capabilities: Readonly<Record<string, unknown>>): Fault | undefined {
  return decodeFault(fieldsOf(capabilities[XE_VFIO_CAPABILITY])?.['refusal']);
}
