/** DEVICE_GET_INFO. */
import { expect, test } from 'vitest';
import { CMD, getInfo, u32 } from '../../support/wire.ts';
import { CASE_DEVICE, callCutShort, conformance, seeDevice } from './conformance.ts';
import { expectInvalid, expectRefusal, expectSuccess, expectUsable } from './expectations.ts';

const INFO = CMD.DEVICE_GET_INFO;

conformance('INFO', (subject) => {
  test('INFO-02 8 bytes of payload', () => {
    const client = subject.client();
    for (const length of [8, 0, 15])
      expectInvalid(callCutShort(client, INFO, getInfo(), length), INFO);
    expectUsable(client);
  });

  test.each([0, 8, 15])('INFO-03 argsz %i', (argsz) => {
    const client = subject.client();
    expectInvalid(client.call(INFO, getInfo(argsz)), INFO);
    expectUsable(client);
  });

  test('INFO-05 five times the same', () => {
    const client = subject.client();
    const first = expectSuccess(client.call(INFO, getInfo()), INFO, 16).payload;
    expect(first.slice(0, 4)).toEqual(u32(16));
    expect(seeDevice(client).flags & 2, 'VFIO_DEVICE_FLAGS_PCI').toBe(2);
    for (let i = 0; i < 4; i++)
      expect(expectSuccess(client.call(INFO, getInfo()), INFO, 16).payload).toEqual(first);
  });
});

conformance(
  'INFO without reset',
  (subject) => {
    test('D-02 the RESET flag is clear and RESET is refused', () => {
      const client = subject.client();
      expect(seeDevice(client).flags & 1).toBe(0);
      expectRefusal(client.call(CMD.DEVICE_RESET), CMD.DEVICE_RESET);
      expectUsable(client);
    });
  },
  [CASE_DEVICE],
  [{ canReset: false }],
);
