/** DEVICE_FEATURE. */
import { expect, test } from 'vitest';
import { CMD, FEATURE, FEATURE_OP, feature, STATE, setState, u32 } from '../../support/wire.ts';
import {
  CASE_DEVICE,
  callCutShort,
  conformance,
  seeMigrationFlags,
  seeState,
} from './conformance.ts';
import { expectInvalid, expectRefusal, expectSuccess, expectUsable } from './expectations.ts';

const FEA = CMD.DEVICE_FEATURE;
const { GET, SET, PROBE } = FEATURE_OP;

conformance('FEA', (subject) => {
  test('FEA-02 7 and 4 bytes of payload', () => {
    const client = subject.client();
    const whole = feature(GET | FEATURE.MIGRATION, [], 16);
    for (const length of [7, 4]) expectInvalid(callCutShort(client, FEA, whole, length), FEA);
    expectUsable(client);
  });

  test('FEA-03 PROBE of migration echoes the payload', () => {
    const client = subject.client();
    for (const flags of [PROBE | GET, PROBE]) {
      const request = feature(flags | FEATURE.MIGRATION, [], 8);
      const reply = expectSuccess(client.call(FEA, request), FEA, 8);
      expect(reply.payload.slice(4)).toEqual(request.slice(4));
    }
    const request = feature(PROBE | GET | SET | FEATURE.MIG_DEVICE_STATE, [], 8);
    expect(expectSuccess(client.call(FEA, request), FEA, 8).payload).toEqual(request);
    expectRefusal(client.call(FEA, feature(PROBE | SET | FEATURE.MIGRATION, [], 8)), FEA);
  });

  test('FEA-05 GET with SET; no operation; a bit that does not exist', () => {
    const client = subject.client();
    for (const flags of [GET | SET, 0, GET | (1 << 20)]) {
      const request = feature((flags | FEATURE.MIGRATION) >>> 0, new Uint8Array(8), 16);
      expectInvalid(client.call(FEA, request), FEA);
    }
    expectUsable(client);
  });

  test('FEA-06 SET of the migration flags', () => {
    const client = subject.client();
    const request = feature(SET | FEATURE.MIGRATION, new Uint8Array(8), 16);
    expectInvalid(client.call(FEA, request), FEA);
  });

  test('FEA-07 GET of the migration flags', () => {
    const client = subject.client();
    const request = feature(GET | FEATURE.MIGRATION, [], 16);
    const reply = expectSuccess(client.call(FEA, request), FEA, 16);
    expect(reply.view.getUint32(0, true)).toBe(16);
    expect(seeMigrationFlags(client) & 1, 'VFIO_MIGRATION_STOP_COPY').toBe(1);
  });

  test('FEA-08 GET with argsz 8: refused, or 8 bytes that tell the need', () => {
    const client = subject.client();
    const reply = client.call(FEA, feature(GET | FEATURE.MIGRATION, [], 8));
    if (reply.error !== 0) expectRefusal(reply, FEA);
    else expect(expectSuccess(reply, FEA, 8).view.getUint32(0, true)).toBe(16);
  });

  test('FEA-09 PROBE with argsz 2', () => {
    const client = subject.client();
    expectInvalid(client.call(FEA, feature(PROBE | GET | FEATURE.MIGRATION, [], 2)), FEA);
  });

  test('FEA-11 SET of the state with 0 and 3 bytes of data', () => {
    const client = subject.client();
    for (const length of [0, 3, 7]) {
      for (const argsz of [8 + length, 16]) {
        expectSuccess(client.call(FEA, setState(STATE.RUNNING)), FEA, 16);
        expectSuccess(client.call(FEA, setState(STATE.STOP)), FEA, 16);
        const data = setState(STATE.STOP).slice(8, 8 + length);
        expectInvalid(client.call(FEA, feature(SET | FEATURE.MIG_DEVICE_STATE, data, argsz)), FEA);
        expect(seeState(client)).toBe(STATE.STOP);
      }
    }
  });

  test('FEA-12 GET of the data size: refused, or 16 bytes', () => {
    const client = subject.client();
    const reply = client.call(FEA, feature(GET | FEATURE.MIG_DATA_SIZE, [], 16));
    if (reply.error !== 0) expectRefusal(reply, FEA);
    else
      expect(Number(expectSuccess(reply, FEA, 16).view.getBigUint64(8, true))).toBeGreaterThan(0);
    expectRefusal(client.call(FEA, feature(SET | FEATURE.MIG_DATA_SIZE, u32(0, 0))), FEA);
  });

  test('FEA-12 features that nobody has', () => {
    const client = subject.client();
    for (const number of [0, 3, 4, 5, 10, 11, 13, 99, 0xffff])
      for (const operation of [GET, SET, PROBE | GET, PROBE | SET])
        expectRefusal(client.call(FEA, feature(operation | number, new Uint8Array(16))), FEA);
    expectUsable(client);
  });

  test('D-12 commands that the specification does not have are refused', () => {
    const client = subject.client();
    for (const command of [0, 14, 19, 20, 0x3b75 & 0xffff, 0xffff])
      expectInvalid(client.call(command, new Uint8Array(24)), command);
    expectUsable(client);
  });
});

conformance(
  'FEA without migration',
  (subject) => {
    test('FEA-12 every migration feature is refused', () => {
      const client = subject.client();
      expect(seeMigrationFlags(client)).toBe(0);
      for (const number of [FEATURE.MIGRATION, FEATURE.MIG_DEVICE_STATE, FEATURE.MIG_DATA_SIZE])
        for (const flags of [GET, PROBE | GET])
          expectRefusal(client.call(FEA, feature(flags | number, [], 16)), FEA);
      const request = feature(SET | FEATURE.MIG_DEVICE_STATE, u32(STATE.STOP, 0));
      expectRefusal(client.call(FEA, request), FEA);
      expectRefusal(client.call(CMD.MIG_DATA_READ, u32(24, 16)), CMD.MIG_DATA_READ);
      expectUsable(client);
    });
  },
  [CASE_DEVICE],
  [{ migrationFlags: 0, dmaLogging: false }],
);
