/** Migration of a device that tells its arcs and fails when told to. */
import { expect, test } from 'vitest';
import { BAR0 } from '../../support/case-registers.ts';
import type { RawClient } from '../../support/raw-client.ts';
import { CMD, E, getInfo, message, migRead, STATE } from '../../support/wire.ts';
import {
  CASE_DEVICE,
  conformance,
  enterState,
  expectNextClientServed,
  read,
  read32,
  seeState,
  write32,
} from './conformance.ts';
import { expectInvalid, expectRefusal, expectSuccess, expectUsable } from './expectations.ts';
import {
  MAX,
  nameOf,
  prepare,
  readData,
  readStream,
  STATES,
  saveStream,
  set,
  writeData,
  writeStream,
} from './migration-steps.ts';

const FEA = CMD.DEVICE_FEATURE;
const READ = CMD.MIG_DATA_READ;
const WRITE = CMD.MIG_DATA_WRITE;
const { STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY } = STATE;

/** The arcs that the device was led through since its last reset. */
function walkedArcs(client: RawClient): readonly string[] {
  const count = read32(client, 0, BAR0.ARC_COUNT);
  const log = read(client, 0, BAR0.ARC_LOG, 64);
  return [...log.slice(0, count)].map((arc) => `${nameOf(arc >> 4)}>${nameOf(arc & 15)}`);
}

const SHORTEST: ReadonlyArray<readonly [number, number, string]> = [
  [RUNNING, STOP, 'RUNNING>STOP'],
  [RUNNING, STOP_COPY, 'RUNNING>STOP STOP>STOP_COPY'],
  [RUNNING, RESUMING, 'RUNNING>STOP STOP>RESUMING'],
  [RUNNING, PRE_COPY, 'RUNNING>PRE_COPY'],
  [STOP, RUNNING, 'STOP>RUNNING'],
  [STOP, STOP_COPY, 'STOP>STOP_COPY'],
  [STOP, RESUMING, 'STOP>RESUMING'],
  [STOP, PRE_COPY, 'STOP>RUNNING RUNNING>PRE_COPY'],
  [STOP_COPY, RUNNING, 'STOP_COPY>STOP STOP>RUNNING'],
  [STOP_COPY, STOP, 'STOP_COPY>STOP'],
  [STOP_COPY, RESUMING, 'STOP_COPY>STOP STOP>RESUMING'],
  [RESUMING, RUNNING, 'RESUMING>STOP STOP>RUNNING'],
  [RESUMING, STOP, 'RESUMING>STOP'],
  [RESUMING, STOP_COPY, 'RESUMING>STOP STOP>STOP_COPY'],
  [RESUMING, PRE_COPY, 'RESUMING>STOP STOP>RUNNING RUNNING>PRE_COPY'],
  [PRE_COPY, RUNNING, 'PRE_COPY>RUNNING'],
  [PRE_COPY, STOP, 'PRE_COPY>RUNNING RUNNING>STOP'],
  [PRE_COPY, STOP_COPY, 'PRE_COPY>STOP_COPY'],
  [PRE_COPY, RESUMING, 'PRE_COPY>RUNNING RUNNING>STOP STOP>RESUMING'],
];

conformance(
  'MIG of a device without P2P',
  (subject) => {
    test.each(
      SHORTEST.map(([from, to, arcs]) => [nameOf(from), nameOf(to), from, to, arcs] as const),
    )('D-13 %s to %s takes the shortest way', (_from, _to, from, to, arcs) => {
      const client = subject.client();
      prepare(client, from);
      const before = walkedArcs(client).length;
      enterState(client, to);
      expect(walkedArcs(client).slice(before)).toEqual(arcs.split(' '));
    });

    test('D-13 a SET to the present state walks nothing', () => {
      const client = subject.client();
      enterState(client, STOP_COPY);
      const before = walkedArcs(client);
      const first = readData(client, 16);
      enterState(client, STOP_COPY);
      expect(walkedArcs(client)).toEqual(before);
      expect(readData(client, 16)).not.toEqual(first);
    });

    test('D-14 an arc that fails: the SET fails with its errno, the state is as before', () => {
      const client = subject.client();
      for (const [from, to] of SHORTEST) {
        expectSuccess(client.call(CMD.DEVICE_RESET), CMD.DEVICE_RESET, 0);
        prepare(client, from);
        write32(client, 0, BAR0.FAIL_ARC, E.BUSY);
        expectRefusal(set(client, to), FEA, E.BUSY);
        expect(nameOf(seeState(client))).toBe(nameOf(from));
      }
    });

    test('D-14 a device that breaks is in ERROR, which only RESET leaves', () => {
      const client = subject.client();
      write32(client, 0, BAR0.FAIL_KIND, 1);
      write32(client, 0, BAR0.FAIL_ARC, E.IO);
      expectRefusal(set(client, STOP_COPY), FEA, E.IO);
      expect(seeState(client)).toBe(STATE.ERROR);
      for (const state of [...STATES, STATE.ERROR, 8]) expectInvalid(set(client, state), FEA);
      expectRefusal(client.call(READ, migRead(16)), READ);
      expectRefusal(writeData(client, new Uint8Array(16)), WRITE);
      expectSuccess(client.call(CMD.DEVICE_GET_INFO, getInfo()), CMD.DEVICE_GET_INFO, 16);
      subject.leave();
      const next = subject.client();
      expect([STATE.ERROR, RUNNING], 'leaving may reset, as a last close').toContain(
        seeState(next),
      );
      expectSuccess(next.call(CMD.DEVICE_RESET), CMD.DEVICE_RESET, 0);
      expect(seeState(next)).toBe(RUNNING);
    });

    test('D-15 a write that the device refuses', () => {
      const client = subject.client();
      const stream = saveStream(client);
      write32(client, 0, BAR0.FAIL_WRITE, E.NOSPC);
      enterState(client, RESUMING);
      expectRefusal(writeData(client, stream.subarray(0, 100)), WRITE, E.NOSPC);
      expect(seeState(client)).toBe(RESUMING);
      write32(client, 0, BAR0.FAIL_WRITE, 0);
      writeStream(client, stream);
      enterState(client, RUNNING);
    });

    test('MIG-00 pre-copy data first, the rest in STOP_COPY: one stream', () => {
      const client = subject.client();
      const whole = saveStream(client);
      enterState(client, PRE_COPY);
      const first = readData(client, 10);
      enterState(client, STOP_COPY);
      expect(Buffer.compare(Buffer.concat([first, readStream(client)]), whole)).toBe(0);
    });

    test('MIG-13 the client’s max_data_xfer_size bounds what it may be sent', () => {
      const client = subject.client({ max_data_xfer_size: 512 });
      enterState(client, STOP_COPY);
      const reply = client.call(READ, migRead(1024));
      if (reply.error !== 0) expectRefusal(reply, READ);
      else expect(reply.payload.length - 8).toBeLessThanOrEqual(1024);
      expectUsable(client);
    });

    test('MIG-40 the client leaves in the middle of a large read', () => {
      const client = subject.client();
      write32(client, 0, BAR0.STREAM_LENGTH, 16 * MAX);
      enterState(client, STOP_COPY);
      for (let id = 0; id < 16; id++) client.send(message(READ, migRead(MAX), { id }));
      expectSuccess(client.receive(), READ, 8 + MAX);
      subject.leave();
      expectNextClientServed(subject);
    });
  },
  [CASE_DEVICE],
  [{ migrationFlags: 5 }],
);
