import { ERRNO, type ErrnoName } from '../base/errno.ts';
import { Fault } from '../base/fault.ts';

const REASONS: Partial<Record<ErrnoName, string>> = {
  ENOENT: 'does not exist',
  EACCES: 'may not be accessed',
  EPERM: 'may not be changed',
  EISDIR: 'is a directory',
  ENOTDIR: 'has a part that is no directory',
  ENOSPC: 'finds no space left on its device',
  EDQUOT: 'is over the disk quota',
  EROFS: 'is on a read-only file system',
  EFBIG: 'is larger than allowed',
  EIO: 'cannot be read or written: the device failed',
};

const HINTS: Partial<Record<ErrnoName, string>> = {
  ENOENT: 'check the path',
  ENOSPC: 'free some space or choose another file system, then run it again',
  EDQUOT: 'free some space or choose another file system, then run it again',
};

/** A Fault that names `path` for what a call of node:fs threw; a Fault is handed back as it is. */
export function fileFault(error: unknown, path: string): Fault {
  if (error instanceof Fault) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  const known = code !== undefined && code in ERRNO ? (code as ErrnoName) : 'EIO';
  const hint = HINTS[known];
  const options = hint === undefined ? { cause: error } : { cause: error, hint };
  return new Fault(known, `${path} ${REASONS[known] ?? `fails: ${message}`}`, options);
}
