import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeServedVf,
  encodeServedVf,
  XE_VFIO_CAPABILITY,
} from '../../src/app/vf-profile-json.ts';
import { parseVersion } from '../../src/migration/profile-json.ts';

const number = fc.option(fc.nat(), { nil: undefined });
const served = fc.record({
  vfid: number,
  profile: fc.record({
    platform: fc.option(fc.string(), { nil: undefined }),
    deviceId: number,
    revisionId: number,
    ggttSize: number,
    vramSize: number,
    contexts: number,
    doorbells: number,
    gucVersion: fc.option(fc.record({ major: fc.nat(), minor: fc.nat(), patch: fc.nat() }), {
      nil: undefined,
    }),
    capabilities: number,
  }),
});

describe('what a server tells of a VF', () => {
  test('comes through JSON as it was', () => {
    fc.assert(
      fc.property(served, (vf) => {
        const wire: unknown = JSON.parse(JSON.stringify(encodeServedVf(vf)));
        expect(decodeServedVf({ [XE_VFIO_CAPABILITY]: wire })).toEqual(vf);
      }),
    );
  });

  test('is not known when it is not told, or not as it should be', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const vf = decodeServedVf({ [XE_VFIO_CAPABILITY]: value });
        for (const known of Object.values(vf?.profile ?? {}))
          expect(['undefined', 'string', 'number', 'object']).toContain(typeof known);
        expect(decodeServedVf({ other: value })).toBeUndefined();
      }),
    );
    const odd = decodeServedVf({ [XE_VFIO_CAPABILITY]: { vram: -1, ggtt: '4G', gucVersion: 70 } });
    expect(odd?.profile).toMatchObject({ vramSize: undefined, ggttSize: undefined });
    expect(odd?.profile.gucVersion).toBeUndefined();
  });
});

test.each([
  ['70.54.0', { major: 70, minor: 54, patch: 0 }],
  ['70.54', undefined],
  ['70.54.0-1', undefined],
  ['', undefined],
])('version %j', (text, version) => {
  expect(parseVersion(text)).toEqual(version);
});
