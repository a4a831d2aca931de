/** `diff`: what differs between two files? */
import type { DiffReport } from '../migration/stream-diff.ts';
import { diffStreams } from '../migration/stream-diff.ts';
import { compareHeaders, type HeaderDifference } from './header-diff.ts';
import { type OfflineOptions, withStreamFile } from './offline.ts';

/** What differs between two files, the headers of checkpoints included. */
export interface FileDifferences extends DiffReport {
  readonly profile: readonly HeaderDifference[];
}

/**
 * Compares the states in two files, plain streams or checkpoints.
 *
 * @param limit differences that are listed; the others are counted
 * @throws {StreamFault} when one of them is broken
 * @throws {Fault} when one cannot be read, ECANCELED when called off
 */
export function diffFiles(
  aPath: string,
  bPath: string,
  limit: number,
  options: OfflineOptions = {},
): Promise<FileDifferences> {
  return withStreamFile(aPath, (a) =>
    withStreamFile(bPath, async (b) => {
      const report = await diffStreams(a, b, { ...options, limit });
      const profile = compareHeaders(a.checkpoint?.header, b.checkpoint?.header);
      return { ...report, equal: report.equal && profile.length === 0, profile };
    }),
  );
}
