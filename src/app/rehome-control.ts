/**
 * `rehome` between a tool and a server: a request and its answer in the member `control` of the
 * capability `xe_vfio` of a migration client's VERSION message, and of the reply to it.
 */
import { Fault, toFault } from '../base/fault.ts';
import { encodeFault, type Fields, fieldsOf } from '../migration/fault-json.ts';
import type { UnixSocket } from '../sys/unix-socket.ts';
import type { ControlAnswer } from '../vfio-user/server.ts';
import { askServer } from './control-client.ts';
import type { HandoverOffer } from './handover-target.ts';
import type { RehomeAnswer, RehomeRequest } from './serve-messages.ts';
import type { ToolAnswer } from './tool-request.ts';

/** A move with a BMG's VRAM in it takes longer than a version message does. */
const MOVE_TIMEOUT_MS = 120_000;

/**
 * Asks the server of a VF to move it.
 *
 * @param path of its socket
 * @throws {Fault} ENOENT, ECONNREFUSED when nobody serves it; EOPNOTSUPP when the server knows no such
 * request; what the server says
 */
export async function requestRehome(path: string, request: RehomeRequest): Promise<RehomeAnswer> {
  const answer = await askServer(path, { rehome: request }, 'rehome', MOVE_TIMEOUT_MS);
  return answer as unknown as RehomeAnswer;
}

/** Who does what is asked for. */
export interface ControlActions {
  rehome(to: RehomeRequest): Promise<RehomeAnswer>;
  /** Offers to hand over to a process that speaks `version`. */
  takeover(version: unknown): Promise<{ offer: HandoverOffer; socket: UnixSocket }>;
  /** Does what `tool-request.ts` has; the member `ask` names it. */
  ask(request: Fields): Promise<ToolAnswer>;
}

/** The answer to a `control` request; a fault goes into it. */
export async function answerControl(
  request: unknown,
  actions: ControlActions,
): Promise<ControlAnswer> {
  try {
    const fields: Fields = fieldsOf(request) ?? {};
    const { rehome, takeover, ask } = fields;
    const move = fieldsOf(rehome);
    if (move !== undefined) return { told: { rehome: await actions.rehome(requestOf(move)) } };
    if (ask !== undefined) return { told: { answer: await actions.ask(fields) } };
    const version = fieldsOf(takeover)?.['version'];
    if (version === undefined) throw new Fault('EOPNOTSUPP', 'this request is not known here');
    const { offer, socket } = await actions.takeover(version);
    return { told: { takeover: offer }, socket };
  } catch (error) {
    return { told: { error: encodeFault(toFault(error)) } };
  }
}

/** @throws {Fault} EINVAL when a member has a wrong type */
function requestOf({ pf, vfid, transparent, withhold, wrongGgtt }: Fields): RehomeRequest {
  const isCount = (value: unknown) =>
    value === undefined || (Number.isSafeInteger(value) && (value as number) >= 0);
  const isText = pf === undefined || typeof pf === 'string';
  const isFlag = [transparent, wrongGgtt].every((value) => /undefined|boolean/.test(typeof value));
  if (!isText || !isFlag || !isCount(vfid) || vfid === 0 || !isCount(withhold))
    throw new Fault('EINVAL', 'a malformed request to re-home a VF');
  return { pf, vfid, transparent, withhold, wrongGgtt } as RehomeRequest;
}
