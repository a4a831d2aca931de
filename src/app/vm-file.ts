/**
 * A saved VM: a directory with QEMU's state, the checkpoint of the VF, and a manifest that names both
 * with their digests. It appears under its name when all of it is on disk, or not at all.
 *
 * ```
 * vm.xevm/manifest.json   what the VM is, what its guest made of the VF, files and digests
 *         ram             QEMU's migration stream: memory, CPUs, all other devices
 *         vf.xevf         docs/checkpoint-file.md
 * ```
 */
import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, lstat, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Fault } from '../base/fault.ts';
import type { OpenFile } from '../migration/atomic-file.ts';
import { fileFault } from '../migration/file-fault.ts';
import { decodeManifest, encodeManifest, type SavedFile, type VmManifest } from './vm-manifest.ts';

/** Names in the directory. */
const MANIFEST = 'manifest.json';
const RAM = 'ram';
const VF = 'vf.xevf';
/** The memory of a guest is nobody else's business. */
const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;
/** Bytes that are read at once for a digest. */
const PIECE = 4 * 2 ** 20;

/** Hears how many bytes of how many were read. */
export type ReadProgress = (bytes: number, total: number) => void;

/** How long work is watched and ended. */
interface ReadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ReadProgress | undefined;
}

/** A saved VM on its way to disk. */
export class VmFileWriter {
  /** Where it will be. */
  readonly path: string;
  /** Where it is until then. */
  readonly temporaryPath: string;

  private constructor(path: string) {
    this.path = path;
    const unique = `${process.pid}.${randomBytes(4).toString('hex')}`;
    this.temporaryPath = join(dirname(path), `.${basename(path)}.${unique}.tmp`);
  }

  /**
   * Makes the directory under a name of its own.
   * @throws {Fault} EEXIST when something has the name; ENOENT, EACCES, EROFS, ENOSPC ...
   */
  static async create(path: string): Promise<VmFileWriter> {
    const writer = new VmFileWriter(resolve(path));
    if ((await lstat(path).catch(() => undefined)) !== undefined)
      throw new Fault('EEXIST', `${path} is there already`, { hint: 'choose another name' });
    try {
      await mkdir(writer.temporaryPath, { mode: DIRECTORY_MODE });
    } catch (error) {
      throw fileFault(error, path);
    }
    return writer;
  }

  /** What QEMU writes. */
  get ramPath(): string {
    return join(this.temporaryPath, RAM);
  }

  /** What the checkpoint of the VF is written to. */
  get vfPath(): string {
    return join(this.temporaryPath, VF);
  }

  /**
   * Makes everything durable and gives it its name.
   *
   * @param manifest without the files
   * @returns the manifest as it will be read
   * @throws {Fault} ECANCELED, EEXIST, ENOSPC, EIO ...; nothing has the name then
   */
  async finish(
    manifest: Omit<VmManifest, 'ram' | 'vf'>,
    options: ReadOptions = {},
  ): Promise<VmManifest> {
    try {
      const ram = await digestFile(this.ramPath, RAM, { ...options, sync: true });
      const vf = await digestFile(this.vfPath, VF, { signal: options.signal, sync: true });
      const text = encodeManifest({ ...manifest, ram, vf });
      const file = await open(join(this.temporaryPath, MANIFEST), 'wx', FILE_MODE);
      try {
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      await syncDirectory(this.temporaryPath);
      await rename(this.temporaryPath, this.path);
      await syncDirectory(dirname(this.path));
      return decodeManifest(text, this.path);
    } catch (error) {
      throw fileFault(error, this.path);
    }
  }

  /** Removes what was written; does nothing after {@link finish}. Idempotent. */
  async abort(): Promise<void> {
    await rm(this.temporaryPath, { recursive: true, force: true });
  }
}

/**
 * Opens files that {@link VmFileWriter.finish} makes durable, so that nobody waits for a disk before.
 */
export const openUnsynced: OpenFile = async (path, flags, mode) => {
  const handle = await open(path, flags, mode);
  return {
    write: handle.write.bind(handle),
    sync: async () => {},
    close: () => handle.close(),
  };
};

/** A saved VM that is whole. */
export interface VmFile {
  readonly manifest: VmManifest;
  readonly ramPath: string;
  readonly vfPath: string;
}

/**
 * Opens a saved VM and reads all of it.
 *
 * @throws {Fault} ENOENT, EACCES; EINVAL when it is none; EBADMSG when it was altered; ECANCELED
 */
export async function openVmFile(path: string, options: ReadOptions = {}): Promise<VmFile> {
  const place = (name: string) => join(resolve(path), name);
  let text: string;
  try {
    text = await readFile(place(MANIFEST), 'utf8');
    await access(place(RAM), constants.R_OK);
  } catch (error) {
    throw fileFault(error, path);
  }
  const manifest = decodeManifest(text, path);
  await checkFile(place(VF), manifest.vf, { signal: options.signal });
  await checkFile(place(RAM), manifest.ram, options);
  return { manifest, ramPath: place(RAM), vfPath: place(VF) };
}

async function checkFile(path: string, wanted: SavedFile, options: ReadOptions): Promise<void> {
  const { bytes, sha256 } = await digestFile(path, wanted.file, options);
  if (bytes !== wanted.bytes)
    throw new Fault('EBADMSG', `${path} has ${bytes} bytes, not ${wanted.bytes}`);
  if (sha256 !== wanted.sha256) throw new Fault('EBADMSG', `${path} was altered`);
}

async function digestFile(
  path: string,
  name: string,
  { signal, onProgress, sync = false }: ReadOptions & { readonly sync?: boolean },
): Promise<SavedFile> {
  try {
    const { size: total } = await stat(path);
    const handle = await open(path, 'r');
    try {
      if (sync) await handle.sync();
      const hash = createHash('sha256');
      const piece = new Uint8Array(PIECE);
      let bytes = 0;
      for (;;) {
        if (signal?.aborted === true) throw new Fault('ECANCELED', 'it was called off');
        const { bytesRead } = await handle.read(piece, 0, piece.length);
        if (bytesRead === 0) break;
        hash.update(piece.subarray(0, bytesRead));
        bytes += bytesRead;
        onProgress?.(bytes, total);
      }
      return { file: name, bytes, sha256: hash.digest('hex') };
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw fileFault(error, path);
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
