import { formatSize } from '../base/size.ts';
import { capabilityNames, formatVersion, type VfProfile } from '../migration/vf-profile.ts';

/** How each field of a profile is written for people. */
const TEXT: {
  readonly [Field in keyof VfProfile]-?: (value: NonNullable<VfProfile[Field]>) => string;
} = {
  platform: String,
  deviceId: hex,
  revisionId: hex,
  ggttSize: formatSize,
  vramSize: formatSize,
  contexts: String,
  doorbells: String,
  gucVersion: formatVersion,
  capabilities: (bits) => capabilityNames(bits).join(' '),
};

/** The fields of a profile, in their order. */
export const PROFILE_FIELDS = Object.keys(TEXT) as readonly (keyof VfProfile)[];

/** One field of a profile for people; undefined when it is not known. */
export function profileText<Field extends keyof VfProfile>(
  profile: VfProfile,
  field: Field,
): string | undefined {
  const value = profile[field];
  const text: (value: NonNullable<VfProfile[Field]>) => string = TEXT[field];
  return value === undefined ? undefined : text(value);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
