/** Small text files of the kernel, read without waiting in the event loop. */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { basename } from 'node:path';
import { ERRNO, errnoName, knownErrno } from '../base/errno.ts';
import { Fault, type FaultOptions } from '../base/fault.ts';

/** Where the kernel's file systems are; the usual places unless given. */
export interface KernelRoots {
  readonly sysfs?: string | undefined;
  readonly debugfs?: string | undefined;
}

/** The places of {@link KernelRoots}, all known. */
export interface Roots {
  readonly sysfs: string;
  readonly debugfs: string;
}

/** `roots` with the usual places for what is not given: /sys and /sys/kernel/debug. */
export function rootsOf({ sysfs = '/sys', debugfs }: KernelRoots = {}): Roots {
  return { sysfs, debugfs: debugfs ?? `${sysfs}/kernel/debug` };
}

/** The Fault of a file operation that failed with `errno` (positive). */
export function fileFault(errno: number, what: string, options: FaultOptions = {}): Fault {
  // A read that a signal ended leaves this in the PF driver, which then answers it to others.
  if (errno === ERRNO.ERESTARTSYS)
    return new Fault('EINTR', `${what}: an earlier access was interrupted`, options);
  return new Fault(knownErrno(errno), `${what}: ${errnoName(errno)}`, options);
}

/** An error of node:fs as a Fault. */
export function faultOfFile(error: unknown, path: string): Fault {
  const { errno } = error as NodeJS.ErrnoException;
  if (errno === undefined) throw error;
  return fileFault(-errno, path, { cause: error });
}

/** The text of a file without the white space around it. @throws {Fault} the file's errno */
export async function readText(path: string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    throw faultOfFile(error, path);
  }
}

/** The text of a file, undefined when it cannot be read. */
export async function tryText(path: string): Promise<string | undefined> {
  return await readFile(path, 'utf8').then(
    (text) => text.trim(),
    () => undefined,
  );
}

/** A file with one number, decimal or 0x hexadecimal; undefined when it is not there or is none. */
export async function tryNumber(path: string): Promise<number | undefined> {
  const text = await tryText(path);
  if (text === undefined || !/^(\d+|0x[0-9a-f]+)$/i.test(text)) return undefined;
  return Number(text);
}

/** The last part of what a symbolic link leads to; undefined when there is none. */
export async function tryLink(path: string): Promise<string | undefined> {
  return await readlink(path).then(basename, () => undefined);
}

/** The names in a directory, sorted with numbers in their order; none when it cannot be read. */
export async function namesIn(path: string): Promise<string[]> {
  const names = await readdir(path).catch(() => []);
  return names.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
}
