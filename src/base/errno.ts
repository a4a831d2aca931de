/**
 * Linux errno values (asm-generic, as on x86-64) by name.
 *
 * Source: include/uapi/asm-generic/errno-base.h, errno.h; ERESTARTSYS: include/linux/errno.h.
 */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EMFILE: 24,
  ENOTTY: 25,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EPIPE: 32,
  ERANGE: 34,
  ENOSYS: 38,
  ELOOP: 40,
  ENOMSG: 42,
  ENODATA: 61,
  ETIME: 62,
  ENOPKG: 65,
  ENOLINK: 67,
  ECOMM: 70,
  EPROTO: 71,
  EBADMSG: 74,
  EOVERFLOW: 75,
  EBADRQC: 56,
  EREMCHG: 78,
  EMSGSIZE: 90,
  EOPNOTSUPP: 95,
  EPFNOSUPPORT: 96,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETUNREACH: 101,
  ECONNABORTED: 103,
  ECONNRESET: 104,
  ENOBUFS: 105,
  ENOTCONN: 107,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EHOSTUNREACH: 113,
  EALREADY: 114,
  ESTALE: 116,
  EUCLEAN: 117,
  EREMOTEIO: 121,
  EDQUOT: 122,
  ECANCELED: 125,
  ENOKEY: 126,
  EKEYREJECTED: 129,
  ENOTRECOVERABLE: 131,
  ERESTARTSYS: 512,
} as const;

/** The name of an errno that this project knows. */
export type ErrnoName = keyof typeof ERRNO;

const names = new Map<number, ErrnoName>(
  Object.entries(ERRNO).map(([name, value]) => [value, name as ErrnoName]),
);

/** The name of errno `value` (positive), or `errno N` when it has none here. */
export function errnoName(value: number): string {
  return names.get(value) ?? `errno ${value}`;
}

/** Whether `text` is the name of an errno that this project knows. */
export function isErrnoName(text: unknown): text is ErrnoName {
  return typeof text === 'string' && Object.hasOwn(ERRNO, text);
}

/** The name of errno `value`, or `EIO` when this project does not know it. */
export function knownErrno(value: number): ErrnoName {
  return names.get(value) ?? 'EIO';
}
