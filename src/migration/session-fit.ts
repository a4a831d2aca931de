/** Whether the two ends of a session fit, before anything is touched. */
import { compareProfiles } from './compatibility.ts';
import type { SessionRun } from './session-run.ts';
import type { VfProfile } from './vf-profile.ts';

/**
 * Compares what is known of the two VFs.
 *
 * @throws {StepFailure} EREMCHG with the first consequence when the state does not fit
 */
export function checkFits(
  run: SessionRun,
  source: VfProfile | undefined,
  target: VfProfile | undefined,
): void {
  if (source === undefined || target === undefined) return;
  const blocking = compareProfiles(source, target).filter(({ blocks }) => blocks);
  const first = blocking[0];
  if (first === undefined) return;
  const more = blocking.length > 1 ? ` (and ${blocking.length - 1} more)` : '';
  run.fail(
    'target',
    'EREMCHG',
    `${first.field} ${first.source} does not fit ${first.target}: ${first.consequence}${more}`,
    { hint: 'xe-vfio check FROM TO lists every reason' },
  );
}
