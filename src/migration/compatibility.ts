/**
 * Whether the state of one VF fits into another, before anything is stopped.
 *
 * What only the guest finds out counts too: after a migration its driver asks firmware again for its
 * quotas and gives its device up when one of them has changed.
 *
 * Source: drivers/gpu/drm/xe/xe_sriov_packet.c (device, revision), xe_ggtt.c:xe_ggtt_node_load,
 * xe_gt_sriov_pf_migration.c, xe_gt_sriov_vf.c:xe_gt_sriov_vf_query_config (EREMCHG).
 */
import { formatSize } from '../base/size.ts';
import {
  CAPABILITY,
  type CapabilityName,
  compareVersions,
  type FirmwareVersion,
  formatVersion,
  type VfProfile,
} from './vf-profile.ts';

/** The oldest firmware that can save and restore a VF. Source: pf_gt_migration_check_support. */
const MIGRATION_GUC_VERSION: FirmwareVersion = { major: 70, minor: 54, patch: 0 };

/** What two profiles are compared by. */
export type ProfileField = Exclude<keyof VfProfile, 'platform'>;

/** One thing in which the target differs from the source. */
export interface Mismatch {
  readonly field: ProfileField;
  /** The two values as people write them. */
  readonly source: string;
  readonly target: string;
  /** True when restoring would fail or break the guest; false when it works all the same. */
  readonly blocks: boolean;
  /** One sentence: what would happen. */
  readonly consequence: string;
}

type Verdict = Pick<Mismatch, 'blocks' | 'consequence'>;

interface Rule<Field extends ProfileField> {
  readonly text: (value: NonNullable<VfProfile[Field]>) => string;
  /** Judges two values, equal ones too; undefined when there is nothing to say. */
  readonly judge: (
    source: NonNullable<VfProfile[Field]>,
    target: NonNullable<VfProfile[Field]>,
  ) => Verdict | undefined;
}

const RULES: { readonly [Field in ProfileField]: Rule<Field> } = {
  deviceId: {
    text: hex,
    judge: differ(() =>
      blocks('the restore is refused with ENODEV: the stream is of another device'),
    ),
  },
  revisionId: {
    text: hex,
    judge: differ(() =>
      blocks('the restore is refused with ENODEV: the stream is of another revision'),
    ),
  },
  ggttSize: {
    text: formatSize,
    judge: differ(() =>
      blocks('the restore is refused with EINVAL: the GGTT must have exactly as many pages'),
    ),
  },
  vramSize: {
    text: formatSize,
    judge: differ((source, target) => {
      if (target === 0) return blocks('the restore is refused with ENXIO: the target has no VRAM');
      if (target < source)
        return blocks('the restore is refused with EINVAL: the VRAM does not fit');
      return blocks(`the restore succeeds, but ${guestGivesUp('VRAM')}`);
    }),
  },
  contexts: {
    text: String,
    judge: differ(() => blocks(`the restore may succeed, but ${guestGivesUp('contexts')}`)),
  },
  doorbells: {
    text: String,
    judge: differ((source) =>
      // A guest that had none does not compare (vf_get_submission_cfg).
      source === 0
        ? warns('the guest goes on without the doorbells that the target adds')
        : blocks(`the restore may succeed, but ${guestGivesUp('doorbells')}`),
    ),
  },
  gucVersion: { text: formatVersion, judge: judgeFirmware },
  capabilities: { text: hex, judge: () => undefined },
};

/** What a difference in each capability means: lost, when only the source has it, or gained. */
const CAPABILITY_VERDICTS: Record<CapabilityName, { lost: Verdict; gained: Verdict }> = {
  STOP_COPY: {
    lost: blocks('the target cannot take a state: its migration feature answers ENOTTY'),
    gained: blocks('the source cannot give its state: its migration feature answers ENOTTY'),
  },
  P2P: {
    lost: warns('the target goes from RESUMING to RUNNING without a pause towards its peers'),
    gained: warns('the source is stopped without a pause towards its peers first'),
  },
  PRE_COPY: {
    lost: warns('a later migration back has no pre-copy and is down for longer'),
    gained: warns('this migration has no pre-copy and is down for longer'),
  },
  MEMIRQ: {
    lost: blocks('the guest waits for interrupts in memory that the target never writes'),
    gained: warns('the guest goes on with interrupts through registers'),
  },
};

/**
 * Compares two VFs; a field that one of them does not know is not compared, see
 * {@link unknownFields}.
 *
 * @returns every mismatch; one that blocks is enough for a migration to be refused
 * @example compareProfiles(a, b).some(({ blocks }) => blocks)
 */
export function compareProfiles(source: VfProfile, target: VfProfile): Mismatch[] {
  const mismatches: Mismatch[] = [];
  for (const field of FIELDS) mismatches.push(...compareField(field, source, target));
  return mismatches;
}

/** The fields that cannot be compared because one of the two does not know them. */
export function unknownFields(source: VfProfile, target: VfProfile): ProfileField[] {
  return FIELDS.filter((field) => source[field] === undefined || target[field] === undefined);
}

const FIELDS = Object.keys(RULES) as ProfileField[];

function compareField<Field extends ProfileField>(
  field: Field,
  { [field]: source }: VfProfile,
  { [field]: target }: VfProfile,
): Mismatch[] {
  if (source === undefined || target === undefined) return [];
  if (field === 'capabilities') return compareCapabilities(Number(source), Number(target));
  const { text, judge } = RULES[field];
  const verdict = judge(source, target);
  if (verdict === undefined) return [];
  return [{ field, source: text(source), target: text(target), ...verdict }];
}

function compareCapabilities(source: number, target: number): Mismatch[] {
  const mismatches: Mismatch[] = [];
  if (((source | target) & CAPABILITY.STOP_COPY) === 0) {
    const none = 'no STOP_COPY';
    const verdict = blocks('neither VF can be migrated: their migration feature answers ENOTTY');
    mismatches.push({ field: 'capabilities', source: none, target: none, ...verdict });
  }
  for (const [name, { lost, gained }] of Object.entries(CAPABILITY_VERDICTS)) {
    const bit = CAPABILITY[name as CapabilityName];
    const [has, had] = [(target & bit) !== 0, (source & bit) !== 0];
    if (had && !has)
      mismatches.push({ field: 'capabilities', source: name, target: `no ${name}`, ...lost });
    else if (has && !had)
      mismatches.push({ field: 'capabilities', source: `no ${name}`, target: name, ...gained });
  }
  return mismatches;
}

function judgeFirmware(source: FirmwareVersion, target: FirmwareVersion): Verdict | undefined {
  const least = formatVersion(MIGRATION_GUC_VERSION);
  if (compareVersions(target, MIGRATION_GUC_VERSION) < 0)
    return blocks(`the target cannot migrate: its firmware is older than ${least}`);
  if (compareVersions(source, MIGRATION_GUC_VERSION) < 0)
    return blocks(`the source cannot migrate: its firmware is older than ${least}`);
  const order = compareVersions(source, target);
  if (order === 0) return undefined;
  if (order > 0)
    return blocks('older firmware does not know the state of a newer one and refuses it with EIO');
  if (source.major !== target.major)
    return blocks('firmware of another major version refuses the state with EIO');
  return warns('newer firmware is expected to take the state of an older one, but decides itself');
}

function differ<T>(verdict: (source: T, target: T) => Verdict) {
  return (source: T, target: T) => (source === target ? undefined : verdict(source, target));
}

function blocks(consequence: string): Verdict {
  return { blocks: true, consequence };
}

function warns(consequence: string): Verdict {
  return { blocks: false, consequence };
}

function guestGivesUp(what: string): string {
  return `the guest's driver finds other ${what} (EREMCHG) and gives its device up`;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
