/** A tool's connection to a served VF, beside that of the VMM. */
import type { ErrnoName } from '../base/errno.ts';
import { type Fault, MigrationFault } from '../base/fault.ts';
import type { MigrationEnd } from '../migration/session-end.ts';
import type { MigState } from '../vfio/migration-state.ts';
import { VfioUserClient } from '../vfio-user/client.ts';
import { decodeRefusal } from './refusal-json.ts';
import { decodeServedVf, type ServedVf, XE_VFIO_CAPABILITY } from './vf-profile-json.ts';

/** Why a migration was rolled back, as the tool tells both ends. */
export interface RollbackReport {
  readonly phase: string;
  readonly role: string;
  readonly errno: string;
  readonly reason: string;
}

/** A served VF as a tool sees it. */
export interface VfConnection extends MigrationEnd {
  readonly path: string;
  readonly device: VfioUserClient;
  /** What the server tells of the VF; undefined when the server is none of ours. */
  readonly served: ServedVf | undefined;
  readonly probe: () => Promise<MigState | undefined>;
  /** Ends the connection. Idempotent. */
  close(): Promise<void>;
}

/** Errnos of a connect that say that nobody serves the path. */
const NOBODY = new Set(['ENOENT', 'ECONNREFUSED']);

/**
 * Connects to the VF served at `path` as a migration client: the VMM stays connected, and its memory and
 * interrupts stay as they are.
 *
 * @throws {Fault} ENOENT, ECONNREFUSED when nobody serves it; EACCES; EPROTO for a bad server
 */
export async function connectVf(path: string): Promise<VfConnection> {
  const device = await connectAsTool(path);
  const served = decodeServedVf(device.serverCapabilities);
  return {
    path,
    device,
    served,
    profile: served?.profile,
    probe: () => probeState(path),
    close: () => device.close(),
  };
}

/**
 * Tells the server of a VF why a migration was rolled back, so that its log names the same cause as
 * the other end's and the tool's. It rides in the VERSION message of a connection of its own: a server
 * that does not know it ignores it. A server that is gone is not told.
 */
export async function reportRollback(path: string, fault: MigrationFault): Promise<void> {
  const report: RollbackReport = {
    phase: fault.phase,
    role: fault.role,
    errno: fault.code,
    reason: fault.message,
  };
  try {
    await (await connectAsTool(path, { report })).close();
  } catch {
    // What the server does not hear it cannot log; the tool itself has said it.
  }
}

/**
 * The fault of a migration with the reason that the server of the end that failed knows: an error
 * reply carries the errno alone.
 *
 * @param path of the end that `fault` names
 * @returns `fault` itself when the server knows no more
 */
export async function explain(path: string, fault: MigrationFault): Promise<MigrationFault> {
  const refusal = await askRefusal(path, fault.code);
  if (refusal === undefined) return fault;
  const { phase, role, ends } = fault;
  const reason = `${phase}, ${role}: ${refusal.message}`;
  const hint = refusal.hint ?? fault.hint;
  const options = hint === undefined ? {} : { hint };
  return new MigrationFault(
    fault.code,
    reason,
    { phase, role, ends },
    { ...options, cause: refusal },
  );
}

/**
 * The reason of a server's last refusal.
 *
 * @returns undefined when it tells none, or one with another errno than `code`
 */
export async function askRefusal(path: string, code: ErrnoName): Promise<Fault | undefined> {
  try {
    const device = await connectAsTool(path);
    const refusal = decodeRefusal(device.serverCapabilities);
    await device.close();
    return refusal?.code === code ? refusal : undefined;
  } catch {
    // A server that is gone has said its last.
    return undefined;
  }
}

/** The migration state as a new connection tells it; undefined when nobody serves the VF. */
async function probeState(path: string): Promise<MigState | undefined> {
  let device: VfioUserClient;
  try {
    device = await connectAsTool(path);
  } catch (error) {
    if (NOBODY.has((error as { code?: string }).code ?? '')) return undefined;
    throw error;
  }
  try {
    return await device.migrationState();
  } finally {
    await device.close();
  }
}

function connectAsTool(path: string, more: object = {}): Promise<VfioUserClient> {
  return VfioUserClient.connect(path, {
    capabilities: { [XE_VFIO_CAPABILITY]: { role: 'migration', ...more } },
  });
}
