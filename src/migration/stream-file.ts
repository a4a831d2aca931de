/** A file with the state of a VF: a checkpoint or a plain Linux stream, told apart by its magic. */
import { type FileHandle, open, stat } from 'node:fs/promises';
import { Fault } from '../base/fault.ts';
import {
  CHECKPOINT_FOOTER_SIZE,
  CHECKPOINT_HEADER_SIZE,
  type CheckpointFooter,
  type CheckpointHeader,
  decodeCheckpointFooter,
  decodeCheckpointHeader,
  isCheckpoint,
} from './checkpoint-format.ts';
import { decodeIndex, INDEX_ENTRY_SIZE, type IndexEntry } from './checkpoint-index.ts';
import { fileFault } from './file-fault.ts';

/** What is wrong with a checkpoint around its stream, and at which byte of the file. */
export interface CheckpointDamage {
  readonly part: 'header' | 'index';
  readonly fault: Fault;
  readonly fileOffset: number;
}

/** What a checkpoint says beside its stream; what is damaged is undefined. */
export interface CheckpointParts {
  readonly header: CheckpointHeader | undefined;
  readonly footer: CheckpointFooter | undefined;
  readonly index: readonly IndexEntry[] | undefined;
  /** The bytes that header and index were read from, for the SHA-256 of the file. */
  readonly headerBytes: Uint8Array;
  readonly indexBytes: Uint8Array;
  readonly damage: CheckpointDamage | undefined;
}

/** A file that is open for reading. */
export class StreamFile {
  readonly path: string;
  /** Bytes of the whole file. */
  readonly fileBytes: number;
  /** Where the stream begins in the file. */
  readonly start: number;
  /**
   * Bytes of the stream; in a checkpoint without a footer everything after the header, of which the
   * stream is the part up to its trailer.
   */
  readonly streamBytes: number;
  /** Undefined for a plain stream. */
  readonly checkpoint: CheckpointParts | undefined;
  readonly #handle: FileHandle;

  private constructor(
    path: string,
    handle: FileHandle,
    fileBytes: number,
    checkpoint: CheckpointParts | undefined,
  ) {
    this.path = path;
    this.fileBytes = fileBytes;
    this.checkpoint = checkpoint;
    this.start = checkpoint === undefined ? 0 : Math.min(CHECKPOINT_HEADER_SIZE, fileBytes);
    this.streamBytes = checkpoint?.footer?.streamBytes ?? fileBytes - this.start;
    this.#handle = handle;
  }

  /**
   * Opens a file, also one that is damaged: see {@link StreamFile.checkpoint}.
   * @throws {Fault} ENOENT, EACCES, EISDIR, EINVAL when it is no regular file
   */
  static async open(path: string): Promise<StreamFile> {
    let handle: FileHandle | undefined;
    try {
      // Opening a pipe would wait for a writer.
      if (!(await stat(path)).isFile()) await refuse(path);
      handle = await open(path, 'r');
      const { size } = await handle.stat();
      const head = await readExactly(handle, 0, Math.min(CHECKPOINT_HEADER_SIZE, size));
      const parts = isCheckpoint(head) ? await readParts(handle, head, size) : undefined;
      return new StreamFile(path, handle, size, parts);
    } catch (error) {
      await handle?.close();
      throw fileFault(error, path);
    }
  }

  /**
   * Reads bytes of the stream from `position` on.
   * @returns how many; fewer than asked for only at the end of the stream
   * @throws {Fault} EIO when the file cannot be read
   */
  async readAt(into: Uint8Array, position: number): Promise<number> {
    const wanted = Math.min(into.length, this.streamBytes - position);
    let done = 0;
    try {
      while (done < wanted) {
        const at = this.start + position + done;
        const { bytesRead } = await this.#handle.read(into, done, wanted - done, at);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
    } catch (error) {
      throw fileFault(error, this.path);
    }
    return done;
  }

  /** Closes the file. Idempotent. */
  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/**
 * Opens a checkpoint that is whole around its stream; the stream itself is checked as it is read,
 * see `StreamReader`.
 *
 * @throws {Fault} EINVAL for a plain stream; EUCLEAN when it was cut, EBADMSG when it was altered;
 * ENOENT, EACCES ...
 */
export async function openCheckpoint(
  path: string,
): Promise<StreamFile & { readonly checkpoint: CheckpointParts & { header: CheckpointHeader } }> {
  const file = await StreamFile.open(path);
  try {
    if (file.checkpoint === undefined)
      throw new Fault('EINVAL', `${path} is a plain stream, not a checkpoint`, {
        hint: 'use --raw for plain streams',
      });
    if (file.checkpoint.damage !== undefined) throw file.checkpoint.damage.fault;
    return file as Awaited<ReturnType<typeof openCheckpoint>>;
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function refuse(path: string): Promise<never> {
  if ((await stat(path)).isDirectory()) throw new Fault('EISDIR', `${path} is a directory`);
  throw new Fault('EINVAL', `${path} is not a regular file`);
}

async function readParts(
  handle: FileHandle,
  head: Uint8Array,
  fileBytes: number,
): Promise<CheckpointParts> {
  let damage: CheckpointDamage | undefined;
  let header: CheckpointHeader | undefined;
  let footer: CheckpointFooter | undefined;
  let index: readonly IndexEntry[] | undefined;
  let indexBytes = new Uint8Array();
  const note = (part: CheckpointDamage['part'], fileOffset: number, error: unknown) => {
    if (!(error instanceof Fault)) throw error;
    damage ??= { part, fault: error, fileOffset };
  };
  try {
    header = decodeCheckpointHeader(head);
  } catch (error) {
    note('header', 0, error);
  }
  let at = Math.max(fileBytes - CHECKPOINT_FOOTER_SIZE, 0);
  try {
    footer = decodeCheckpointFooter(
      await readExactly(handle, at, Math.min(CHECKPOINT_FOOTER_SIZE, fileBytes)),
      fileBytes,
    );
    at = CHECKPOINT_HEADER_SIZE + footer.streamBytes;
    indexBytes = await readExactly(handle, at, footer.packets * INDEX_ENTRY_SIZE);
    index = decodeIndex(indexBytes, footer);
  } catch (error) {
    note('index', at, error);
  }
  return { header, footer, index, headerBytes: head, indexBytes, damage };
}

async function readExactly(
  handle: FileHandle,
  at: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, length - done, at + done);
    if (bytesRead === 0) return bytes.subarray(0, done);
    done += bytesRead;
  }
  return bytes;
}
