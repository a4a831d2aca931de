/** What a client says of a reply that refuses, or does not come. */
import { errnoName, knownErrno } from '../base/errno.ts';
import { Fault } from '../base/fault.ts';
import { commandName } from './protocol.ts';

/** The hint of a connection that is lost. */
export const LOST_HINT = 'the server is gone: look at its log, start it again and connect anew';

/** The Fault of an error reply. */
export function refusal(command: number, errno: number): Fault {
  const reason = errno === 0 ? 'no reason given' : errnoName(errno);
  return new Fault(knownErrno(errno), `the server refused ${commandName(command)}: ${reason}`);
}

/** The Fault of a reply that did not come in time. */
export function timedOut(command: number, timeoutMs: number): Fault {
  return new Fault('ETIMEDOUT', `no reply to ${commandName(command)} in ${timeoutMs} ms`, {
    hint: 'the server or its device hangs: look at its log',
  });
}

/** `fault` as a fault of the connection, with what to do about it. */
export function lostFault(fault: Fault): Fault {
  const isConnection = fault.code === 'EPIPE' || fault.code === 'ECONNRESET';
  if (!isConnection) return fault;
  return new Fault('ECONNRESET', fault.message, { cause: fault, hint: LOST_HINT });
}
