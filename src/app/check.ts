/** Would the state of one VF fit into another? Nothing is stopped to find out. */
import { Fault } from '../base/fault.ts';
import {
  compareProfiles,
  type Mismatch,
  type ProfileField,
  unknownFields,
} from '../migration/compatibility.ts';
import type { VfProfile } from '../migration/vf-profile.ts';
import { type DeviceEndpoint, deviceEndpoint, parseEndpoint } from './endpoint.ts';
import { profileOfFile } from './file-state.ts';
import { openVfEnd } from './vf-end.ts';

/** The answer. */
export interface CheckResult {
  /** True when nothing that is known speaks against it. */
  readonly compatible: boolean;
  readonly mismatches: readonly Mismatch[];
  /** What could not be compared. */
  readonly unknown: readonly ProfileField[];
  readonly source: VfProfile;
  readonly target: VfProfile;
}

/**
 * Compares a source (a device or a file) with a target VF.
 *
 * @throws {Fault} ENOENT, ECONNREFUSED ... when an end cannot be asked; EINVAL when the target is a
 * file; EUCLEAN, EBADMSG for a damaged checkpoint
 */
export async function check(from: string, to: string): Promise<CheckResult> {
  const source = await profileOf(from);
  const target = await profileOfVf(deviceEndpoint(await parseEndpoint(to)));
  const mismatches = compareProfiles(source, target);
  return {
    compatible: !mismatches.some(({ blocks }) => blocks),
    mismatches,
    unknown: unknownFields(source, target),
    source,
    target,
  };
}

async function profileOf(text: string): Promise<VfProfile> {
  const endpoint = await parseEndpoint(text);
  if (endpoint.kind !== 'file') return await profileOfVf(deviceEndpoint(endpoint));
  const profile = await profileOfFile(endpoint.path);
  if (profile !== undefined) return profile;
  throw new Fault('ENODATA', `${endpoint.path} is a plain stream and does not tell its VF`, {
    hint: 'xe-vfio verify FILE --device ... checks a plain stream for a target',
  });
}

async function profileOfVf(endpoint: DeviceEndpoint): Promise<VfProfile> {
  const vf = await openVfEnd(endpoint);
  try {
    if (vf.profile !== undefined) return vf.profile;
    throw new Fault('EOPNOTSUPP', `the server at ${endpoint.path} does not tell what VF it serves`);
  } finally {
    await vf.close();
  }
}
