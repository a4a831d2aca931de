/** The first and only root of a guest: busybox, xe's modules, our init, and what else is to be run. */
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { GUEST_INIT } from './guest-init.ts';
import type { GuestRig } from './guest-rig.ts';
import { type ArchiveEntry, FILE_TYPE, newcArchive } from './newc-archive.ts';

/** Where things are in a guest. */
export const GUEST_PATH = {
  MODULES: '/modules',
  EXERCISER: '/exerciser',
} as const;

/** A program or file of the host that is to be in the guest. */
export interface GuestFile {
  /** Path in the guest, absolute. */
  readonly path: string;
  /** File of the host. */
  readonly from: string;
}

const DIRECTORIES = ['bin', 'dev', 'modules', 'proc', 'root', 'run', 'sys', 'tmp'];
const EXECUTABLE = FILE_TYPE.REGULAR | 0o755;

/** The initramfs of a guest, uncompressed: TCG unpacks slowly. */
export async function guestInitramfs(
  rig: GuestRig,
  files: readonly GuestFile[],
): Promise<Uint8Array> {
  const text = new TextEncoder();
  const entries: ArchiveEntry[] = [
    ...DIRECTORIES.map((name) => ({ name, mode: FILE_TYPE.DIRECTORY | 0o755 })),
    // The kernel opens it for init before anything is mounted.
    { name: 'dev/console', mode: FILE_TYPE.CHARACTER | 0o600, device: { major: 5, minor: 1 } },
    { name: 'init', mode: EXECUTABLE, content: text.encode(GUEST_INIT) },
    { name: 'bin/busybox', mode: EXECUTABLE, content: await readFile(rig.busybox) },
    { name: 'bin/sh', mode: FILE_TYPE.LINK | 0o777, content: text.encode('busybox') },
  ];
  for (const file of rig.guestModules)
    entries.push({
      name: `${GUEST_PATH.MODULES.slice(1)}/${basename(file)}`,
      mode: FILE_TYPE.REGULAR | 0o644,
      content: await readFile(file),
    });
  for (const { path, from } of files)
    entries.push({ name: path.slice(1), mode: EXECUTABLE, content: await readFile(from) });
  return newcArchive(entries);
}
