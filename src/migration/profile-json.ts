/**
 * A VF's profile as JSON: `{ platform, deviceId, revision, ggtt, vram, contexts, doorbells,
 * gucVersion: "70.54.0", flags }`; sizes in bytes, `flags` as CAPABILITY.
 */
import { type FirmwareVersion, formatVersion, type VfProfile } from './vf-profile.ts';

/** The JSON of a profile. */
export function encodeProfile(profile: VfProfile): Record<string, unknown> {
  const { platform, deviceId, revisionId, ggttSize, vramSize } = profile;
  const { contexts, doorbells, gucVersion, capabilities } = profile;
  return {
    platform,
    deviceId,
    revision: revisionId,
    ggtt: ggttSize,
    vram: vramSize,
    contexts,
    doorbells,
    gucVersion: gucVersion === undefined ? undefined : formatVersion(gucVersion),
    flags: capabilities,
  };
}

/** Reads the JSON of a profile; what is missing or has another type than it should is not known. */
export function decodeProfile(told: Readonly<Record<string, unknown>>): VfProfile {
  const platform = told['platform'];
  return {
    platform: typeof platform === 'string' ? platform : undefined,
    deviceId: countOf(told['deviceId']),
    revisionId: countOf(told['revision']),
    ggttSize: countOf(told['ggtt']),
    vramSize: countOf(told['vram']),
    contexts: countOf(told['contexts']),
    doorbells: countOf(told['doorbells']),
    gucVersion: parseVersion(told['gucVersion']),
    capabilities: countOf(told['flags']),
  };
}

/** Reads `70.54.0`; undefined for anything else. */
export function parseVersion(value: unknown): FirmwareVersion | undefined {
  const match = typeof value === 'string' ? /^(\d+)\.(\d+)\.(\d+)$/.exec(value) : null;
  if (match === null) return undefined;
  const [major, minor, patch] = match.slice(1).map(Number) as [number, number, number];
  return { major, minor, patch };
}

/** A whole number from 0 up; undefined for any other value. */
export function countOf(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : undefined;
}
