/**
 * `rehome` between a tool and a server: a request and its answer in the member `control` of the
 * capability `xe_vfio` of a migration client's VERSION message, and of the reply to it.
 */
import { ERRNO, type ErrnoName } from '../base/errno.ts';
import { Fault, toFault } from '../base/fault.ts';
import type { UnixSocket } from '../sys/unix-socket.ts';
import { VfioUserClient } from '../vfio-user/client.ts';
import type { ControlAnswer } from '../vfio-user/server.ts';
import type { HandoverOffer } from './handover-target.ts';
import type { RehomeAnswer, RehomeRequest } from './serve-messages.ts';
import type { ToolAnswer } from './tool-request.ts';
import { XE_VFIO_CAPABILITY } from './vf-profile-json.ts';

/** A move with a BMG's VRAM in it takes longer than a version message does. */
const MOVE_TIMEOUT_MS = 120_000;

type Json = Readonly<Record<string, unknown>>;

/**
 * Asks the server of a VF to move it.
 *
 * @param path of its socket
 * @throws {Fault} ENOENT, ECONNREFUSED when nobody serves it; EOPNOTSUPP when the server knows no such
 * request; what the server says
 */
export async function requestRehome(path: string, request: RehomeRequest): Promise<RehomeAnswer> {
  const client = await VfioUserClient.connect(path, {
    timeoutMs: MOVE_TIMEOUT_MS,
    capabilities: { [XE_VFIO_CAPABILITY]: { role: 'migration', control: { rehome: request } } },
  });
  const told = client.serverCapabilities[XE_VFIO_CAPABILITY];
  await client.close();
  const answer = isObject(told) ? told['control'] : undefined;
  if (!isObject(answer))
    throw new Fault('EOPNOTSUPP', 'this server cannot re-home a VF', {
      hint: 'it must be a `xe-vfio serve` of this version',
    });
  const { error } = answer;
  if (isObject(error)) throw faultOf(error);
  return answer['rehome'] as RehomeAnswer;
}

/** Who does what is asked for. */
export interface ControlActions {
  rehome(to: RehomeRequest): Promise<RehomeAnswer>;
  /** Offers to hand over to a process that speaks `version`. */
  takeover(version: unknown): Promise<{ offer: HandoverOffer; socket: UnixSocket }>;
  /** Does what `tool-request.ts` has. */
  ask(op: unknown): Promise<ToolAnswer>;
}

/** The answer to a `control` request; a fault goes into it. */
export async function answerControl(
  request: unknown,
  actions: ControlActions,
): Promise<ControlAnswer> {
  try {
    const asked: Json = isObject(request) ? request : {};
    const { rehome, takeover, ask } = asked;
    if (isObject(rehome)) return { told: { rehome: await actions.rehome(requestOf(rehome)) } };
    if (ask !== undefined) return { told: { answer: await actions.ask(ask) } };
    if (!isObject(takeover)) throw new Fault('EOPNOTSUPP', 'this request is not known here');
    const { offer, socket } = await actions.takeover(takeover['version']);
    return { told: { takeover: offer }, socket };
  } catch (error) {
    const { code, message, hint } = toFault(error);
    return { told: { error: { code, message, hint } } };
  }
}

/** @throws {Fault} EINVAL when a member has a wrong type */
function requestOf({ pf, vfid, transparent, withhold }: Json): RehomeRequest {
  const isCount = (value: unknown) =>
    value === undefined || (Number.isSafeInteger(value) && (value as number) >= 0);
  const isText = pf === undefined || typeof pf === 'string';
  const isFlag = transparent === undefined || typeof transparent === 'boolean';
  if (!isText || !isFlag || !isCount(vfid) || vfid === 0 || !isCount(withhold))
    throw new Fault('EINVAL', 'a malformed request to re-home a VF');
  return { pf, vfid, transparent, withhold } as RehomeRequest;
}

function faultOf({ code, message, hint }: Json): Fault {
  const known = typeof code === 'string' && Object.hasOwn(ERRNO, code);
  const name = known ? (code as ErrnoName) : 'EIO';
  return new Fault(name, String(message), typeof hint === 'string' ? { hint } : {});
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
