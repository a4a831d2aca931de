/** The use cases migrate, save and restore: endpoints in, sessions run, both ends told. */
import { MigrationFault } from '../base/fault.ts';
import { type CheckpointSummary, CheckpointWriter } from '../migration/checkpoint-writer.ts';
import type { MigrationResult, SessionOptions } from '../migration/migration-phase.ts';
import { migrate } from '../migration/session.ts';
import { restore } from '../migration/session-restore.ts';
import { type SaveOptions, type SaveResult, save } from '../migration/session-save.ts';
import { filePath, parseEndpoint, socketPath } from './endpoint.ts';
import { openState } from './file-state.ts';
import { connectVf, explain, reportRollback, type VfConnection } from './vf-connection.ts';

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
 * Moves the state of one served VF into another.
 *
 * @throws {Fault} when an end cannot be reached
 * @throws {MigrationFault} see {@link migrate}
 */
export async function migrateVf(
  from: string,
  to: string,
  options: SessionOptions,
): Promise<MigrationResult> {
  const source = socketPath(await parseEndpoint(from));
  const target = socketPath(await parseEndpoint(to));
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
  const source = socketPath(await parseEndpoint(from));
  const path = filePath(await parseEndpoint(to, 'file'));
  return await withVfs({ source }, (vfs) => {
    const header = { profile: vfs.source.profile ?? {}, createdAt: Date.now() };
    return save(vfs.source, () => CheckpointWriter.create(path, header, { raw }), options);
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
    const target = socketPath(await parseEndpoint(to));
    return await withVfs({ target }, (vfs) => restore(state, vfs.target, options));
  } finally {
    await state.close();
  }
}

/** The ends of a session that are served VFs, by their role. */
type Roles = Partial<Record<'source' | 'target', string>>;
type Connections<Paths extends Roles> = { readonly [Role in keyof Paths]: VfConnection };

/**
 * Connects to VFs and does something with them. When that is rolled back, the reason is asked of the
 * end that failed and told to both.
 */
async function withVfs<const Paths extends Roles, T>(
  paths: Paths,
  action: (vfs: Connections<Paths>) => Promise<T>,
): Promise<T> {
  const vfs: Partial<Record<string, VfConnection>> = {};
  try {
    for (const [role, path] of Object.entries(paths)) vfs[role] = await connectVf(path);
    return await action(vfs as Connections<Paths>);
  } catch (error) {
    await closeAll(vfs);
    if (!(error instanceof MigrationFault)) throw error;
    const failed = error.role === 'tool' ? undefined : paths[error.role];
    const fault = failed === undefined ? error : await explain(failed, error);
    for (const path of Object.values(paths)) await reportRollback(path, fault);
    throw fault;
  } finally {
    await closeAll(vfs);
  }
}

async function closeAll(vfs: Partial<Record<string, VfConnection>>): Promise<void> {
  for (const vf of Object.values(vfs)) await vf?.close();
}
