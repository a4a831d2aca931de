/**
 * What a served VF tells about itself: the `xe_vfio` capability of a VERSION reply.
 *
 * The vfio-user protocol lets either side announce what the other does not know and then ignores; no
 * message is invented. Layout: `vfid` and the fields of src/migration/profile-json.ts.
 *
 * Source: docs/interop/vfio-user.rst of QEMU, "Version data format".
 */
import { fieldsOf } from '../migration/fault-json.ts';
import { countOf, decodeProfile, encodeProfile } from '../migration/profile-json.ts';
import type { VfProfile } from '../migration/vf-profile.ts';

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
  return { vfid, ...encodeProfile(profile) };
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
  const told = fieldsOf(capabilities[XE_VFIO_CAPABILITY]);
  if (told === undefined) return undefined;
  return { vfid: countOf(told['vfid']), profile: decodeProfile(told) };
}
