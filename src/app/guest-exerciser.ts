/** Runs the GPU exerciser (guest/exerciser) in a guest and reads what it says. */
import { GUEST_PATH } from './guest-initramfs.ts';
import type { GuestSession } from './guest-session.ts';

/** How long the exerciser may take, with all cases. */
const TIMEOUT_MS = 900_000;

/** What one case gave. */
export interface ExerciseCase {
  readonly name: string;
  readonly outcome: 'ok' | 'FAIL' | 'skip';
  /** Measured by the exerciser, in the guest. */
  readonly ms: number;
  /** Why it failed or was skipped, or what it has to tell. */
  readonly detail: string;
}

/** What all cases gave. */
export interface ExerciseResult {
  /** True when the exerciser ran to its end and no case failed. */
  readonly ok: boolean;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly cases: readonly ExerciseCase[];
}

/**
 * Runs cases in the guest.
 *
 * @param renderNode such as `renderD128`
 * @param list cases parted by commas, empty for all
 * @param onLine is told each line as the exerciser prints it
 * @throws {Fault} ETIMEDOUT, ENODEV
 */
export async function runExerciser(
  session: GuestSession,
  renderNode: string,
  list: string,
  onLine: (line: string) => void,
): Promise<ExerciseResult> {
  const only = list === '' ? '' : ` --only ${quoted(list)}`;
  const command = `${GUEST_PATH.EXERCISER} --device /dev/dri/${renderNode}${only}`;
  const { status, output } = await session.run(command, { timeoutMs: TIMEOUT_MS, onLine });
  return exerciseResult(output, status);
}

/**
 * Reads the exerciser's lines: `ok|FAIL|skip NAME MS [DETAIL]` a case, then a total, without which it
 * did not come to its end. `status` is its exit status.
 */
export function exerciseResult(output: string, status: number): ExerciseResult {
  const cases: ExerciseCase[] = [];
  for (const line of output.split('\n')) {
    const match = /^(ok|FAIL|skip) (\S+) (\d+)(?: (.*))?$/.exec(line);
    if (match === null) continue;
    const [, outcome, name = '', ms, detail = ''] = match;
    cases.push({ name, outcome: outcome as ExerciseCase['outcome'], ms: Number(ms), detail });
  }
  const count = (outcome: ExerciseCase['outcome']) =>
    cases.filter((each) => each.outcome === outcome).length;
  const [passed, failed, skipped] = [count('ok'), count('FAIL'), count('skip')];
  const total = `total ${cases.length} ok ${passed} failed ${failed} skipped ${skipped}`;
  const isWhole = output.split('\n').includes(total);
  const ok = status === 0 && isWhole && failed === 0 && passed > 0;
  return { ok, passed, failed, skipped, cases };
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
