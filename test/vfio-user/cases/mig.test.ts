/** Migration states, MIG_DATA_READ and MIG_DATA_WRITE. */
import { describe, expect, test } from 'vitest';
import { BAR0 } from '../../support/case-registers.ts';
import type { RawClient } from '../../support/raw-client.ts';
import {
  CMD,
  getInfo,
  getIrqInfo,
  getRegionInfo,
  message,
  migRead,
  migWrite,
  regionRead,
  STATE,
  u32,
} from '../../support/wire.ts';
import {
  CONFIG,
  callCutShort,
  conformance,
  enterState,
  expectNextClientServed,
  read,
  type Subject,
  seeMigrationFlags,
  seeState,
  write32,
} from './conformance.ts';
import {
  expectInvalid,
  expectRefusal,
  expectSuccess,
  expectUsable,
  sendExpectingRefusalOrClose,
} from './expectations.ts';
import {
  exists,
  isLegal,
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
const GIB = 2 ** 30;
const { STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY, PRE_COPY_P2P } = STATE;

/** True for a state that the device does not have, and refuses as it must. */
function refusesUnknown(client: RawClient, state: number): boolean {
  if (exists(state, seeMigrationFlags(client))) return false;
  expectInvalid(set(client, state), FEA);
  expect(seeState(client)).toBe(RUNNING);
  return true;
}

conformance('MIG', (subject: Subject) => {
  test('MIG-00 a stream ends with a short read; later reads give nothing', () => {
    const client = subject.client();
    enterState(client, STOP);
    enterState(client, STOP_COPY);
    expect(readStream(client).length).toBeGreaterThan(0);
    for (let i = 0; i < 3; i++) expect(readData(client, 4096).length).toBe(0);
    enterState(client, STOP);
  });

  test('MIG-00 small reads give the same bytes as large ones', () => {
    const client = subject.client();
    const large = saveStream(client);
    enterState(client, STOP_COPY);
    const size = large.length > 100_000 ? 65_521 : 97;
    expect(Buffer.compare(readStream(client, size), large)).toBe(0);
  });

  test('MIG-01 RUNNING at the start', () => {
    expect(seeState(subject.client())).toBe(RUNNING);
  });

  test('MIG-03 states that do not exist', () => {
    const client = subject.client();
    for (const from of [RUNNING, STOP]) {
      enterState(client, from);
      for (const state of [8, 9, 0xabcd, 0xffff_ffff]) {
        expectInvalid(set(client, state), FEA);
        expect(seeState(client)).toBe(from);
      }
    }
  });

  test.each(STATES.map((state) => [nameOf(state), state] as const))(
    'MIG-04 ERROR cannot be asked for in %s',
    (_name, state) => {
      const client = subject.client();
      if (refusesUnknown(client, state)) return;
      prepare(client, state);
      expectInvalid(set(client, STATE.ERROR), FEA);
      expect(seeState(client)).toBe(state);
    },
  );

  describe.each(STATES.map((from) => [nameOf(from), from] as const))(
    'MIG-ARC from %s',
    (_, from) => {
      test.each(STATES.map((to) => [`MIG-ARC-${nameOf(from)}-${nameOf(to)}`, to] as const))(
        '%s',
        (_name, to) => {
          const client = subject.client();
          const flags = seeMigrationFlags(client);
          if (!exists(from, flags)) {
            expectInvalid(set(client, from), FEA);
            expect(seeState(client)).toBe(RUNNING);
            return;
          }
          prepare(client, from);
          if (isLegal(from, to, flags)) {
            expectSuccess(set(client, to), FEA, 16);
            expect(nameOf(seeState(client))).toBe(nameOf(to));
          } else {
            expectInvalid(set(client, to), FEA);
            expect(nameOf(seeState(client))).toBe(nameOf(from));
          }
        },
      );

      test(`MIG-ARC-${nameOf(from)}-0 and up from 8`, () => {
        const client = subject.client();
        if (!exists(from, seeMigrationFlags(client))) return;
        prepare(client, from);
        for (const to of [0, 8, 9, 0x8000_0001]) {
          expectInvalid(set(client, to), FEA);
          expect(nameOf(seeState(client))).toBe(nameOf(from));
        }
      });
    },
  );

  test('MIG-10 MIG_DATA_READ where nothing is saved', () => {
    const client = subject.client();
    expectRefusal(client.call(READ, migRead(16)), READ);
    enterState(client, STOP);
    expectRefusal(client.call(READ, migRead(16)), READ);
    enterState(client, RESUMING);
    expectRefusal(client.call(READ, migRead(16)), READ);
    expect(seeState(client)).toBe(RESUMING);
  });

  test('MIG-12 MIG_DATA_READ: 7 bytes; argsz without room for the data', () => {
    const client = subject.client();
    enterState(client, STOP_COPY);
    expectInvalid(callCutShort(client, READ, migRead(16), 7), READ);
    for (const argsz of [8, 23]) expectInvalid(client.call(READ, migRead(16, argsz)), READ);
    expect(readData(client, 16).length).toBe(16);
  });

  test('MIG-13 MIG_DATA_READ above max_data_xfer_size', () => {
    const client = subject.client();
    enterState(client, STOP_COPY);
    const before = subject.serving.virtualMemory();
    for (const size of [MAX + 1, 2 ** 32 - 9, 2 ** 32 - 1])
      expectRefusal(client.call(READ, migRead(size, Math.min(2 ** 32 - 1, size + 8))), READ);
    expect(subject.serving.virtualMemory() - before).toBeLessThan(GIB);
    expect(readData(client, 16).length).toBe(16);
  });

  test('MIG-15 MIG_DATA_READ of 0 bytes', () => {
    const client = subject.client();
    enterState(client, STOP_COPY);
    expect(readData(client, 0).length).toBe(0);
    expect(readData(client, 16).length).toBe(16);
  });

  test('MIG-16 a second STOP_COPY is complete again', () => {
    const client = subject.client();
    const first = saveStream(client);
    expect(Buffer.compare(saveStream(client), first)).toBe(0);
    enterState(client, STOP_COPY);
    readData(client, 24);
    enterState(client, STOP);
    expect(Buffer.compare(saveStream(client), first), 'after one cut short').toBe(0);
  });

  test('MIG-20 MIG_DATA_WRITE where nothing is loaded', () => {
    const client = subject.client();
    for (const state of [RUNNING, STOP, STOP_COPY, PRE_COPY]) {
      if (!exists(state, seeMigrationFlags(client))) continue;
      enterState(client, RUNNING);
      if (state !== RUNNING) enterState(client, state);
      expectRefusal(writeData(client, new Uint8Array(16)), WRITE);
      expect(seeState(client)).toBe(state);
    }
  });

  test('MIG-21 MIG_DATA_WRITE in RESUMING: a bare header', () => {
    const client = subject.client();
    const stream = saveStream(client);
    enterState(client, RESUMING);
    expectSuccess(writeData(client, stream.subarray(0, 16)), WRITE, 0);
    expectSuccess(writeData(client, new Uint8Array(0)), WRITE, 0);
    expectSuccess(writeData(client, stream.subarray(16, 24)), WRITE, 0);
  });

  test('MIG-22 MIG_DATA_WRITE whose size does not fit the message', () => {
    const client = subject.client();
    enterState(client, RESUMING);
    for (const [size, length] of [
      [16, 8],
      [8, 16],
      [0xffff_fff8, 8],
    ] as const)
      expectInvalid(client.call(WRITE, migWrite(new Uint8Array(length), size)), WRITE);
    expectInvalid(client.call(WRITE, u32(8)), WRITE);
    expectUsable(client);
  });

  test('MIG-23 MIG_DATA_WRITE above max_data_xfer_size', () => {
    const client = subject.client();
    enterState(client, RESUMING);
    const bytes = message(WRITE, migWrite(new Uint8Array(MAX + 64)));
    sendExpectingRefusalOrClose(client, bytes);
    expectNextClientServed(subject);
  });

  test('MIG-24 MIG_DATA_WRITE of exactly max_data_xfer_size', () => {
    const client = subject.client();
    if (subject.kind.steerable) write32(client, 0, BAR0.STREAM_LENGTH, 2 * MAX + 5);
    const stream = saveStream(client);
    expect(stream.length, 'enough for a message of the greatest size').toBeGreaterThan(MAX);
    enterState(client, RESUMING);
    writeStream(client, stream);
    enterState(client, RUNNING);
  });

  test('MIG-25 a saved stream can be loaded, and is saved again', () => {
    const client = subject.client();
    const stream = saveStream(client);
    expectSuccess(client.call(CMD.DEVICE_RESET), CMD.DEVICE_RESET, 0);
    enterState(client, RESUMING);
    writeStream(client, stream);
    enterState(client, RUNNING);
    expect(Buffer.compare(saveStream(client), stream)).toBe(0);
  });

  test('MIG-26 RESUMING to STOP without data: taken, or refused and RESET helps', () => {
    const client = subject.client();
    enterState(client, RESUMING);
    const reply = set(client, STOP);
    if (reply.error === 0) expect(seeState(client)).toBe(STOP);
    else {
      expectRefusal(reply, FEA);
      if (seeState(client) === STATE.ERROR)
        for (const state of [...STATES, STATE.ERROR, 8]) expectInvalid(set(client, state), FEA);
    }
    expectSuccess(client.call(CMD.DEVICE_RESET), CMD.DEVICE_RESET, 0);
    expect(seeState(client)).toBe(RUNNING);
  });

  describe.each(STATES.map((state) => [nameOf(state), state] as const))('in %s', (name, state) => {
    test('MIG-30 RESET leads to RUNNING', () => {
      const client = subject.client();
      if (refusesUnknown(client, state)) return;
      prepare(client, state);
      expectSuccess(client.call(CMD.DEVICE_RESET), CMD.DEVICE_RESET, 0);
      expect(seeState(client)).toBe(RUNNING);
      expectRefusal(client.call(READ, migRead(16)), READ);
      expectRefusal(writeData(client, new Uint8Array(16)), WRITE);
    });

    test('MIG-31 device, region and interrupt info', () => {
      const client = subject.client();
      if (refusesUnknown(client, state)) return;
      prepare(client, state);
      expectSuccess(client.call(CMD.DEVICE_GET_INFO, getInfo()), CMD.DEVICE_GET_INFO, 16);
      const region = client.call(CMD.DEVICE_GET_REGION_INFO, getRegionInfo(CONFIG));
      expectSuccess(region, CMD.DEVICE_GET_REGION_INFO, 32);
      const irq = client.call(CMD.DEVICE_GET_IRQ_INFO, getIrqInfo(1));
      expectSuccess(irq, CMD.DEVICE_GET_IRQ_INFO, 16);
    });

    test('MIG-33 a read of configuration space', () => {
      const client = subject.client();
      const ids = read(client, CONFIG, 0, 4);
      if (refusesUnknown(client, state)) return;
      prepare(client, state);
      expect(read(client, CONFIG, 0, 4)).toEqual(ids);
    });

    test(`MIG-40-${name} the client leaves; the next one reaches RUNNING`, () => {
      const client = subject.client();
      if (refusesUnknown(client, state)) return;
      prepare(client, state);
      if (state === STOP_COPY || state === PRE_COPY || state === PRE_COPY_P2P)
        client.send(message(READ, migRead(MAX)));
      expectNextClientServed(subject);
      subject.expectNothingLeft();
      const next = subject.client();
      expect([state, RUNNING]).toContain(seeState(next));
      expectSuccess(next.call(CMD.REGION_READ, regionRead(CONFIG, 0, 4)), CMD.REGION_READ, 20);
      if (state === RESUMING && set(next, RUNNING).error !== 0)
        expectSuccess(next.call(CMD.DEVICE_RESET), CMD.DEVICE_RESET, 0);
      else enterState(next, RUNNING);
      expect(seeState(next)).toBe(RUNNING);
    });
  });
});
