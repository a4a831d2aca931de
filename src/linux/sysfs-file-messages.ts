/** What a process and its file worker say to each other; see sysfs-file-worker.ts. */

/** One thing that the worker is to do. Offsets and lengths are bytes of the shared memory. */
export type FileRequest =
  /** Opens `path`, writes `text` by one write(2), closes. */
  | { readonly op: 'write'; readonly path: string; readonly text: string }
  /** Opens `path`, reads it to its end, closes. */
  | { readonly op: 'read'; readonly path: string }
  /** Opens the file that data goes through; an earlier one is closed. */
  | { readonly op: 'open'; readonly path: string; readonly flags: 'r' | 'w' }
  /** One read(2) of the data file into the shared memory. */
  | { readonly op: 'pull'; readonly offset: number; readonly length: number }
  /** One write(2) to the data file from the shared memory. */
  | { readonly op: 'push'; readonly offset: number; readonly length: number }
  /** Closes the data file, if there is one. */
  | { readonly op: 'close' };

/** A request with the number of its answer and the size of the shared memory now. */
export interface ToFileWorker {
  readonly id: number;
  readonly shared: number;
  readonly request: FileRequest;
}

/** The answer: what was read, or how many bytes went through, or the errno (positive). */
export interface FromFileWorker {
  readonly id: number;
  readonly text?: string;
  readonly count?: number;
  readonly errno?: number;
}

/** The descriptor under which the worker finds the shared memory. */
export const SHARED_FD = 4;
