/**
 * Notices that a VMM sends its guest's memory elsewhere without anybody to move the VF: QEMU says
 * nothing of it, neither to its user nor over vfio-user. What can be seen is the thread that QEMU
 * makes for it.
 *
 * A look now and then, so that a migration that is over between two of them is missed; so is that of
 * a VMM in another PID namespace, or of a QEMU before 11, whose threads have no names.
 *
 * Source: QEMU migration/migration.h (MIGRATION_THREAD_SRC_MAIN), docs/whole-vm.md.
 */
import { readdirSync, readFileSync } from 'node:fs';

/** How often is looked. */
const LOOK_MS = 1000;
/** Names of the threads that send: `mig/src/main`, `mig/src/send_0` ... */
const SENDING = 'mig/src/';

/** True when a thread of the process sends its memory; false when nothing can be seen of it. */
function sendsMemory(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).some((task) =>
      readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8').startsWith(SENDING),
    );
  } catch {
    return false;
  }
}

/**
 * Looks at the VMM now and then, once for each migration.
 *
 * @param vmm process id of the VMM, undefined without one
 * @param attended true while somebody is there who moves the VF
 * @param warn is told of a migration that nobody attends to
 * @returns ends it
 */
export function watchVmm(
  vmm: () => number | undefined,
  attended: () => boolean,
  warn: (pid: number) => void,
): () => void {
  let warned = false;
  const timer = setInterval(() => {
    const pid = vmm();
    const sends = pid !== undefined && sendsMemory(pid);
    if (sends && !warned && !attended()) warn(pid);
    warned = sends && (warned || !attended());
  }, LOOK_MS);
  timer.unref();
  return () => clearInterval(timer);
}
