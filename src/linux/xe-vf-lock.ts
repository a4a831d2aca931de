/**
 * One holder a VF. The PF's files have no owner: whoever opens them may pause a VF, and a second
 * reader steals packets. So each holder of ours locks a file of the VF's, and looks whether anybody
 * else has the PF's files open.
 *
 * The file also remembers whether a session was under way: a holder that was killed may leave a
 * packet half read in the PF, which the next restore must not be mixed with.
 */
import { type FileHandle, mkdir, open, stat } from 'node:fs/promises';
import { Fault } from '../base/fault.ts';
import { tryLockFile } from '../sys/file-lock.ts';
import { faultOfFile, tryText } from './sysfs-read.ts';

/** What the file says: who holds the VF, and what session it is in. */
interface LockText {
  readonly pid: number;
  readonly session: 'save' | 'restore' | null;
}

/** Where the locks are: /run/xe-vfio for root, else in the user's own run-time directory. */
export function defaultLockDirectory(): string {
  const own = process.env['XDG_RUNTIME_DIR'];
  return process.getuid?.() === 0 || own === undefined ? '/run/xe-vfio' : `${own}/xe-vfio`;
}

/** The path of a VF's lock. */
function lockPath(directory: string, pf: string, vfid: number): string {
  return `${directory}/${pf}-vf${vfid}.lock`;
}

/** The lock of one VF, held until it is closed or the process ends. */
export class VfLock {
  readonly path: string;
  readonly #file: FileHandle;
  /** The session that an earlier holder was in when it ended without ending it. */
  readonly abandoned: LockText['session'];

  private constructor(path: string, file: FileHandle, abandoned: LockText['session']) {
    this.path = path;
    this.#file = file;
    this.abandoned = abandoned;
  }

  /**
   * Takes the lock.
   * @throws {Fault} EBUSY with the holder's pid, EACCES when the directory may not be written
   */
  static async take(directory: string, pf: string, vfid: number): Promise<VfLock> {
    const path = lockPath(directory, pf, vfid);
    let file: FileHandle | undefined;
    try {
      await mkdir(directory, { recursive: true, mode: 0o755 });
      file = await open(path, 'a+', 0o644);
      const text = parse(await file.readFile('utf8'));
      if (!tryLockFile(file.fd))
        throw new Fault('EBUSY', `VF${vfid} of ${pf} is held by process ${text?.pid ?? '?'}`, {
          hint: 'end that process first, or use another VF; xe-vfio list shows who holds what',
        });
      const lock = new VfLock(path, file, text?.session ?? null);
      await lock.note(text?.session ?? null);
      return lock;
    } catch (error) {
      await file?.close();
      if (error instanceof Fault) throw error;
      throw faultOfFile(error, path);
    }
  }

  /** Remembers the session that is under way, null when there is none. */
  async note(session: LockText['session']): Promise<void> {
    const text: LockText = { pid: process.pid, session };
    await this.#file.truncate(0);
    await this.#file.write(`${JSON.stringify(text)}\n`);
  }

  /** Gives the lock back. Idempotent. */
  async close(): Promise<void> {
    await this.#file.close().catch(() => undefined);
  }
}

/** The process that holds a VF's lock now; undefined when nobody does. Nothing is locked to find out. */
export async function lockHolder(
  directory: string,
  pf: string,
  vfid: number,
): Promise<number | undefined> {
  const file = await stat(lockPath(directory, pf, vfid)).catch(() => undefined);
  const locks = await tryText('/proc/locks');
  if (file === undefined || locks === undefined) return undefined;
  const hex = (value: number) => value.toString(16).padStart(2, '0');
  const minor = (file.dev & 0xff) | ((file.dev >>> 12) & 0xfff00);
  const place = `${hex((file.dev >>> 8) & 0xfff)}:${hex(minor)}:${file.ino}`;
  for (const line of locks.split('\n')) {
    const words = line.trim().split(/\s+/);
    if (words[1] === 'FLOCK' && words[5] === place) return Number(words[4]);
  }
  return undefined;
}

function parse(text: string): LockText | undefined {
  try {
    const { pid, session } = JSON.parse(text) as Record<string, unknown>;
    if (typeof pid !== 'number') return undefined;
    return { pid, session: session === 'save' || session === 'restore' ? session : null };
  } catch {
    return undefined;
  }
}
