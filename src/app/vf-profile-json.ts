/**
 * What a served VF tells about itself: the `xe_vfio` capability of a VERSION reply.
 *
 * The vfio-user protocol lets either side announce what the other does not know and then ignores; no
 * message is invented. Layout: `{ vfid, platform, deviceId, revision, ggtt, vram, contexts, doorbells,
 * gucVersion: "70.54.0", flags }`; sizes in bytes, `flags` as CAPABILITY.
 *
 * Source: docs/interop/vfio-user.rst of QEMU, "Version data format".
 */
import type { FirmwareVersion, VfProfile } from '../migration/vf-profile.ts';
import { formatVersion } from '../migration/vf-profile.ts';

/** The key of the capability. */
export const XE_VFIO_CAPABILITY = 'xe_vfio';

/** A VF as its server tells it. */
export interface ServedVf {
  /** 1-based number of the VF; undefined when not told. */
  readonly vfid: number | undefined;
  readonly profile: VfProfile;
}

/** The capability's value for a VF. */
export function encodeServedVf({ vfid, profile }: ServedVf): Record<string, unknown> {
  const { platform, deviceId, revisionId, ggttSize, vramSize } = profile;
  const { contexts, doorbells, gucVersion, capabilities } = profile;
  return {
    vfid,
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

/**
 * Reads the capability; what is missing or has another type than it should is not known.
 *
 * @param capabilities the capabilities of a VERSION reply
 * @returns undefined when the server is none of ours
 */
export function decodeServedVf(
  capabilities: Readonly<Record<string, unknown>>,
): ServedVf | undefined {
  const value = capabilities[XE_VFIO_CAPABILITY];
  if (typeof value !== 'object' || value === null) return undefined;
  const told = value as Readonly<Record<string, unknown>>;
  const platform = told['platform'];
  return {
    vfid: count(told['vfid']),
    profile: {
      platform: typeof platform === 'string' ? platform : undefined,
      deviceId: count(told['deviceId']),
      revisionId: count(told['revision']),
      ggttSize: count(told['ggtt']),
      vramSize: count(told['vram']),
      contexts: count(told['contexts']),
      doorbells: count(told['doorbells']),
      gucVersion: parseVersion(told['gucVersion']),
      capabilities: count(told['flags']),
    },
  };
}

/** Reads `70.54.0`; undefined for anything else. */
export function parseVersion(value: unknown): FirmwareVersion | undefined {
  const match = typeof value === 'string' ? /^(\d+)\.(\d+)\.(\d+)$/.exec(value) : null;
  if (match === null) return undefined;
  const [major, minor, patch] = match.slice(1).map(Number) as [number, number, number];
  return { major, minor, patch };
}

function count(value: unknown): number | undefined {
  return Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : undefined;
}
