/**
 * Changes to the machine as a list of writes that can be shown before they are made, checked after
 * each, and taken back.
 */
import { Fault, toFault } from '../base/fault.ts';
import { BlockingFiles } from './sysfs-files.ts';

/** One write. */
export interface SysfsWrite {
  readonly path: string;
  readonly value: string;
}

/** One step of a change. */
export interface SysfsStep extends SysfsWrite {
  /** What takes it back; those of later steps come first. */
  readonly undo: readonly SysfsWrite[];
  /** Makes sure that the kernel did what was asked. @throws {Fault} when it did not */
  readonly verify?: () => Promise<void>;
  /** What a refusal means, by errno; put after the kernel's own answer. */
  readonly meanings?: Readonly<Record<string, string>>;
}

/** Enabling many VFs, or a driver's probe, may take so long. */
const WRITE_TIMEOUT_MS = 60_000;

/** A write as a shell would make it; for `--dry-run`. */
export function shellLine({ path, value }: SysfsWrite): string {
  return `echo ${value === '' ? "''" : value} > ${path}`;
}

/**
 * Makes the steps in turn. At the first one that fails, everything is taken back.
 *
 * @throws {Fault} why a step failed, and what became of the steps before it
 */
export async function runSteps(steps: readonly SysfsStep[]): Promise<void> {
  const files = new BlockingFiles();
  const done: SysfsStep[] = [];
  try {
    for (const step of steps) await runStep(files, step, done);
  } catch (error) {
    const fault = toFault(error);
    const undone = await undo(files, done);
    throw new Fault(fault.code, `${fault.message}${undone}`, {
      cause: fault,
      ...(fault.hint !== undefined && { hint: fault.hint }),
    });
  } finally {
    files.close();
  }
}

async function runStep(files: BlockingFiles, step: SysfsStep, done: SysfsStep[]): Promise<void> {
  try {
    await files.write(step.path, `${step.value}\n`, WRITE_TIMEOUT_MS);
  } catch (error) {
    const fault = toFault(error);
    // A write that was not waited for may have been made.
    if (fault.code === 'ETIMEDOUT') done.push(step);
    const meaning = step.meanings?.[fault.code];
    throw new Fault(
      fault.code,
      `"${step.value}" was refused: ${fault.message}${meaning === undefined ? '' : ` (${meaning})`}`,
      { cause: fault, ...(fault.code === 'EACCES' && { hint: 'run as root' }) },
    );
  }
  done.push(step);
  await step.verify?.();
}

/** Takes steps back, last one first; tells in words how that went. */
async function undo(files: BlockingFiles, done: readonly SysfsStep[]): Promise<string> {
  const writes = [...done].reverse().flatMap((step) => step.undo);
  if (writes.length === 0) return '; nothing was changed';
  const failed: string[] = [];
  for (const write of writes) {
    try {
      await files.write(write.path, `${write.value}\n`, WRITE_TIMEOUT_MS);
    } catch (error) {
      const fault = toFault(error);
      // Nothing to take back: the device had not come to this driver, or has gone.
      if (fault.code !== 'ENODEV') failed.push(`${shellLine(write)} (${fault.code})`);
    }
  }
  if (failed.length === 0) return '; everything was put back';
  return `; not put back: ${failed.join(', ')}`;
}
