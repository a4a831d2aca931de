import { formatSize } from '../base/size.ts';
import { capabilityNames, formatVersion, type VfProfile } from '../migration/vf-profile.ts';

/** How each field of a profile is written for people; undefined when it is not known. */
const TEXT: { readonly [Field in keyof VfProfile]-?: (profile: VfProfile) => string | undefined } =
  {
    platform: ({ platform }) => platform,
    deviceId: ({ deviceId }) => known(deviceId, hex),
    revisionId: ({ revisionId }) => known(revisionId, hex),
    ggttSize: ({ ggttSize }) => known(ggttSize, formatSize),
    vramSize: ({ vramSize }) => known(vramSize, formatSize),
    contexts: ({ contexts }) => known(contexts, String),
    doorbells: ({ doorbells }) => known(doorbells, String),
    gucVersion: ({ gucVersion }) => known(gucVersion, formatVersion),
    capabilities: ({ capabilities }) =>
      known(capabilities, (bits) => capabilityNames(bits).join(' ')),
  };

/** The fields of a profile, in their order. */
export const PROFILE_FIELDS = Object.keys(TEXT) as readonly (keyof VfProfile)[];

/** One field of a profile for people; undefined when it is not known. */
export function profileText(profile: VfProfile, field: keyof VfProfile): string | undefined {
  return TEXT[field](profile);
}

function known<T>(value: T | undefined, text: (value: T) => string): string | undefined {
  return value === undefined ? undefined : text(value);
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
