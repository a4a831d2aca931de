/**
 * A FUSE file system without a mount point: it hangs on a descriptor of this process, under
 * /proc/PID/fd, and goes with it.
 *
 * Source: fuse(4), fsopen(2), fsconfig(2), fsmount(2); include/uapi/linux/mount.h.
 */
import { closeSync, constants, openSync } from 'node:fs';
import koffi from 'koffi';

const syscall = koffi
  .load(null)
  .func('syscall', 'long', [
    'long',
    'uintptr_t',
    'uintptr_t',
    'uintptr_t',
    'uintptr_t',
    'uintptr_t',
  ]);
const text = (value: string) => Buffer.from(`${value}\0`);

const SYS_FSOPEN = 430;
const SYS_FSCONFIG = 431;
const SYS_FSMOUNT = 432;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const CLOEXEC = 1;

/** A file system that was made and is not served yet. */
export interface FuseMount {
  /** The descriptor that requests are read from and answers written to. */
  readonly channel: number;
  /** The path of its root, for this and every other process of the same user. */
  readonly path: string;
  close(): void;
}

function call(number: number, ...words: Array<number | Buffer>): number {
  const kept = words.map((word) => (typeof word === 'number' ? word : Number(koffi.address(word))));
  while (kept.length < 5) kept.push(0);
  const [a, b, c, d, e] = kept;
  const result = Number(syscall(number, a, b, c, d, e));
  if (result < 0) throw new Error(`system call ${number}: errno ${koffi.errno()}`);
  return result;
}

/** Why FUSE cannot be used here; undefined when it can. */
export function fuseUnavailable(): string | undefined {
  try {
    mountFuse().close();
    return undefined;
  } catch (error) {
    return `no FUSE here: ${(error as Error).message}`;
  }
}

/** Makes a file system. @throws {Error} without /dev/fuse or the right to mount */
export function mountFuse(): FuseMount {
  const channel = openSync('/dev/fuse', constants.O_RDWR | constants.O_NONBLOCK);
  let context = -1;
  try {
    context = call(SYS_FSOPEN, text('fuse'), CLOEXEC);
    const options = { fd: String(channel), rootmode: '40000', user_id: '0', group_id: '0' };
    for (const [key, value] of Object.entries(options))
      call(SYS_FSCONFIG, context, FSCONFIG_SET_STRING, text(key), text(value), 0);
    call(SYS_FSCONFIG, context, FSCONFIG_CMD_CREATE, 0, 0, 0);
    const mount = call(SYS_FSMOUNT, context, CLOEXEC, 0);
    closeSync(context);
    return {
      channel,
      path: `/proc/${process.pid}/fd/${mount}`,
      close: () => {
        closeSync(channel);
        closeSync(mount);
      },
    };
  } catch (error) {
    if (context >= 0) closeSync(context);
    closeSync(channel);
    throw error;
  }
}
