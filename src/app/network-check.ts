/** Would a VF go to another host, and how long would it take? Nothing is stopped to find out. */
import { Fault } from '../base/fault.ts';
import { compareProfiles, unknownFields } from '../migration/compatibility.ts';
import { type Forecast, forecast, measureChanges } from '../migration/forecast.ts';

import type { NetworkLink } from '../migration/network-link.ts';
import { measureBandwidth } from '../migration/network-measure.ts';
import type { MigratableDevice } from '../migration/session-end.ts';
import { MIG_STATE } from '../vfio/migration-state.ts';
import { VFIO_MIGRATION } from '../vfio/uapi.ts';
import type { CheckResult } from './check.ts';
import { deviceEndpoint, parseEndpoint } from './endpoint.ts';
import { openLink, type ViaOptions } from './network-link-options.ts';
import { openVfEnd } from './vf-end.ts';

export type { Forecast } from '../migration/forecast.ts';

/** Long enough to see what the way carries, short enough to be done before every migration. */
const QUICK_MS = 300;

/** What to find out. */
export interface CheckViaOptions extends ViaOptions {
  /** Milliseconds to measure for; undefined to compare the two VFs only. */
  readonly forecastMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The answer. */
export type Checked = CheckResult & { readonly forecast?: Forecast };

/**
 * Compares a served VF with the one that a receiver offers, and forecasts the migration.
 *
 * @throws {Fault} when an end cannot be reached; EOPNOTSUPP when one does not tell what it is
 */
export async function checkVia(
  from: string,
  to: string | undefined,
  { forecastMs, signal, ...options }: CheckViaOptions,
): Promise<Checked> {
  const source = await openVfEnd(deviceEndpoint(await parseEndpoint(from)));
  let link: NetworkLink | undefined;
  try {
    link = await openLink(options, { kind: 'check', to, profile: source.profile, signal });
    const target = link.welcome.profile;
    if (source.profile === undefined || target === undefined)
      throw new Fault('EOPNOTSUPP', 'one of the two servers does not tell what VF it serves');
    const mismatches = compareProfiles(source.profile, target);
    const result = {
      compatible: !mismatches.some(({ blocks }) => blocks),
      mismatches,
      unknown: unknownFields(source.profile, target),
      source: source.profile,
      target,
    };
    if (forecastMs === undefined) return result;
    const bytesPerSecond = await measureBandwidth(link, forecastMs);
    const changes = await measureChanges(source.device, forecastMs, signal);
    const streamBytes = await source.device.migrationDataSize();
    const { maxDowntimeMs } = options;
    const measured = { streamBytes, bytesPerSecond, dirtyBytesPerSecond: undefined, ...changes };
    return { ...result, forecast: forecast({ ...measured, maxDowntimeMs }) };
  } finally {
    await link?.close();
    await source.close();
  }
}

/**
 * Refuses a migration whose VF would be down for too long, while it still runs. A source that can be
 * saved while it runs is judged by its rounds instead.
 *
 * @throws {Fault} ETIME
 */
export async function refuseOverrun(
  link: NetworkLink,
  device: MigratableDevice,
  maxDowntimeMs: number,
  precopy: 'auto' | 'off',
): Promise<void> {
  if (precopy === 'auto' && (device.migrationFlags & VFIO_MIGRATION.PRE_COPY) !== 0) return;
  if ((await device.migrationState()) !== MIG_STATE.RUNNING) return;
  const streamBytes = await device.migrationDataSize();
  const bytesPerSecond = await measureBandwidth(link, QUICK_MS);
  const measured = { streamBytes, bytesPerSecond, dirtyBytesPerSecond: undefined, maxDowntimeMs };
  const { downtimeMs, fits } = forecast(measured);
  if (fits) return;
  throw new Fault(
    'ETIME',
    `the VF would be down for ${downtimeMs.toFixed(0)} ms, ${maxDowntimeMs} ms are allowed`,
    { hint: 'allow more with --max-downtime, or take a faster way' },
  );
}
