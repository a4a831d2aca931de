import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';

/** A memfd, by the inode that every process which holds or maps it sees. */
export interface MemfdIdentity {
  readonly inode: number;
  readonly name: string;
  readonly size: number;
}

/** A part of a memfd that a process has mapped. */
export interface MemfdMapping {
  readonly inode: number;
  readonly name: string;
  readonly length: number;
  /** Offset in the memfd. */
  readonly offset: number;
  /** `rw-s` and the like. */
  readonly permissions: string;
}

const MEMFD = /^\/memfd:(.*) \(deleted\)$/;

/** What each open descriptor of a process leads to, sorted, socket numbers left out. */
export function openDescriptors(pid: number): readonly string[] {
  return descriptorTargets(pid)
    .map(({ target }) => target.replace(/^(socket|pipe):\[\d+\]$/, '$1'))
    .sort();
}

/** The memfds that a process holds open, each once. */
export function openMemfds(pid: number): readonly MemfdIdentity[] {
  const memfds = new Map<number, MemfdIdentity>();
  for (const { path, target } of descriptorTargets(pid)) {
    const name = MEMFD.exec(target)?.[1];
    if (name === undefined) continue;
    const { ino: inode, size } = statSync(path);
    memfds.set(inode, { inode, name, size });
  }
  return [...memfds.values()];
}

/** The memfd parts that a process has mapped. Source: proc_pid_maps(5) */
export function memfdMappings(pid: number): readonly MemfdMapping[] {
  const mappings: MemfdMapping[] = [];
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ (\d+) +(.*)$/.exec(line);
    const [, start = '', end = '', permissions = '', offset = '', inode = '', path = ''] =
      match ?? [];
    const name = MEMFD.exec(path)?.[1];
    if (name === undefined) continue;
    mappings.push({
      inode: Number(inode),
      name,
      length: Number.parseInt(end, 16) - Number.parseInt(start, 16),
      offset: Number.parseInt(offset, 16),
      permissions,
    });
  }
  return mappings;
}

function descriptorTargets(pid: number): readonly { path: string; target: string }[] {
  const directory = `/proc/${pid}/fd`;
  return readdirSync(directory).flatMap((fd) => {
    const path = `${directory}/${fd}`;
    try {
      return [{ path, target: readlinkSync(path) }];
    } catch {
      // Closed since the directory was read.
      return [];
    }
  });
}
