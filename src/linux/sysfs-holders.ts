/**
 * Who has a file open: the kernel keeps no record of owners for the files of a PF, and the only
 * place that says it is /proc.
 */
import { readdir, readFile, readlink, stat } from 'node:fs/promises';

/** A process that has a file open. */
export interface Holder {
  readonly pid: number;
  /** Its name in /proc/PID/comm. */
  readonly name: string;
}

/**
 * The processes that have one of `paths` open, this one left out.
 *
 * Processes of other users show their descriptors to root only. A process in another mount
 * namespace is found as well, by the file's inode.
 */
export async function holdersOf(paths: readonly string[], proc = '/proc'): Promise<Holder[]> {
  const wanted = await Promise.all(paths.map(identity));
  const known = wanted.filter((file) => file !== undefined);
  if (known.length === 0) return [];
  const names = new Set(paths.map((path) => path.slice(path.lastIndexOf('/'))));
  const holders: Holder[] = [];
  for (const entry of await readdir(proc)) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    if (await holds(`${proc}/${pid}/fd`, names, known))
      holders.push({ pid, name: await nameOf(pid, proc) });
  }
  return holders;
}

/** The name of a process, `?` when it is gone. */
export async function nameOf(pid: number, proc = '/proc'): Promise<string> {
  return await readFile(`${proc}/${pid}/comm`, 'utf8').then(
    (text) => text.trim(),
    () => '?',
  );
}

/** Holders as a text: `qemu-system-x86 (pid 42) and xe-vfio (pid 7)`. */
export function holdersText(holders: readonly Holder[]): string {
  return holders.map(({ pid, name }) => `${name} (pid ${pid})`).join(' and ');
}

async function holds(
  directory: string,
  names: ReadonlySet<string>,
  wanted: readonly string[],
): Promise<boolean> {
  const fds = await readdir(directory).catch(() => []);
  for (const fd of fds) {
    const target = await readlink(`${directory}/${fd}`).catch(() => '');
    // The name first: a look at the file itself could wait for a file system that is dead.
    if (!names.has(target.slice(target.lastIndexOf('/')))) continue;
    const found = await identity(`${directory}/${fd}`);
    if (found !== undefined && wanted.includes(found)) return true;
  }
  return false;
}

async function identity(path: string): Promise<string | undefined> {
  return await stat(path).then(
    ({ dev, ino }) => `${dev}:${ino}`,
    () => undefined,
  );
}
