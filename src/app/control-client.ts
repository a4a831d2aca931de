/**
 * A tool's side of the requests beside the vfio-user protocol.
 *
 * Each is a connection of its own: the request rides in the member `control` of the capability
 * `xe_vfio` of a migration client's VERSION message, the answer in that of the reply, so that no
 * message is invented and other servers ignore it. `{ rehome }` and `{ takeover }` are answered by a
 * member of the same name, `{ ask }` by `{ answer }`, each of them by `{ error }` when it fails.
 */
import { Fault } from '../base/fault.ts';
import { decodeFault, type Fields, fieldsOf } from '../migration/fault-json.ts';
import { openLink } from '../vfio-user/client-connect.ts';
import { XE_VFIO_CAPABILITY } from './vf-profile-json.ts';

/** The members that a request is answered by. */
export type ControlMember = 'rehome' | 'takeover' | 'answer';

/** A connection that is ready to take one request. */
export interface ReadyRequest {
  /**
   * Asks; once.
   *
   * @param request the value of `control`
   * @param member what the answer is in
   * @throws {Fault} what the server refuses; EOPNOTSUPP when it knows no such request; ECONNRESET
   */
  ask(request: Fields, member: ControlMember): Promise<Fields>;
  /** Ends the connection. Idempotent. */
  close(): void;
}

/**
 * Connects to the server at `path` for one request that is to be answered without a delay later.
 *
 * @param timeoutMs until it answers; 10 s unless given
 * @throws {Fault} ENOENT, ECONNREFUSED when nobody serves the VF
 */
export async function readyRequest(path: string, timeoutMs?: number): Promise<ReadyRequest> {
  const options = timeoutMs === undefined ? {} : { timeoutMs };
  const opened = await openLink(path, options);
  return {
    ask: async (request, member) => {
      const { link, version } = await opened.agree({
        [XE_VFIO_CAPABILITY]: { role: 'migration', control: request },
      });
      link.close();
      return answerIn(fieldsOf(version.json[XE_VFIO_CAPABILITY])?.['control'], member, path);
    },
    close: () => opened.close(),
  };
}

/**
 * Asks the server at `path`.
 *
 * @param request the value of `control`
 * @param member what the answer is in
 * @param timeoutMs until it answers; 10 s unless given
 * @throws {Fault} what the server refuses; EOPNOTSUPP when it knows no such request; ENOENT,
 * ECONNREFUSED when nobody serves the VF
 */
export async function askServer(
  path: string,
  request: Fields,
  member: ControlMember,
  timeoutMs?: number,
): Promise<Fields> {
  return await (await readyRequest(path, timeoutMs)).ask(request, member);
}

/**
 * What a server at `path` answered.
 *
 * @param control the member `control` of its VERSION reply
 * @throws {Fault} what it refused; EOPNOTSUPP when it knows no such request
 */
export function answerIn(control: unknown, member: ControlMember, path: string): Fields {
  const told = fieldsOf(control);
  const error = told?.['error'];
  if (error !== undefined)
    throw decodeFault(error) ?? new Fault('EIO', `the server at ${path} failed for no reason told`);
  const answer = fieldsOf(told?.[member]);
  if (answer !== undefined) return answer;
  throw new Fault('EOPNOTSUPP', `the server at ${path} does not know this request`, {
    hint: 'it must be a `xe-vfio serve` of this version, of an emulated VF',
  });
}
