/** A change of the machine that can be shown before it is made. */
import { runSteps, type SysfsStep, type SysfsWrite, shellLine } from '../linux/sysfs-steps.ts';

/** What was done, or would be. */
export interface Change {
  /** The writes in their order; none when everything is as it should be. */
  readonly writes: readonly SysfsWrite[];
  /** The same as lines for a shell. */
  readonly commands: readonly string[];
  /** False when the writes were only planned. */
  readonly made: boolean;
}

/**
 * Makes the steps unless `dryRun`.
 * @throws {Fault} why one failed; everything was put back then, or the text says what was not
 */
export async function makeChange(steps: readonly SysfsStep[], dryRun: boolean): Promise<Change> {
  if (!dryRun) await runSteps(steps);
  return {
    writes: steps.map(({ path, value }) => ({ path, value })),
    commands: steps.map(shellLine),
    made: !dryRun,
  };
}
