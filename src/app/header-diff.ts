import type { CheckpointHeader } from '../migration/checkpoint-format.ts';
import type { VfProfile } from '../migration/vf-profile.ts';
import { PROFILE_FIELDS, profileText } from './profile-text.ts';

/** A field in which the profiles of two checkpoints differ. */
export interface HeaderDifference {
  readonly field: keyof VfProfile;
  /** As people write it; undefined where it is not known. */
  readonly a: string | undefined;
  readonly b: string | undefined;
}

/** Compares the profiles of two checkpoints; a plain stream has none, and that is no difference. */
export function compareHeaders(
  a: CheckpointHeader | undefined,
  b: CheckpointHeader | undefined,
): HeaderDifference[] {
  if (a === undefined || b === undefined) return [];
  return PROFILE_FIELDS.filter(
    // What people read may be rounded; what is compared is not.
    (field) => JSON.stringify(a.profile[field]) !== JSON.stringify(b.profile[field]),
  ).map((field) => ({
    field,
    a: profileText(a.profile, field),
    b: profileText(b.profile, field),
  }));
}
