/** The use cases migrate, save and restore: endpoints in, sessions run, both ends told. */
import { Fault, MigrationFault } from '../base/fault.ts';
import { type CheckpointSummary, CheckpointWriter } from '../migration/checkpoint-writer.ts';
import type { MigrationResult, SessionOptions } from '../migration/migration-phase.ts';
import { migrate } from '../migration/session.ts';
import { restore } from '../migration/session-restore.ts';
import { type SaveOptions, type SaveResult, save } from '../migration/session-save.ts';
import { type DeviceEndpoint, deviceEndpoint, filePath, parseEndpoint } from './endpoint.ts';
import { openState } from './file-state.ts';
import { explain, reportRollback } from './vf-connection.ts';
import { openVfEnd, type VfEnd } from './vf-end.ts';

export type {
  MigrationEvent,
  MigrationPhase,
  MigrationResult,
} from '../migration/migration-phase.ts';

/** How a state is kept. */
export interface FileOptions {
  /** The plain Linux stream instead of a checkpoint. */
  readonly raw?: boolean | undefined;
}

/**
 * Moves the state of one VF into another: served, or a device of the kernel.
 *
 * @throws {Fault} when an end cannot be reached
 * @throws {MigrationFault} see {@link migrate}
 */
export async function migrateVf(
  from: string,
  to: string,
  options: SessionOptions,
): Promise<MigrationResult> {
  const source = deviceEndpoint(await parseEndpoint(from));
  const target = deviceEndpoint(await parseEndpoint(to));
  return await withVfs({ source, target }, (vfs) => migrate(vfs.source, vfs.target, options));
}

/**
 * Saves the state of a served VF to a file.
 *
 * @throws {Fault} when an end cannot be reached
 * @throws {MigrationFault} see {@link save}
 */
export async function saveVf(
  from: string,
  to: string,
  { raw, ...options }: SaveOptions & FileOptions,
): Promise<SaveResult<CheckpointSummary>> {
  const source = deviceEndpoint(await parseEndpoint(from));
  const path = filePath(await parseEndpoint(to, 'file'));
  return await withVfs({ source }, (vfs) => {
    const { profile = {}, isXe } = vfs.source;
    if (!isXe && raw !== true)
      throw new Fault('EINVAL', `${source.path} is no Xe VF: its stream fits into no checkpoint`, {
        hint: 'save it with --raw',
      });
    const header = { profile, createdAt: Date.now() };
    const open = () => CheckpointWriter.create(path, header, { raw, opaque: !isXe });
    return save(vfs.source, open, options);
  });
}

/**
 * Restores a file into a served VF, which then runs.
 *
 * @throws {Fault} when an end cannot be reached, or the file is damaged
 * @throws {MigrationFault} see {@link restore}
 */
export async function restoreVf(
  from: string,
  to: string,
  { raw, ...options }: SessionOptions & FileOptions,
): Promise<MigrationResult> {
  const state = await openState(filePath(await parseEndpoint(from)), raw === true);
  try {
    const target = deviceEndpoint(await parseEndpoint(to));
    return await withVfs({ target }, (vfs) => restore(state, vfs.target, options));
  } finally {
    await state.close();
  }
}

/** The ends of a session that are devices, by their role. */
type Roles = Partial<Record<'source' | 'target', DeviceEndpoint>>;
type Opened<Ends extends Roles> = { readonly [Role in keyof Ends]: VfEnd };

/**
 * Opens devices and does something with them. When that is rolled back, the reason is asked of the
 * end that failed and told to both, as far as they are served.
 */
async function withVfs<const Ends extends Roles, T>(
  ends: Ends,
  action: (vfs: Opened<Ends>) => Promise<T>,
): Promise<T> {
  const vfs: Partial<Record<string, VfEnd>> = {};
  try {
    for (const [role, endpoint] of Object.entries(ends)) vfs[role] = await openVfEnd(endpoint);
    return await action(vfs as Opened<Ends>);
  } catch (error) {
    await closeAll(vfs);
    if (!(error instanceof MigrationFault)) throw error;
    const failed = error.role === 'tool' ? undefined : ends[error.role];
    const fault = failed?.kind === 'vfio-user' ? await explain(failed.path, error) : error;
    for (const { kind, path } of Object.values(ends))
      if (kind === 'vfio-user') await reportRollback(path, fault);
    throw fault;
  } finally {
    await closeAll(vfs);
  }
}

async function closeAll(vfs: Partial<Record<string, VfEnd>>): Promise<void> {
  for (const vf of Object.values(vfs)) await vf?.close();
}
