/**
 * Which exit code a failure gets, and the three things that are said about it.
 *
 * | code | name | when |
 * |---|---|---|
 * | 0 | DONE | done |
 * | 1 | FAILED | failed; `diff`: the two differ |
 * | 2 | USAGE | the command line itself is wrong |
 * | 3 | NOT_FOUND | no such file, socket, device or server behind the socket |
 * | 4 | PERMISSION | not allowed |
 * | 5 | PRECONDITION | something has to be done first: busy, not built, not supported |
 * | 6 | INCOMPATIBLE | a stream or a VF that does not fit, or a damaged file |
 * | 7 | CANCELLED | timed out or cancelled |
 */
import { ERRNO, type ErrnoName } from '../base/errno.ts';
import { Fault, StreamFault, toFault } from '../base/fault.ts';

/** The exit codes of every command. */
export const EXIT = {
  DONE: 0,
  FAILED: 1,
  USAGE: 2,
  NOT_FOUND: 3,
  PERMISSION: 4,
  PRECONDITION: 5,
  INCOMPATIBLE: 6,
  CANCELLED: 7,
} as const;

/** One of {@link EXIT}. */
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** What each exit code means, as `--help` shows it. */
export const EXIT_MEANINGS: readonly (readonly [ExitCode, string])[] = [
  [EXIT.DONE, 'done'],
  [EXIT.FAILED, 'failed (diff: the two differ)'],
  [EXIT.USAGE, 'usage'],
  [EXIT.NOT_FOUND, 'not found'],
  [EXIT.PERMISSION, 'permission'],
  [EXIT.PRECONDITION, 'preconditions not met'],
  [EXIT.INCOMPATIBLE, 'incompatible or damaged'],
  [EXIT.CANCELLED, 'timed out or cancelled'],
];

/** The exit codes that errnos stand for; one that is not here is FAILED. */
const BY_ERRNO: Partial<Record<ErrnoName, ExitCode>> = {
  ENOENT: EXIT.NOT_FOUND,
  ENOTDIR: EXIT.NOT_FOUND,
  ENODEV: EXIT.NOT_FOUND,
  ENXIO: EXIT.NOT_FOUND,
  ECONNREFUSED: EXIT.NOT_FOUND,
  EHOSTUNREACH: EXIT.NOT_FOUND,
  ENETUNREACH: EXIT.NOT_FOUND,
  EACCES: EXIT.PERMISSION,
  EPERM: EXIT.PERMISSION,
  EROFS: EXIT.PERMISSION,
  EBUSY: EXIT.PRECONDITION,
  EEXIST: EXIT.PRECONDITION,
  EADDRINUSE: EXIT.PRECONDITION,
  EADDRNOTAVAIL: EXIT.PRECONDITION,
  EALREADY: EXIT.PRECONDITION,
  EOPNOTSUPP: EXIT.PRECONDITION,
  ENOTTY: EXIT.PRECONDITION,
  ENOSYS: EXIT.PRECONDITION,
  ENOPKG: EXIT.PRECONDITION,
  ENOKEY: EXIT.PRECONDITION,
  EISDIR: EXIT.PRECONDITION,
  EBADMSG: EXIT.INCOMPATIBLE,
  EUCLEAN: EXIT.INCOMPATIBLE,
  EREMCHG: EXIT.INCOMPATIBLE,
  ETIMEDOUT: EXIT.CANCELLED,
  ETIME: EXIT.CANCELLED,
  ECANCELED: EXIT.CANCELLED,
  EINTR: EXIT.CANCELLED,
};

/** What to do next when the failure itself does not say. */
const HINTS: Record<ExitCode, string> = {
  [EXIT.DONE]: '',
  [EXIT.FAILED]: 'run it again; if it stays, report it with this text',
  [EXIT.USAGE]: 'xe-vfio --help',
  [EXIT.NOT_FOUND]: 'check the path; xe-vfio serve offers a VF on a socket',
  [EXIT.PERMISSION]: 'run it as a user that may do this',
  [EXIT.PRECONDITION]: 'mend the cause, then run it again',
  [EXIT.INCOMPATIBLE]: 'xe-vfio inspect FILE shows what is in a stream',
  [EXIT.CANCELLED]: 'run it again',
};

/** A command line that cannot be understood; exits with USAGE. */
export class UsageFault extends Fault {
  constructor(reason: string, hint?: string) {
    super('EINVAL', reason, hint === undefined ? {} : { hint });
    this.name = 'UsageFault';
  }
}

/** Whatever was thrown as a Fault; errors of the operating system keep their errno. */
export function asFault(error: unknown): Fault {
  if (!(error instanceof Fault) && error instanceof Error && 'code' in error) {
    const code = error.code as ErrnoName;
    if (code in ERRNO) return new Fault(code, error.message, { cause: error });
  }
  return toFault(error);
}

/**
 * The exit code of a failure: USAGE for a {@link UsageFault}, INCOMPATIBLE when a fault of a stream
 * is behind it, else by its errno.
 */
export function exitCodeOf(fault: Fault): ExitCode {
  if (fault instanceof UsageFault) return EXIT.USAGE;
  for (let at: unknown = fault; at instanceof Error; at = at.cause)
    if (at instanceof StreamFault) return EXIT.INCOMPATIBLE;
  return BY_ERRNO[fault.code] ?? EXIT.FAILED;
}

/** The hint of a failure, its own or that of its exit code. */
export function hintOf(fault: Fault): string {
  return fault.hint ?? HINTS[exitCodeOf(fault)];
}
