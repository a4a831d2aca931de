/**
 * Requests of a tool to the server of a VF, beside the vfio-user protocol.
 *
 * Each is a connection of its own: the request rides in the capability `xe_vfio` of the VERSION
 * message, the answer in that of the reply, so that no message is invented and other servers ignore
 * it. Layout: `{ role: "migration", control: { ask: op } }`, answered with
 * `{ control: { answer: {...} } }` or with `{ control: { error: { code, message, hint } } }`.
 */
import { ERRNO, type ErrnoName } from '../base/errno.ts';
import { Fault } from '../base/fault.ts';
import { connectLink } from '../vfio-user/client-connect.ts';
import { XE_VFIO_CAPABILITY } from './vf-profile-json.ts';

/** What a tool can ask for. */
export type ToolOperation =
  /** What of the VF no other message tells. */
  | 'vf'
  /** Tell the VMM which memory the VF wrote; see `rewriteDirty`. */
  | 'rewrite'
  /** Go on without a word to the driver: between the load of a state and RUNNING. */
  | 'unnoticed'
  /** Raise the VF's interrupt once. */
  | 'interrupt'
  /** The state runs elsewhere: not to run before a reset. */
  | 'fence'
  | 'unfence';

/** What a server answers; everything may be absent. */
export interface ToolAnswer {
  /** `vf`: first GGTT address, undefined when it is not known. */
  readonly ggttStart?: number | undefined;
  /** `vf`: index of the interrupts that are connected (`VFIO_PCI_IRQ`), undefined for none. */
  readonly irq?: number | undefined;
  /** `vf`: process id of the VMM. */
  readonly vmmPid?: number | undefined;
  /** `vf`: whether the writes of the VF to guest memory can be logged. */
  readonly dmaLogging?: boolean | undefined;
  /** `rewrite`: pages that the VF had written, and messages that told of them. */
  readonly pages?: number | undefined;
  readonly messages?: number | undefined;
}

/**
 * Asks the server of the VF at `path`.
 *
 * @throws {Fault} what the server refuses; EOPNOTSUPP when it knows no requests; ENOENT,
 * ECONNREFUSED when nobody serves the VF
 */
export async function askVfServer(path: string, op: ToolOperation): Promise<ToolAnswer> {
  const { link, version } = await connectLink(path, {
    capabilities: { [XE_VFIO_CAPABILITY]: { role: 'migration', control: { ask: op } } },
  });
  link.close();
  const told = objectOf(objectOf(version.json[XE_VFIO_CAPABILITY])?.['control']);
  const error = objectOf(told?.['error']);
  if (error !== undefined) {
    const { code, message } = error;
    const isKnown = typeof code === 'string' && Object.hasOwn(ERRNO, code);
    throw new Fault(isKnown ? (code as ErrnoName) : 'EIO', String(message).slice(0, 300));
  }
  const answer = objectOf(told?.['answer']);
  if (answer === undefined)
    throw new Fault('EOPNOTSUPP', `the server at ${path} knows no request ${op}`, {
      hint: 'it has to be xe-vfio serve of this version',
    });
  return answer;
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined;
}
