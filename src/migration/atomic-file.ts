/** A file that appears under its name when it is complete, or not at all. */
import { randomBytes } from 'node:crypto';
import { type FileHandle, lstat, open, realpath, rename, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Fault } from '../base/fault.ts';
import { fileFault } from './file-fault.ts';

/** The calls that writing needs; tests put a disk that is full in their place. */
export type OpenFile = (
  path: string,
  flags: string,
  mode?: number,
) => Promise<Pick<FileHandle, 'write' | 'sync' | 'close'>>;

/** The state of a guest's GPU is nobody else's business. */
const MODE = 0o600;

/** A file that is written under a temporary name beside its own. */
export class AtomicFile {
  /** Where the file will be. */
  readonly path: string;
  /** Where its bytes are until then. */
  readonly temporaryPath: string;
  readonly #open: OpenFile;
  #handle: Awaited<ReturnType<OpenFile>> | undefined;
  #length = 0;

  private constructor(path: string, openFile: OpenFile) {
    this.path = path;
    const unique = `${process.pid}.${randomBytes(4).toString('hex')}`;
    this.temporaryPath = join(dirname(path), `.${basename(path)}.${unique}.tmp`);
    this.#open = openFile;
  }

  /**
   * Begins a file; one that is there under that name stays until {@link finish}.
   *
   * @throws {Fault} EEXIST when something other than a regular file has the name; ENOENT, EACCES,
   * EROFS, ENOSPC ... as opening gives
   */
  static async create(path: string, openFile: OpenFile = open): Promise<AtomicFile> {
    const file = new AtomicFile(await targetOf(path), openFile);
    try {
      file.#handle = await openFile(file.temporaryPath, 'wx', MODE);
    } catch (error) {
      throw fileFault(error, path);
    }
    return file;
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /**
   * Appends bytes.
   * @throws {Fault} ENOSPC, EDQUOT, EIO ...; the temporary file is then removed
   */
  async write(bytes: Uint8Array): Promise<void> {
    await this.#guard(async (handle) => {
      for (let from = 0; from < bytes.length; ) {
        const { bytesWritten } = await handle.write(bytes, from, bytes.length - from);
        from += bytesWritten;
        this.#length += bytesWritten;
      }
    });
  }

  /**
   * Makes the file durable and gives it its name.
   * @throws {Fault} ENOSPC, EIO ...; the temporary file is then removed
   */
  async finish(): Promise<void> {
    await this.#guard(async (handle) => {
      await handle.sync();
      this.#handle = undefined;
      await handle.close();
      await rename(this.temporaryPath, this.path);
      const directory = await this.#open(dirname(this.path), 'r');
      try {
        await directory.sync();
      } finally {
        await directory.close();
      }
    });
  }

  /** Removes what was written; does nothing after {@link finish}. Idempotent. */
  async abort(): Promise<void> {
    const handle = this.#handle;
    if (handle === undefined) return;
    this.#handle = undefined;
    await handle.close().catch(() => {});
    await unlink(this.temporaryPath).catch(() => {});
  }

  async #guard(work: (handle: Awaited<ReturnType<OpenFile>>) => Promise<void>): Promise<void> {
    const handle = this.#handle;
    if (handle === undefined) throw new Fault('EBADF', `${this.path} is no longer written`);
    try {
      await work(handle);
    } catch (error) {
      await this.abort();
      // After the close in `finish`, abort has no handle to go by.
      await unlink(this.temporaryPath).catch(() => {});
      throw fileFault(error, this.path);
    }
  }
}

/** The path to write for `path`: a link's target, and never a device, pipe, socket or directory. */
async function targetOf(path: string): Promise<string> {
  const real = await realpath(path).catch(() => path);
  const stats = await lstat(real).catch(() => undefined);
  if (stats !== undefined && !stats.isFile())
    throw new Fault('EEXIST', `${path} is there and is not a regular file`, {
      hint: 'choose another name',
    });
  return real;
}
