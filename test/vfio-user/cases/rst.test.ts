/** DEVICE_RESET. */
import { expect, test } from 'vitest';
import { BAR0 } from '../../support/case-registers.ts';
import { NoAnswer } from '../../support/raw-client.ts';
import { CMD, getInfo, join, message } from '../../support/wire.ts';
import { CASE_DEVICE, conformance, read32, seeDevice, write32 } from './conformance.ts';
import { expectSuccess } from './expectations.ts';

const RESET = CMD.DEVICE_RESET;

conformance('RST', (subject) => {
  test('RST-01 a bare header', () => {
    expectSuccess(subject.client().call(RESET), RESET, 0);
  });

  test('RST-03 the device’s info is the same after a reset', () => {
    const client = subject.client();
    const before = seeDevice(client);
    expectSuccess(client.call(RESET), RESET, 0);
    expect(seeDevice(client)).toEqual(before);
  });

  test('RST-04 ten pipelined', () => {
    const client = subject.client();
    client.send(join(...Array.from({ length: 10 }, (_, id) => message(RESET, [], { id }))));
    for (let id = 0; id < 10; id++) expect(expectSuccess(client.receive(), RESET, 0).id).toBe(id);
  });
});

conformance(
  'RST of one device of two',
  (subject) => {
    test('D-11 a slow reset does not block the other device', () => {
      const slow = subject.client(undefined, 0);
      const other = subject.client(undefined, 1);
      const resets = read32(slow, 0, BAR0.RESET_COUNT);
      write32(slow, 0, BAR0.SLOW_MS, 1000);
      slow.send(message(RESET, [], { id: 1 }));
      for (let i = 0; i < 20; i++)
        expectSuccess(other.call(CMD.DEVICE_GET_INFO, getInfo()), CMD.DEVICE_GET_INFO, 16);
      expect(() => slow.receive(0), 'the reset is still under way').toThrow(NoAnswer);
      expectSuccess(slow.receive(), RESET, 0);
      expect(read32(slow, 0, BAR0.RESET_COUNT)).toBe(resets + 1);
    });
  },
  [CASE_DEVICE],
  [{}, {}],
);
