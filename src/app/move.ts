/** The use cases migrate, save and restore: endpoints in, sessions run, both ends told. */
import { MigrationFault } from '../base/fault.ts';
import { type CheckpointSummary, CheckpointWriter } from '../migration/checkpoint-writer.ts';
import type { MigrationResult, SessionOptions } from '../migration/migration-phase.ts';
import { migrate } from '../migration/session.ts';
import { restore } from '../migration/session-restore.ts';
import { type SaveOptions, type SaveResult, save } from '../migration/session-save.ts';
import { filePath, parseEndpoint, socketPath } from './endpoint.ts';
import { openState } from './file-state.ts';
import { connectVf, reportRollback, type VfConnection } from './vf-connection.ts';

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
  return await withVfs([source, target], ([a, b]) => migrate(a, b, options));
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
  return await withVfs([source], ([vf]) => {
    const header = { profile: vf.profile ?? {}, createdAt: Date.now() };
    return save(vf, () => CheckpointWriter.create(path, header, { raw }), options);
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
    return await withVfs([target], ([vf]) => restore(state, vf, options));
  } finally {
    await state.close();
  }
}

type Connections<Paths extends readonly string[]> = { [Index in keyof Paths]: VfConnection };

/** Connects to VFs, does something with them and tells each of them when it was rolled back. */
async function withVfs<const Paths extends readonly string[], T>(
  paths: Paths,
  action: (vfs: Connections<Paths>) => Promise<T>,
): Promise<T> {
  const vfs: VfConnection[] = [];
  let failure: MigrationFault | undefined;
  try {
    for (const path of paths) vfs.push(await connectVf(path));
    return await action(vfs as Connections<Paths>);
  } catch (error) {
    if (error instanceof MigrationFault) failure = error;
    throw error;
  } finally {
    for (const vf of vfs) await vf.close();
    if (failure !== undefined) for (const path of paths) await reportRollback(path, failure);
  }
}
