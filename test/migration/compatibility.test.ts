import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compareProfiles,
  type ProfileField,
  unknownFields,
} from '../../src/migration/compatibility.ts';
import { CAPABILITY, compareVersions, type VfProfile } from '../../src/migration/vf-profile.ts';

const { STOP_COPY, P2P, PRE_COPY, MEMIRQ } = CAPABILITY;
const BASE = {
  platform: 'bmg',
  deviceId: 0xe20b,
  revisionId: 0,
  ggttSize: 2 ** 29,
  vramSize: 2 ** 32,
  contexts: 1024,
  doorbells: 16,
  gucVersion: { major: 70, minor: 60, patch: 0 },
  capabilities: STOP_COPY | P2P | MEMIRQ,
} satisfies VfProfile;

const small = fc.integer({ min: 0, max: 3 });
const profiles: fc.Arbitrary<VfProfile> = fc.record(
  {
    deviceId: small,
    revisionId: small,
    ggttSize: small,
    vramSize: small,
    contexts: small,
    doorbells: small,
    gucVersion: fc.record({
      major: fc.constantFrom(69, 70, 71),
      minor: fc.constantFrom(53, 54, 60),
      patch: small,
    }),
    capabilities: fc.integer({ min: 0, max: 15 }),
  },
  { requiredKeys: [] },
);
/** Profiles of VFs that can migrate at all. */
const able = profiles.map((profile) => ({
  ...profile,
  gucVersion: { major: 70, minor: 60, patch: 0 },
  capabilities: STOP_COPY,
}));

/** What is said of a source that is BASE and a target that differs as told, or the other way round. */
const said = (target: VfProfile, source: VfProfile = BASE) =>
  compareProfiles(source, { ...BASE, ...target }).map(({ blocks, consequence, ...rest }) => ({
    ...rest,
    blocks,
  }));

describe('compareProfiles', () => {
  it('has nothing to say of a VF and one like it', () => {
    expect(compareProfiles(BASE, { ...BASE })).toEqual([]);
    fc.assert(
      fc.property(able, (profile) => void expect(compareProfiles(profile, profile)).toEqual([])),
    );
  });

  it.each<[ProfileField, VfProfile, string, string]>([
    ['deviceId', { deviceId: 0xe20c }, '0xe20b', '0xe20c'],
    ['revisionId', { revisionId: 4 }, '0x0', '0x4'],
    ['ggttSize', { ggttSize: 2 ** 30 }, '512 MiB', '1 GiB'],
    ['vramSize', { vramSize: 0 }, '4 GiB', '0 B'],
    ['vramSize', { vramSize: 2 ** 31 }, '4 GiB', '2 GiB'],
    ['vramSize', { vramSize: 2 ** 33 }, '4 GiB', '8 GiB'],
    ['contexts', { contexts: 2048 }, '1024', '2048'],
    ['doorbells', { doorbells: 15 }, '16', '15'],
    ['gucVersion', { gucVersion: { major: 70, minor: 59, patch: 9 } }, '70.60.0', '70.59.9'],
    ['gucVersion', { gucVersion: { major: 71, minor: 0, patch: 0 } }, '70.60.0', '71.0.0'],
    ['gucVersion', { gucVersion: { major: 70, minor: 53, patch: 9 } }, '70.60.0', '70.53.9'],
    ['capabilities', { capabilities: P2P | MEMIRQ }, 'STOP_COPY', 'no STOP_COPY'],
    ['capabilities', { capabilities: STOP_COPY | P2P }, 'MEMIRQ', 'no MEMIRQ'],
  ])('blocks when %s differs: %o', (field, target, source, other) => {
    expect(said(target)).toEqual([{ field, source, target: other, blocks: true }]);
  });

  it.each<[ProfileField, VfProfile, VfProfile]>([
    ['gucVersion', {}, { gucVersion: { major: 70, minor: 61, patch: 0 } }],
    ['doorbells', { doorbells: 0 }, {}],
    ['capabilities', {}, { capabilities: STOP_COPY | MEMIRQ }],
    ['capabilities', {}, { capabilities: STOP_COPY | P2P | MEMIRQ | PRE_COPY }],
    ['capabilities', { capabilities: STOP_COPY | P2P }, {}],
  ])('warns when %s goes from %o to %o', (field, source, target) => {
    expect(said(target, { ...BASE, ...source })).toMatchObject([{ field, blocks: false }]);
  });

  it('blocks when neither of the two can migrate', () => {
    const none = { capabilities: P2P };
    expect(said(none, { ...BASE, ...none })).toEqual([
      { field: 'capabilities', source: 'no STOP_COPY', target: 'no STOP_COPY', blocks: true },
    ]);
    const old = { gucVersion: { major: 70, minor: 53, patch: 0 } };
    expect(said(old, { ...BASE, ...old })).toMatchObject([{ field: 'gucVersion', blocks: true }]);
  });

  it('says something of a field exactly when both know it and it differs', () => {
    fc.assert(
      fc.property(able, able, (source, target) => {
        const fields = new Set(compareProfiles(source, target).map(({ field }) => field));
        for (const field of Object.keys(BASE) as (keyof VfProfile)[]) {
          if (field === 'platform') continue;
          const differs =
            source[field] !== undefined &&
            target[field] !== undefined &&
            JSON.stringify(source[field]) !== JSON.stringify(target[field]);
          expect([field, fields.has(field)]).toEqual([field, differs]);
        }
      }),
    );
  });

  it('never says more of two VFs when it knows less of them', () => {
    fc.assert(
      fc.property(
        profiles,
        profiles,
        fc.constantFrom(...(Object.keys(BASE) as (keyof VfProfile)[])),
        (a, b, field) => {
          const { [field]: _, ...less } = a;
          const known = compareProfiles(a, b).filter((mismatch) => mismatch.field !== field);
          expect(compareProfiles(less, b)).toEqual(known);
          if (field !== 'platform') expect(unknownFields(less, b)).toContain(field);
        },
      ),
    );
  });

  it('ends every consequence as one sentence that can follow a colon', () => {
    fc.assert(
      fc.property(profiles, profiles, (a, b) => {
        for (const { consequence, source, target } of compareProfiles(a, b)) {
          expect(consequence).toMatch(/^[a-z][^\n]{20,110}[a-zA-Z0-9)]$/);
          expect(source).not.toBe('');
          expect(target).not.toBe('');
        }
      }),
    );
  });
});

describe('compareVersions', () => {
  const version = fc.record({ major: small, minor: small, patch: small });

  it('orders as the numbers do', () => {
    const key = ({ major, minor, patch }: { major: number; minor: number; patch: number }) =>
      major * 10_000 + minor * 100 + patch;
    fc.assert(
      fc.property(version, version, (a, b) => {
        expect(Math.sign(compareVersions(a, b))).toBe(Math.sign(key(a) - key(b)));
      }),
    );
  });
});
