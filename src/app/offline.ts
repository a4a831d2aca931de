/** What the commands that read files have in common. */
import { Fault } from '../base/fault.ts';
import { StreamFile } from '../migration/stream-file.ts';
import { StreamReader } from '../migration/stream-reader.ts';

/** How a long look at a file is watched and ended. */
export interface OfflineOptions {
  /** Ends the work with ECANCELED. */
  readonly signal?: AbortSignal | undefined;
  /** Hears how many bytes of how many were read. */
  readonly onProgress?: ((bytes: number, total: number) => void) | undefined;
}

/** How the stream lies in a file. */
export type StreamFormat = 'raw' | 'checkpoint';

/** Opens a file for the time of `work`. */
export async function withStreamFile<T>(
  path: string,
  work: (file: StreamFile) => Promise<T>,
): Promise<T> {
  const file = await StreamFile.open(path);
  try {
    return await work(file);
  } finally {
    await file.close();
  }
}

/** The format of a file. */
export function formatOf(file: StreamFile): StreamFormat {
  return file.checkpoint === undefined ? 'raw' : 'checkpoint';
}

/**
 * Hands the pieces of a file's stream to `take` until it says that it has enough.
 *
 * @param take returns true when it needs no more
 * @throws {Fault} ECANCELED when the signal is given; what reading and `take` throw
 */
export async function readStream(
  file: StreamFile,
  take: (bytes: Uint8Array) => boolean,
  { signal, onProgress }: OfflineOptions,
): Promise<void> {
  const reader = new StreamReader(file);
  for await (const bytes of reader.chunks()) {
    throwIfCancelled(signal);
    const enough = take(bytes);
    onProgress?.(reader.position, file.streamBytes);
    if (enough) return;
  }
}

/** @throws {Fault} ECANCELED when the signal was given */
function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new Fault('ECANCELED', 'it was called off');
}
