/** A file with the state of a VF, as the source of a restore. */

import type { StateSource } from '../migration/session-restore.ts';
import { openCheckpoint, StreamFile } from '../migration/stream-file.ts';
import { StreamReader } from '../migration/stream-reader.ts';
import type { VfProfile } from '../migration/vf-profile.ts';

/** An open file that a VF can be restored from. */
export interface FileState extends StateSource {
  readonly path: string;
  /** False for a plain Linux stream. */
  readonly isCheckpoint: boolean;
  close(): Promise<void>;
}

/**
 * Opens a checkpoint, or with `raw` a plain stream.
 *
 * @throws {Fault} EINVAL for a plain stream without `raw`, EUCLEAN or EBADMSG for a damaged
 * checkpoint; ENOENT, EACCES ...
 */
export async function openState(path: string, raw: boolean): Promise<FileState> {
  const file = raw ? await StreamFile.open(path) : await openCheckpoint(path);
  const reader = new StreamReader(file);
  let buffer = new Uint8Array();
  return {
    path,
    isCheckpoint: file.checkpoint !== undefined,
    profile: file.checkpoint?.header?.profile,
    size: file.streamBytes,
    read: async (max) => {
      const wanted = Math.min(max, file.streamBytes);
      if (buffer.length < wanted) buffer = new Uint8Array(wanted);
      const count = await reader.read(buffer.subarray(0, wanted));
      return count > 0 ? [buffer.subarray(0, count)] : [];
    },
    close: () => file.close(),
  };
}

/**
 * The VF that the state in a file is of, for comparing; undefined for a plain stream.
 *
 * @throws {Fault} EUCLEAN or EBADMSG for a damaged checkpoint; ENOENT, EACCES ...
 */
export async function profileOfFile(path: string): Promise<VfProfile | undefined> {
  const file = await StreamFile.open(path);
  try {
    if (file.checkpoint?.damage !== undefined) throw file.checkpoint.damage.fault;
    return file.checkpoint?.header?.profile;
  } finally {
    await file.close();
  }
}
